"""``index.json``: what makes a folder an index, with a checksum of itself."""

from pathlib import Path
from typing import Any

from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.index import stored
from medclip.index.backends.base import is_backend

__all__ = ["MANIFEST", "manifest_is_sealed", "read_manifest", "write_manifest"]

MANIFEST = "index.json"
FORMAT = 2
_KEYS = {"format", "backend", "fingerprint", "dimension", "stored"}


def write_manifest(file: Path, manifest: dict[str, Any]) -> None:
    """Write what `read_manifest` reads."""
    write_json(file, sealed({"format": FORMAT, **manifest}))


def manifest_is_sealed(folder: Path) -> bool:
    """Whether the file carries its checksum, as older versions of medclip did not write."""
    return read_sealed(folder / MANIFEST).seal == "whole"


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``index.json`` says.

    Raises:
        ArchiveError: the folder is no index, or of another format, or the file is damaged.
    """
    path = folder / MANIFEST
    try:
        found = read_sealed(path)
        form = stored.whole(found.value.get("format"), "the format")
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError(
            f"{folder}: is not an index (it has no {MANIFEST}); build one with  medclip index build"
        ) from None
    except OSError as error:
        raise ArchiveError(f"{path}: {unreadable(error)}") from error
    except ValueError as error:
        raise ArchiveError(f"{path}: is damaged; restore it from a backup ({type(error).__name__})") from error
    if form > FORMAT:
        raise ArchiveError(f"{path}: was written by a newer medclip (format {form}); update medclip to open it")
    if form < FORMAT:
        raise ArchiveError(f"{path}: was written by an older medclip (format {form}); build the index again")
    value = found.value
    try:
        if found.seal == "broken" or value.keys() != _KEYS:
            raise stored.GarbledError("it has changed since it was written")
        stored.text(value["fingerprint"], "the fingerprint")
        if not is_backend(value["backend"]):
            raise stored.GarbledError("this medclip does not know its backend; a newer one may")
        stored.whole(value["dimension"], "the width of vectors", least=1)
        stored.mapping(value["stored"], "what the backend keeps")
    except stored.GarbledError as error:
        raise ArchiveError(f"{path}: is damaged ({error}); restore it from a backup") from error
    return value
