"""What of a serving folder was found well, remembered from one command to the next."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from medclip import __version__
from medclip.bundle.layout import ServingLayout, ServingManifest
from medclip.errors import BundleError
from medclip.files.remembered import Deed, deed_of, user_memory
from medclip.modalities.scan import pictures, prepare
from medclip.modalities.text import tokens

__all__ = ["computed_by", "verifying"]

_COMPUTING = tuple(Path(module.__file__) for module in (pictures, prepare, tokens) if module.__file__)
"""Of our own: in a clone it changes while the version stays."""


@contextmanager
def verifying(
    what: str, folder: Path, manifest: ServingManifest, *, again: bool, conditions: Mapping[str, str] | None = None
) -> Iterator[bool]:
    """Yield whether a serving folder was found well before; else what the block finds is remembered.

    A file that changes while it is looked at is not vouched for. What is found to be otherwise is forgotten: a disk may have
    changed a file that nobody wrote.

    Args:
        what: is verified.
        again: whatever is remembered.
        conditions: that it depends on, beside the files and medclip's version.

    Raises:
        BundleError: the block's.
    """
    known_by = {"manifest": manifest.fingerprint, "medclip": __version__, **(conditions or {})}
    memory, before = user_memory(), _deed(what, folder, manifest, known_by)
    known = not again and before is not None and memory.knows(before)
    try:
        yield known
    except BundleError:
        if before is not None:
            memory.forget(before)
        raise
    if not known and before is not None and before == _deed(what, folder, manifest, known_by):
        memory.keep(before)


def _deed(what: str, folder: Path, manifest: ServingManifest, conditions: Mapping[str, str]) -> Deed | None:
    """None where a file is missing, which is better said by what verifies it."""
    layout = ServingLayout(folder)
    files = (layout.manifest, *layout.listed(manifest.fuser, manifest.orientations), *_COMPUTING)
    try:
        return deed_of(f"model {what}", files, conditions)
    except OSError:
        return None


def computed_by() -> dict[str, str]:
    """Versions of what computes embeddings, and the processor that does."""
    import numpy
    import onnxruntime
    import PIL
    import tokenizers

    versions = {module.__name__: module.__version__ for module in (numpy, onnxruntime, PIL, tokenizers)}
    return {**versions, "processor": _processor()}


@lru_cache(maxsize=1)
def _processor() -> str:
    """Its kind and what it can do, as far as the system says."""
    told = [os.uname().machine]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as said:
            first = said.read(16384).split("\n\n", 1)[0]
    except OSError:
        return told[0]
    named = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU ", "Features")
    return "\n".join([*told, *(line for line in first.splitlines() if line.startswith(named))])
