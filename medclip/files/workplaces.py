"""Folders in which one process works at a time, and which the next one clears when that process is gone.

A folder holds a lock that the kernel releases when its process ends (flock(2)), in whatever container or host that ran.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medclip.errors import OutputError
from medclip.files.plain import kind_of

__all__ = ["clear", "clear_dead", "cleared", "held", "hold", "is_workplace", "partial_of", "vanish"]

_LOCK = "lock"
_MINE = b"medclip\n"  # what the lock says: all that is beside it was put there by medclip


def partial_of(out: Path) -> Path:
    """The hidden folder beside `out`, or what it leads to, in which it is made."""
    real = out.resolve()
    return real.parent / f".{real.name}.partial"


def hold(place: Path, *, wait: bool, own: bool = True) -> int:
    """Make a folder, unless it is there, and lock it; closing the descriptor that comes back lets go of it.

    Args:
        own: it must be this user's, and made or marked by medclip; what is there may then be deleted.

    Raises:
        BlockingIOError: another process holds it, and `wait` is not set.
        OutputError: it is no folder, or not one of ours.
    """
    while True:
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
        try:
            folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # whoever was before has just tidied up
            continue
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise OutputError(f"{place}: is no folder; delete it, since medclip works there") from error
            raise
        try:
            handle = _locked(place, folder, wait, own)
        finally:
            os.close(folder)
        if handle is not None:
            return handle


def _locked(place: Path, folder: int, wait: bool, own: bool) -> int | None:
    """The lock of a folder, taken; None where the folder or the lock has vanished meanwhile."""
    state = os.fstat(folder)
    if own and (state.st_uid != os.geteuid() or state.st_mode & 0o022):
        raise OutputError(f"{place}: belongs to another user, or others may write into it; delete it")
    flags, made = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, False
    try:
        try:
            handle = os.open(_LOCK, flags, dir_fd=folder)
        except FileNotFoundError:
            handle, made = os.open(_LOCK, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), True
    except (FileNotFoundError, FileExistsError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(handle), os.stat(_LOCK, dir_fd=folder, follow_symlinks=False)):
            raise FileNotFoundError
        if own and not _is_marked(handle, folder):  # nobody else changes it now
            if made:
                os.unlink(_LOCK, dir_fd=folder)
            raise OutputError(
                f"{place}: holds what medclip did not put there, and is where it would work; move it away"
            )
        if not os.fstat(handle).st_size:
            os.pwrite(handle, _MINE, 0)
    except FileNotFoundError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_marked(lock: int, folder: int) -> bool:
    """Whether a folder's lock says that medclip made it, or nothing but an empty lock is there."""
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        return False
    found = os.pread(lock, len(_MINE) + 1, 0)
    return found == _MINE or (not found and set(os.listdir(folder)) <= {_LOCK})


@contextmanager
def held(place: Path, *, own: bool = True) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if need be and stays.

    Args:
        own: whether it must be this user's, and made or marked by medclip.

    Raises:
        BlockingIOError: another process works in it.
        OutputError: it is no folder, or not one of ours.
    """
    handle = hold(place, wait=False, own=own)
    try:
        yield
    finally:
        os.close(handle)


def is_workplace(place: Path) -> bool:
    """Whether a folder is one that `held` or an output in the making has been in, and so is medclip's to delete."""
    try:
        folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        lock = os.open(_LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return not os.listdir(folder)
    else:
        try:
            return _is_marked(lock, folder)
        finally:
            os.close(lock)
    finally:
        os.close(folder)


def cleared(place: Path) -> bool:
    """Delete a folder in which a process worked that is no more; False where one works in it yet."""
    if kind_of(place) == "absent":
        return True
    try:
        handle = hold(place, wait=False)
    except BlockingIOError:
        return False
    try:
        vanish(place)
    finally:
        os.close(handle)
    return True


def clear_dead(folder: Path) -> list[Path]:
    """Delete what killed processes left half-made in a folder; returns the places where one is at work yet."""
    places = [place for place in sorted(folder.glob(".*.partial")) if is_workplace(place)]
    return [place for place in places if not cleared(place)]


def vanish(place: Path) -> None:
    """Delete a folder that is held, its lock last."""
    clear(place)
    (place / _LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the next one has made a lock of its own there already, or tidied up
        place.rmdir()


def clear(place: Path) -> None:
    """Delete all but the lock."""
    for left in place.iterdir():
        if left.name == _LOCK:
            continue
        if left.is_dir() and not left.is_symlink():
            for folder in (left, *(path for path in left.rglob("*") if path.is_dir() and not path.is_symlink())):
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o700)  # what was replaced may be write-protected
            shutil.rmtree(left)
        else:
            left.unlink()
