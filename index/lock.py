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

__all__ = ["writer_lock"]

LOCK = "writer.lock"


def _holder(file: Path) -> str:
    try:
        said = json.loads(file.read_bytes())
        return f"process {said['pid']} on {said['host']} ({said['doing']}, since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the right to change an index folder.

    The kernel releases it when the process ends, however it ends, so a crash never leaves an index locked
    (flock(2)). What stands in the file only names the holder.

    Raises:
        ArchiveError: another process holds it.
        OutputError: the folder cannot be written.
    """
    file = folder / LOCK
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}), so the index cannot be changed") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(f"{folder}: is being changed by {_holder(file)}; wait until it is done") from None
        doing = " ".join(["medclip", *sys.argv[1:3]]) if sys.argv[0].endswith("medclip") else "Python"
        said = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": time.strftime("%F %T")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(said).encode(), 0)
        yield
    finally:
        os.close(handle)
