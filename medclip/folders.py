"""Output folders that appear whole or not at all."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medclip.errors import MedclipError, OutputError

__all__ = ["check_free", "named_failures", "new_file", "new_folder", "write_json"]


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "disk is full", "file too large", "quota exceeded", "disk i/o error", "requested and")


def _is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room; libraries wrap the system's errno in errors of their own."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error).lower() for words in _FULL_WORDS)


@contextmanager
def named_failures(out: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line about `out`.

    Raises:
        OutputError: the disk is full, or the place is not writable.
    """
    try:
        yield
    except MedclipError:
        raise
    except Exception as error:
        if _is_full(error):
            raise OutputError(f"{out}: the disk is full; nothing was written. Free some space and run again") from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{out}: no permission to write here; choose another place with --out") from error
        raise


def check_free(out: Path, *, force: bool, marker: str | None = None) -> None:
    """Refuse an output that exists, before any work is done for it.

    With `force`, an existing folder may be replaced only if it is empty or holds `marker` (the file that says it
    is one of ours), so that a mistyped ``--out ~`` never deletes what medclip did not make.

    Raises:
        OutputError: the output exists, or is not medclip's to replace.
    """
    if not out.parent.exists():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; create it first")
    if not out.exists():
        return
    if not force:
        raise OutputError(f"{out}: already exists; choose another --out or replace it with --force")
    if out.is_dir() and marker is not None and any(out.iterdir()) and not (out / marker).exists():
        raise OutputError(f"{out}: not replaced, since it holds no {marker} and so was not made by this command")


def _fsync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_symlink():
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def new_folder(out: Path, *, force: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Yield an empty folder beside `out` that takes its name when the block ends well, and vanishes otherwise.

    A kill leaves at worst a hidden ``.<name>.partial-*`` folder, never a half-written `out`.

    Raises:
        OutputError: `out` exists and `force` is not set, the disk is full, or the place is not writable.
    """
    check_free(out, force=force, marker=marker)
    with named_failures(out):
        partial = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
        partial.mkdir()
        try:
            yield partial
            _fsync_tree(partial)
            if out.exists():
                old = out.parent / f".{out.name}.old-{uuid.uuid4().hex[:8]}"
                out.rename(old)
                partial.rename(out)
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            else:
                partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` that replaces it when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: the folder is missing, the disk is full, or the place is not writable.
    """
    if not out.parent.exists():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; create it first")
    with named_failures(out):
        partial = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
        try:
            yield partial
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
