"""Outputs that appear whole or not at all, and files that are what they claim to be: locks, fsync, checksums, once.

An output is made in a hidden folder beside it, ``.NAME.partial``, which holds a lock that the kernel releases when its
process ends (flock(2)), in whatever container or host that ran. One process makes an output at a time; what a killed
one left behind, the next one deletes.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from medclip.errors import CaseError, MedclipError, OutputError

__all__ = [
    "check_free",
    "check_free_file",
    "clear_dead",
    "cleared",
    "copy_file",
    "digest_of",
    "held",
    "is_workplace",
    "named_failures",
    "new_file",
    "new_folder",
    "open_regular",
    "partial_of",
    "permissions",
    "read_regular",
    "readable_as",
    "replaced_file",
    "sync",
    "unreadable",
    "write_json",
]


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "disk is full", "file too large", "quota exceeded", "disk i/o error", "requested and")
_HEAD = 4096  # bytes of a file in which its maker's mark must stand
_LOCK, _ASIDE = "lock", "replaced"
_MINE = b"medclip\n"  # what the lock says: all that is beside it was put there by medclip
_HERE, _NO_REPLACE, _SWAP = -100, 1, 2  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE of renameat2(2)
_NOT_THERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # what it says where the system or the file system lacks it


def _is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room; libraries wrap the system's errno in errors of their own."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error).lower() for words in _FULL_WORDS)


def _is_part_of(path: Path, out: Path) -> bool:
    """Whether a path is the output, the folder that it stands in, or a place beside it that is named after it."""
    real, beside = path.absolute(), out.resolve().parent
    if not real.is_relative_to(beside):
        return False
    names = real.relative_to(beside).parts
    return not names or out.resolve().name in names[0]


@contextmanager
def named_failures(out: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line about `out`.

    Raises:
        OutputError: the disk is full, the place is not writable, or the name is none that it takes.
    """
    try:
        yield
    except MedclipError:
        raise
    except Exception as error:
        if _is_full(error):
            raise OutputError(f"{out}: the disk is full; nothing was written. Free some space and run again") from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            if error.filename is not None and not _is_part_of(Path(os.fsdecode(error.filename)), out):
                raise OutputError(f"{os.fsdecode(error.filename)}: {unreadable(error)}") from error
            raise OutputError(f"{out}: no permission to write here; choose another place with --out") from error
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise OutputError(f"{out}: the file system takes no such name; choose a shorter, plainer one") from error
        raise


# ---- reading what may be no plain file


def unreadable(error: OSError) -> str:
    """Why a file could not be opened or read, in words that follow its name."""
    if isinstance(error, PermissionError):
        return "no permission to read it; ask its owner for it"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "not found"
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and none is followed here"
    if error.errno in (errno.EINVAL, errno.ENXIO, errno.EISDIR):
        return "is no plain file"
    return error.strerror or type(error).__name__


def open_regular(path: Path, *, follow: bool = True) -> io.BufferedReader:
    """Open a plain file to read; a FIFO, socket or device, which could block for ever, is refused unopened.

    Args:
        follow: open what a symbolic link leads to.

    Raises:
        OSError: the file is missing, cannot be read, is no plain file (errno EINVAL) or a link (errno ELOOP).
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, how if follow else how | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """The bytes of a plain file of at most `most` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger (errno EFBIG).
    """
    with open_regular(path, follow=follow) as handle:
        content = handle.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 20} MiB", str(path))
    return content


def digest_of(path: Path) -> str:
    """SHA-256 of a plain file's bytes, as hexadecimal.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def permissions(path: Path) -> int:
    """Who may read a file, or all that is in a folder, as a mode for what is made of it (0o777 for everyone).

    A folder is passed through only with its x permission, so those who lack it are as good as refused.
    """
    mode = path.stat().st_mode
    read = mode & 0o444
    if stat.S_ISDIR(mode):
        read &= (mode & 0o111) << 2
        for inside in path.iterdir():
            read &= inside.lstat().st_mode  # a link's own, which refuses nobody
    return read | read >> 1 | read >> 2


def copy_file(source: Path, target: Path) -> None:
    """Copy a plain file to a new name that may be read by nobody who may not read the source.

    Raises:
        CaseError: the source is missing, cannot be read or is no plain file.
        OSError: the target exists or cannot be written.
    """
    try:
        given = open_regular(source)
    except OSError as error:
        raise CaseError(f"{source}: cannot be read ({error.strerror}); check the file and its permissions") from error
    with given:
        mode = stat.S_IMODE(os.fstat(given.fileno()).st_mode) & 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, mode | 0o200), "wb") as copy:
            shutil.copyfileobj(given, copy, 1 << 20)


# ---- making outputs durable


def sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, on the disk before going on; links are passed over."""
    inside = path.rglob("*") if path.is_dir() else ()
    for one in [*inside, path]:
        if one.is_symlink():
            continue
        handle = os.open(one, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_name(path: Path) -> None:
    """Have a new name on the disk: a folder holds its files' names."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with a final newline; what UTF-8 cannot hold is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


# ---- what may be replaced


def _kind(path: Path) -> str:
    """``absent``, ``file``, ``folder``, ``link`` or ``other``."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return "absent"
    names = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"))
    return next((name for is_it, name in names if is_it(mode)), "other")


def _check_place(out: Path) -> str:
    with named_failures(out):
        if not out.parent.is_dir():
            raise OutputError(f"{out}: the folder {out.parent} does not exist; create it first")
        try:
            str(out).encode()
        except UnicodeEncodeError:
            raise OutputError(
                f"{out}: is a name that is not UTF-8, which not every library reads; choose another"
            ) from None
        kind = _kind(out)
        if kind == "link":
            raise OutputError(f"{out}: is a symbolic link; name the place that it leads to, or delete it")
        return kind


def check_free(out: Path, *, force: bool, marker: str | None = None) -> None:
    """Refuse an output folder that exists, before any work is done for it.

    With `force`, an existing folder may be replaced only if it is empty or holds `marker` (the file that says it
    is one of ours), so that a mistyped ``--out ~`` never deletes what medclip did not make; never a file.

    Raises:
        OutputError: the output exists, or is not medclip's to replace.
    """
    kind = _check_place(out)
    if kind == "absent":
        return
    if not force:
        raise OutputError(f"{out}: already exists; choose another --out or replace it with --force")
    with named_failures(out):
        if kind != "folder" or (any(out.iterdir()) and (marker is None or _kind(out / marker) != "file")):
            raise OutputError(
                f"{out}: not replaced, since it is no folder that this command made (it has no {marker}); "
                "delete it yourself or choose another --out"
            )


def check_free_file(out: Path, *, force: bool = False, marker: bytes | None = None) -> None:
    """Refuse an output file that exists, before any work is done for it.

    With `force`, an existing file may be replaced only if `marker` stands in its first 4096 bytes; else none is.

    Raises:
        OutputError: the output exists, or is not medclip's to replace.
    """
    kind = _check_place(out)
    if kind == "absent":
        return
    if not force:
        remedy = "choose another name or " + ("delete it" if marker is None else "replace it with --force")
        raise OutputError(f"{out}: already exists; {remedy}")
    with named_failures(out):
        if kind == "file" and marker is not None:
            with open_regular(out) as handle:
                kind = "ours" if marker in handle.read(_HEAD) else kind
        if kind != "ours":
            raise OutputError(f"{out}: not replaced, since it is no file that this command made; delete it yourself")


# ---- the place where an output is made


def partial_of(out: Path) -> Path:
    """The hidden folder beside `out`, or what it leads to, in which it is made."""
    real = out.resolve()
    return real.parent / f".{real.name}.partial"


def _hold(place: Path, *, wait: bool, own: bool = True) -> int:
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
            if own:
                _require_own(place, folder)
            handle = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except FileNotFoundError:
            continue
        finally:
            os.close(folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(handle), (place / _LOCK).lstat()):
                if not os.fstat(handle).st_size:
                    os.pwrite(handle, _MINE, 0)
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _require_own(place: Path, folder: int) -> None:
    """Refuse a folder that somebody else may have prepared, before anything is put or deleted there.

    Raises:
        OutputError: it belongs to another user, others may write into it, or it holds what medclip did not put there.
    """
    state = os.fstat(folder)
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise OutputError(f"{place}: belongs to another user, or others may write into it; delete it")
    if not _is_marked(folder):
        raise OutputError(f"{place}: holds what medclip did not put there, and is where it would work; move it away")


def _is_marked(folder: int) -> bool:
    """Whether a folder is empty, or its lock says that medclip made it."""
    names = os.listdir(folder)
    try:
        lock = os.open(_LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return not names
    try:
        found = os.read(lock, len(_MINE) + 1) if stat.S_ISREG(os.fstat(lock).st_mode) else None
    finally:
        os.close(lock)
    return found == _MINE or (found == b"" and set(names) <= {_LOCK})


@contextmanager
def held(place: Path, *, own: bool = True) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if need be and stays.

    Args:
        own: whether it must be this user's, and made or marked by medclip.

    Raises:
        BlockingIOError: another process works in it.
        OutputError: it is no folder, or not one of ours.
    """
    handle = _hold(place, wait=False, own=own)
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
        return _is_marked(folder)
    finally:
        os.close(folder)


def cleared(place: Path) -> bool:
    """Delete a folder in which a process worked that is no more; False where one works in it yet."""
    if _kind(place) == "absent":
        return True
    try:
        handle = _hold(place, wait=False)
    except BlockingIOError:
        return False
    try:
        _vanish(place)
    finally:
        os.close(handle)
    return True


def clear_dead(folder: Path) -> list[Path]:
    """Delete what killed processes left half-made in a folder; returns the places where one is at work yet."""
    places = [place for place in sorted(folder.glob(".*.partial")) if is_workplace(place)]
    return [place for place in places if not cleared(place)]


def _vanish(place: Path) -> None:
    """Delete a folder that is held, its lock last."""
    _clear(place)
    (place / _LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the next one has made a lock of its own there already, or tidied up
        place.rmdir()


@contextmanager
def _workplace(out: Path, *, wait: bool) -> Iterator[Path]:
    """Yield `partial_of(out)`, empty but for its lock, which this process holds until the end; then it is gone.

    Args:
        wait: for another process that makes the same output, instead of refusing.

    Raises:
        OutputError: another process is making `out`, or something else is in its place.
    """
    place = partial_of(out)
    try:
        handle = _hold(place, wait=wait)
    except BlockingIOError:
        raise OutputError(
            f"{out}: another process is making it; wait until it is done, or choose another --out"
        ) from None
    try:
        if _kind(place / _ASIDE) != "absent" and _kind(out) == "absent":
            (place / _ASIDE).rename(out)  # a process was killed between the two steps of an exchange
        _clear(place)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):  # what cannot be tidied up now is hidden, and the next run's to say
                _vanish(place)
    finally:
        os.close(handle)


def _clear(place: Path) -> None:
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


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """renameat2(2); False where the system or the file system has none.

    Raises:
        OSError: it is refused.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(target))


def _name_new(made: Path, out: Path) -> None:
    """Give what was made its name, if nothing has it, in one step.

    Raises:
        OutputError: something has.
    """
    try:
        if not _renameat2(made, out, _NO_REPLACE):
            if made.is_dir():
                made.rename(out)  # replaces an empty folder at most
            else:
                os.link(made, out)
                made.unlink()
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise OutputError(
                f"{out}: has appeared while it was being made, and was left as it is; choose another --out"
            ) from error
        raise


def _swap(made: Path, out: Path) -> None:
    """Swap two names in one step, or in two where the system has no such call."""
    if not _renameat2(made, out, _SWAP):
        aside = made.with_name(_ASIDE)
        out.rename(aside)
        made.rename(out)
        aside.rename(made)


def _take_name(made: Path, out: Path, check: Callable[[Path], None]) -> None:
    """Give what was made its name; what `check` lets replace is looked at again after the exchange, then deleted."""
    sync(made)
    check(out)
    if _kind(out) == "absent":
        _name_new(made, out)
    else:
        _keep_readers(out, made)
        _swap(made, out)
        try:
            check(made)
        except BaseException as error:  # an interrupt, too: nothing is deleted that was not looked at
            _swap(made, out)
            if not isinstance(error, OutputError):
                raise
            raise OutputError(f"{out}: has changed while its successor was made, and was left as it is") from error
    _sync_name(out)


def _keep_readers(old: Path, new: Path) -> None:
    """Let nobody read a successor who might not read what it replaces."""
    new.chmod(stat.S_IMODE(new.stat().st_mode) & stat.S_IMODE(old.stat().st_mode))


def readable_as(model: Path, made: Path) -> None:
    """Let those read a folder of files who may read another folder, whatever the umask."""
    mode = stat.S_IMODE(model.stat().st_mode)
    for path in made.iterdir():
        path.chmod(mode & 0o666)
    made.chmod(mode)


@contextmanager
def _new(out: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    check(out)
    with named_failures(out), _workplace(out, wait=False) as place:
        check(out)  # whoever had the place before may have made it
        made = place / "new"
        yield made
        _take_name(made, out, check)


@contextmanager
def new_folder(out: Path, *, force: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Yield an empty folder that takes the name `out` when the block ends well, and vanishes otherwise.

    A kill leaves at worst a hidden ``.NAME.partial``, which the next run deletes, never a half-written `out`. What
    appears under the name meanwhile is left alone; what `force` lets replace is exchanged in one step.

    Args:
        marker: name of a file that says that the folder is one of ours; it is made, empty, where the block makes none.

    Raises:
        OutputError: `out` exists and `force` is not set, it is not medclip's to replace, another process is making it,
            the disk is full, or the place is not writable.
    """
    with _new(out, partial(check_free, force=force, marker=marker)) as made:
        made.mkdir()
        yield made
        if marker is not None and _kind(made / marker) == "absent":
            (made / marker).touch()


@contextmanager
def new_file(out: Path, *, force: bool = False, marker: bytes | None = None) -> Iterator[Path]:
    """Yield a path for a file that takes the name `out` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: as `new_folder`.
    """
    with _new(out, partial(check_free_file, force=force, marker=marker)) as made:
        yield made


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a path for the successor of a file of our own, which takes its place when the block ends well.

    Raises:
        OutputError: the folder is missing, the disk is full, or the place is not writable.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    with named_failures(path), _workplace(path, wait=True) as place:
        made = place / "new"
        yield made
        if _kind(path) == "file":
            made.chmod(stat.S_IMODE(path.stat().st_mode))
        sync(made)
        made.replace(path)
        _sync_name(path)
