"""What lies in an index folder: plain files and folders, none of which leads elsewhere.

A folder that somebody else made may hold a symbolic link in place of anything: what is written or deleted through it
would be somewhere else. So an index that holds one is not opened.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from medclip.errors import ArchiveError
from medclip.files.plain import open_regular, unreadable

__all__ = ["BULK", "check_plain", "copy_plain", "odd_parts"]

BULK = "files"
"""Where the backend ``milvus`` keeps a file a case: too many to look at whenever an index is opened, and each read by its
checksum."""


def odd_parts(folder: Path, *, bulk: bool) -> Iterator[str]:
    """Lines about what is neither a plain file nor a folder.

    Args:
        bulk: look at `BULK`, too.

    Raises:
        OSError: a folder cannot be listed.
    """
    waiting = [folder]
    while waiting:
        for part in _listed(waiting.pop(), folder):
            path = Path(part.path)
            if part.is_symlink():
                yield f"{path}: is a symbolic link, which an index never holds: delete it, or copy there what it leads to"
            elif part.is_dir(follow_symlinks=False):
                if bulk or path != folder / BULK:
                    waiting.append(path)
            elif not part.is_file(follow_symlinks=False):
                yield f"{path}: is no plain file, and an index holds no other: delete it"


def _listed(place: Path, root: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing where a writer has deleted it since it was listed itself."""
    try:
        with os.scandir(place) as parts:
            return sorted(parts, key=lambda part: part.name)
    except FileNotFoundError:
        if place == root:
            raise
        return []


def check_plain(folder: Path) -> None:
    """Refuse an index folder that holds a link or a device, before anything of it is opened.

    Raises:
        ArchiveError: it does, or it cannot be listed.
    """
    try:
        found = next(odd_parts(folder, bulk=False), None)
    except OSError as error:
        raise ArchiveError(f"{error.filename or folder}: {unreadable(error)}") from error
    if found is not None:
        raise ArchiveError(found)


def copy_plain(source: Path, target: Path) -> None:
    """Copy a plain file, or a folder of them, to a name that is free.

    Raises:
        OSError: it holds something else (a link: errno ELOOP), or cannot be read or written.
    """
    if stat.S_ISDIR(source.lstat().st_mode):
        target.mkdir()
        for part in sorted(source.iterdir()):
            copy_plain(part, target / part.name)
        return
    with open_regular(source, follow=False) as given, target.open("xb") as made:
        shutil.copyfileobj(given, made, 1 << 20)
