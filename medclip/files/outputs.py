"""Outputs that appear whole or not at all.

An output is made in a hidden folder beside it, ``.NAME.partial`` (`medclip.files.workplaces`). One process makes an output at a
time; what a killed one left behind, the next one deletes.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from medclip.errors import MedclipError, OutputError
from medclip.files.plain import kind_of, open_regular, sync, sync_name, unreadable
from medclip.files.workplaces import clear, hold, partial_of, vanish

__all__ = [
    "check_free",
    "check_free_file",
    "named_failures",
    "new_file",
    "new_folder",
    "readable_as",
    "replaced_file",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "disk is full", "file too large", "quota exceeded", "disk i/o error", "requested and")
_HEAD = 4096  # bytes of a file in which its maker's mark must stand
_ASIDE = "replaced"
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


def _replaceable(out: Path, force: bool, remedy: str) -> str:
    """What stands where an output shall be; anything but nothing is refused without `force`, and a link with it, too."""
    with named_failures(out):
        if not out.parent.is_dir():
            raise OutputError(f"{out}: the folder {out.parent} does not exist; create it first")
        try:
            str(out).encode()
        except UnicodeEncodeError:
            raise OutputError(
                f"{out}: is a name that is not UTF-8, which not every library reads; choose another"
            ) from None
        kind = kind_of(out)
        if kind == "link":
            raise OutputError(f"{out}: is a symbolic link; name the place that it leads to, or delete it")
    if kind != "absent" and not force:
        raise OutputError(f"{out}: already exists; {remedy}")
    return kind


def check_free(out: Path, *, force: bool, marker: str | None = None) -> None:
    """Refuse an output folder that exists, before any work is done for it.

    With `force`, an existing folder may be replaced only if it is empty or holds `marker` (the file that says it
    is one of ours), so that a mistyped ``--out ~`` never deletes what medclip did not make; never a file.

    Raises:
        OutputError: the output exists, or is not medclip's to replace.
    """
    kind = _replaceable(out, force, "choose another --out or replace it with --force")
    if kind == "absent":
        return
    with named_failures(out):
        if kind != "folder" or (any(out.iterdir()) and (marker is None or kind_of(out / marker) != "file")):
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
    kind = _replaceable(
        out, force, "choose another name or " + ("delete it" if marker is None else "replace it with --force")
    )
    if kind == "absent":
        return
    with named_failures(out):
        if kind == "file" and marker is not None:
            with open_regular(out) as handle:
                kind = "ours" if marker in handle.read(_HEAD) else kind
        if kind != "ours":
            raise OutputError(f"{out}: not replaced, since it is no file that this command made; delete it yourself")


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
        handle = hold(place, wait=wait)
    except BlockingIOError:
        raise OutputError(
            f"{out}: another process is making it; wait until it is done, or choose another --out"
        ) from None
    try:
        if kind_of(place / _ASIDE) != "absent" and kind_of(out) == "absent":
            (place / _ASIDE).rename(out)  # a process was killed between the two steps of an exchange
        clear(place)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):  # what cannot be tidied up now is hidden, and the next run's to say
                vanish(place)
    finally:
        os.close(handle)


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
    if kind_of(out) == "absent":
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
    sync_name(out)


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
        if marker is not None and kind_of(made / marker) == "absent":
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
        if kind_of(path) == "file":
            made.chmod(stat.S_IMODE(path.stat().st_mode))
        sync(made)
        made.replace(path)
        sync_name(path)
