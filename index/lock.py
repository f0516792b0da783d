"""One writer at a time, in any process of the machine."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medclip.errors import ArchiveError, OutputError
from medclip.files.plain import read_regular
from medclip.index.folder import check_plain

__all__ = ["LOCK", "writer_lock"]

LOCK = "writer.lock"
_LONGEST = 4096  # bytes


def _holder(file: Path) -> str:
    try:
        said = json.loads(read_regular(file, _LONGEST, follow=False))
        words = [f"{said[name]}" for name in ("pid", "host", "doing", "since")]
        pid, host, doing, since = ("".join(ch if ch.isprintable() else "?" for ch in word[:200]) for word in words)
        return f"process {pid} on {host} ({doing}, since {since})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the right to change an index folder.

    The kernel releases it when the process ends, however it ends, so a crash never leaves an index locked
    (flock(2)). What stands in the file only names the holder.

    Raises:
        ArchiveError: another process holds it, or the folder holds a link.
        OutputError: the folder cannot be written.
    """
    check_plain(folder)
    file = folder / LOCK
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}), so the index cannot be changed") from error
    try:
        if os.fstat(handle).st_nlink != 1:
            raise ArchiveError(f"{file}: is another file's name, too, which writing it would destroy; delete it")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(f"{folder}: is being changed by {_holder(file)}; wait until it is done") from None
        except OSError as error:
            raise OutputError(f"{file}: cannot be locked ({error.strerror}), so the index cannot be changed") from error
        doing = " ".join(["medclip", *sys.argv[1:3]]) if sys.argv[0].endswith("medclip") else "Python"
        said = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": time.strftime("%F %T")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(said).encode(), 0)
        yield
    finally:
        os.close(handle)
