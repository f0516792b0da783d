"""Files that are what they claim to be: plain, of bounded size, with a checksum, on the disk."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from medclip.errors import CaseError

__all__ = [
    "copy_file",
    "digest_of",
    "kind_of",
    "open_regular",
    "permissions",
    "read_regular",
    "sync",
    "sync_name",
    "unreadable",
    "write_json",
]


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
    try:
        handle = os.open(path, how if follow else how | os.O_NOFOLLOW)
    except ValueError as error:  # a null byte
        raise OSError(errno.EINVAL, "is no plain file", str(path)) from error
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


def kind_of(path: Path) -> str:
    """What a name stands for, no link followed: ``absent``, ``file``, ``folder``, ``link`` or ``other``."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return "absent"
    names = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"))
    return next((name for is_it, name in names if is_it(mode)), "other")


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


def sync_name(path: Path) -> None:
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
