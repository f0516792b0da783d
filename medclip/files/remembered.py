"""What was verified, remembered from one command to the next in the user's cache folder.

Each deed, of certain files under certain conditions, has a name: the SHA-256 of both. To remember it is to have an empty
file of that name. So there is nothing in it that could be read, be half-written or be told apart from what was meant, two
processes at once cannot be in each other's way, and a file that changed has another name, under which nothing stands.

Files are told by path, device, inode, size, and the times of their last change (mtime) and of their inode's (ctime): the
last is set by the kernel, at every write and rename and when another time is put back, and no call sets it. So do Git's
index and Make's kin; what changes below the file system (a disk that rots) or through memory that a program had mapped for
writing, only a new look at the bytes finds.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Deed", "Memory", "cache_folder", "deed_of", "is_own", "user_memory"]

_MOST = 512  # deeds; of an index there are two, and two more after each update of a library
_SETTLED = (
    2_000_000_000  # nanoseconds after which another change of a file shows in its ctime, whatever the file system
)


@dataclass(frozen=True)
class Deed:
    """Something that was done with certain files as they were."""

    name: str  # 64 hexadecimal digits
    changed: int  # nanoseconds since 1970: when one of the files changed last


def deed_of(what: str, files: Iterable[Path], conditions: Mapping[str, str]) -> Deed:
    """What to remember something by.

    Args:
        what: was done.
        files: that it was done with; links are followed.
        conditions: on which its outcome depends beside them.

    Raises:
        OSError: a file is missing, or is out of reach.
    """
    states = [(os.path.abspath(file), os.stat(file)) for file in files]
    told = [
        [os.fsencode(path).hex(), one.st_dev, one.st_ino, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns]
        for path, one in states
    ]
    said = json.dumps([what, told, sorted(conditions.items())])
    changed = max((one.st_ctime_ns for _, one in states), default=0)
    return Deed(hashlib.sha256(said.encode()).hexdigest(), changed)


def cache_folder() -> Path | None:
    """Where medclip keeps what it can make again (XDG Base Directory Specification 0.8); None where the user has no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not given.is_absolute():
        try:
            given = Path.home() / ".cache"
        except RuntimeError:
            return None
    return given / "medclip"


class Memory:
    """Deeds in a folder that is the user's own; where there is none, or it cannot be used, nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def knows(self, deed: Deed) -> bool:
        """Whether it was done."""
        if self.folder is None:
            return False
        try:
            return is_own(self.folder, stat.S_ISDIR) and is_own(self.folder / deed.name)
        except OSError:
            return False

    def keep(self, deed: Deed, *, settled: bool = False) -> None:
        """Remember it, unless one of its files changed so lately that a further change might not show.

        Args:
            settled: nobody else knows these files yet, however new they are.
        """
        if self.folder is None or not (settled or time.time_ns() - deed.changed >= _SETTLED):
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            if is_own(self.folder, stat.S_ISDIR):
                os.close(os.open(self.folder / deed.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                self._tidy()

    def forget(self, deed: Deed) -> None:
        """Remember it no more."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / deed.name).unlink()

    def _tidy(self) -> None:
        """Forget the oldest of too many."""
        with os.scandir(self.folder or ".") as entries:
            kept = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries)
        for _, path in kept[:-_MOST]:
            with contextlib.suppress(OSError):
                os.unlink(path)


def is_own(path: Path, kind: Callable[[int], bool] = stat.S_ISREG) -> bool:
    """Whether a file, or what `kind` tells by its mode, is this user's, and no other user may write it.

    Raises:
        OSError: it is missing, or is out of reach.
    """
    state = path.lstat()
    return kind(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o022


def user_memory() -> Memory:
    """What the user's commands remember of each other."""
    folder = cache_folder()
    return Memory(None if folder is None else folder / "verified")
