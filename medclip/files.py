"""Output folders that appear whole or not at all."""

import ctypes
import errno
import glob
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


def _forget_killed(out: Path) -> None:
    """Delete what a process that is no more left behind when it was making `out`."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.partial-*-*"):
        pid = left.name.rsplit("-", 2)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _exchange(first: Path, second: Path) -> None:
    """Swap the names of two files or folders in one step (renameat2(2)), or in two where the system has no such call."""
    here, exchange = -100, 2
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None and call(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
        return
    aside = second.parent / f".{second.name}.old-{uuid.uuid4().hex[:8]}"
    second.rename(aside)
    first.rename(second)
    aside.rename(first)


@contextmanager
def new_folder(out: Path, *, force: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Yield an empty folder beside `out` that takes its name when the block ends well, and vanishes otherwise.

    A kill leaves at worst a hidden ``.<name>.partial-*`` folder, which the next run deletes, never a half-written
    `out`; where `out` is replaced, its name always leads to the old or to the new folder.

    Raises:
        OutputError: `out` exists and `force` is not set, the disk is full, or the place is not writable.
    """
    check_free(out, force=force, marker=marker)
    with named_failures(out):
        _forget_killed(out)
        partial = out.parent / f".{out.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        partial.mkdir()
        try:
            yield partial
            _fsync_tree(partial)
            if out.exists():
                _exchange(partial, out)
            else:
                partial.rename(out)
        finally:
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


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
