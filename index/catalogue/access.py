"""How the catalogue's file is opened, by whoever may write it and by whoever may only read it.

SQLite in WAL mode keeps two files beside the catalogue: the log, and an index of it in shared memory through which
readers and writers lock. A reader who may not write can use them, but not make them. So nobody here lets SQLite delete
them when the last connection closes (`Access.close`), and whoever may only read goes by them as everybody does.

Where they are missing (an index from an older medclip, a copy of the main file alone) nobody has the catalogue open, and
whoever may only read takes it as unchanging while he holds a shared lock on the folder (flock(2), which needs no right
to write). A writer, whose first read has made the two files, waits once for those locks before he changes anything;
who comes later sees the files.
"""

import fcntl
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medclip.errors import ArchiveError, MedclipError, OutputError
from medclip.index.stored import GarbledError, GarbledSegmentError

__all__ = ["DAMAGE", "Access", "named", "translated"]

DAMAGE = (sqlite3.DatabaseError, GarbledError, UnicodeDecodeError)
"""What reading a damaged catalogue raises; sqlite3 cannot even quote a text that is not UTF-8."""

_PATIENCE = 10.0  # seconds until what should pass is an error
_PAUSE = 0.01
_PASSING = {
    "SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL", "SQLITE_READONLY_RECOVERY",
    "SQLITE_READONLY_CANTINIT", "SQLITE_READONLY_CANTLOCK",
}  # fmt: skip
"""What a reader who may not write is told while a writer begins, recovers the log or starts it anew."""
_FIRST_READ = "SELECT 1 FROM sqlite_master LIMIT 1"


class Access:
    """One connection to a catalogue."""

    def __init__(self, file: Path, *, new: bool = False) -> None:
        """Open the file; nothing is read yet.

        Args:
            file: its resolved path.
            new: make it, in a folder that nobody else sees yet.
        """
        self.file = file
        self.writable = new or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))
        self._waited = new
        self._lock: int | None = None  # the folder, while this reader relies on nobody's writing
        self._opened = 0
        self._open("mode=rwc" if new else None)

    def _open(self, mode: str | None = None) -> None:
        self._frozen = None if self.writable or self._logged() else self._stamp()
        self._opened += 1  # each connection counts for itself
        known = "mode=rw" if self.writable else "mode=ro" if self._frozen is None else "immutable=1"
        self.connection = _connect(self.file, mode or known)
        self._closing = weakref.finalize(self, close, self.connection, self.file)

    def _beside(self, end: str) -> Path:
        return self.file.with_name(self.file.name + end)

    def _logged(self) -> bool:
        """Whether there are SQLite's files that readers and writers go by; an empty log alone says nothing."""
        log = self._beside("-wal")
        return self._beside("-shm").exists() or (log.exists() and log.stat().st_size > 0)

    def _stamp(self) -> tuple[int, ...]:
        stat = self.file.stat()
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def close(self) -> None:
        """Close the file."""
        self._release()
        self._closing()

    # ---- reading

    def begin(self) -> None:
        """Begin a snapshot.

        Raises:
            sqlite3.DatabaseError: the file is damaged, or a writer held it for too long.
        """
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._hold()
                self.connection.execute("BEGIN")
                self.connection.execute(_FIRST_READ).fetchone()
                return
            except BaseException as error:
                self.end()
                if self.writable or getattr(error, "sqlite_errorname", "") not in _PASSING or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
                self._closing()
                self._open()

    def end(self) -> None:
        """End the snapshot, unless the file was closed first, as it is under a generator that nobody exhausted."""
        if self._closing.alive and self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._release()

    def version(self) -> tuple[int, int] | None:
        """Another one once another connection has changed the file, at the cost of one look at SQLite's shared memory.

        None where this connection cannot tell: it relies on nobody's writing, or somebody is just beginning to write.
        """
        if self._frozen is not None:
            return None
        try:
            return self._opened, int(self.connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname in _PASSING:
                return None
            raise

    def _hold(self) -> None:
        """See that nobody writes until `end`, where this connection relies on it."""
        if self._frozen is None:
            return
        self._lock = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _lock(self._lock, fcntl.LOCK_SH, self.file.parent)
        if self._logged() or self._stamp() != self._frozen:
            self._closing()
            self._open()
            if self._frozen is None:
                self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ---- writing

    def wait_for_readers(self) -> None:
        """Before the first change: wait for those who rely on nobody's writing; who comes after knows better.

        Raises:
            ArchiveError: somebody reads on and on.
        """
        if self._waited:
            return
        handle = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(handle, fcntl.LOCK_EX, self.file.parent)
        finally:
            os.close(handle)
        self._waited = True


@contextmanager
def named(file: Path) -> Iterator[None]:
    """Turn what SQLite, or what it holds, is refused for into one line that names the file and the remedy."""
    try:
        yield
    except DAMAGE as error:
        raise translated(error, file) from error


def translated(error: Exception, file: Path) -> MedclipError:
    """Such an error as one that names the file and the remedy."""
    said = str(error)
    if isinstance(error, GarbledSegmentError):
        return ArchiveError(
            f"{file.parent / 'segments'}: is damaged ({said}); mend it with  medclip index verify --repair"
        )
    if "disk is full" in said or "disk I/O" in said:
        return OutputError(f"{file}: the disk is full or failing ({said}); nothing was changed. Free some space")
    if "readonly" in said:
        return OutputError(f"{file}: cannot be written; nothing was changed")
    if "locked" in said:
        return ArchiveError(f"{file}: is locked by another program; try again")
    if "unable to open" in said:
        return ArchiveError(
            f"{file}: no permission to read it, or its log was left unfinished; "
            "let somebody who may write the folder run  medclip index verify"
        )
    said = "not UTF-8" if isinstance(error, UnicodeDecodeError) or "UTF-8" in said else said
    return ArchiveError(f"{file}: is damaged ({said}); restore the index from a backup or build it again")


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE
    )
    connection.execute("PRAGMA mmap_size = 17179869184")
    connection.execute("PRAGMA trusted_schema = OFF")  # the file may be somebody else's
    if mode == "mode=rw":
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA journal_size_limit = 0")
    return connection


def close(connection: sqlite3.Connection, file: Path) -> None:
    """Close a connection so that the log and its index stay for those who could not make them.

    The last connection deletes them, unless it cannot lock the file for itself alone: so one that may only read, and
    therefore never locks so, is open meanwhile.
    """
    keeper = None
    try:
        keeper = _connect(file, "mode=ro")
        keeper.execute(_FIRST_READ).fetchone()
    except sqlite3.Error:
        pass  # the file is gone or damaged: there is nothing to keep
    connection.close()
    if keeper is not None:
        keeper.close()


def _lock(handle: int, how: int, folder: Path) -> None:
    """Take a lock on a folder, for which others are waited for a while.

    Raises:
        ArchiveError: they do not release it.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise ArchiveError(f"{folder}: others are reading or changing it; wait until they are done") from None
            time.sleep(_PAUSE)
