"""Arrays that take longer to make than to read, kept in the user's cache folder and mapped from there.

They are trusted as what was just written (`medclip.files.remembered`), so that no byte of them need be read to be believed.
Without them, or where they cannot be kept, they are made anew each time.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.files.plain import sync
from medclip.files.remembered import Deed, cache_folder, deed_of, is_own, user_memory

__all__ = ["kept_arrays"]

Arrays = Mapping[str, NDArray[Any]]


def kept_arrays(what: str, source: Path, names: Sequence[str], make: Callable[[], Arrays]) -> Arrays:
    """Arrays that are made of a file alone.

    Args:
        what: they are, as a folder may be called.
        source: the file; another one in its place has other arrays.
        names: of the arrays, as files may be called.
        make: makes them.

    Returns:
        Name → array, mapped from a file that must not be written where it could be.
    """
    cache = cache_folder()
    if cache is None:
        return make()
    place = cache / what
    try:
        folder = place / deed_of(what, [source], {}).name
        if is_own(folder, stat.S_ISDIR) and user_memory().knows(_written(folder, names)):
            return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    except (OSError, ValueError):
        pass
    made = make()
    with contextlib.suppress(OSError):
        _keep(place, deed_of(what, [source], {}).name, made)
    return made


def _written(folder: Path, names: Sequence[str]) -> Deed:
    return deed_of("kept arrays", [folder / f"{name}.npy" for name in sorted(names)], {})


def _keep(place: Path, name: str, made: Arrays) -> None:
    """Write them under a name that stands for their source, in place of others' that were kept before."""
    place.mkdir(0o700, parents=True, exist_ok=True)
    if not is_own(place, stat.S_ISDIR):
        return
    for earlier in place.iterdir():
        shutil.rmtree(earlier, ignore_errors=True)  # what another process maps, it keeps
    new = Path(tempfile.mkdtemp(dir=place))
    try:
        for key, array in made.items():
            with open(os.open(new / f"{key}.npy", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                np.save(file, array, allow_pickle=False)
        sync(new)
        new.rename(place / name)
        user_memory().keep(_written(place / name, list(made)), settled=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
