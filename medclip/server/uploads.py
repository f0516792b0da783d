"""What people send → files in a private folder, grouped into scans; nothing of it outlives the question's reading."""

import lzma
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from medclip.errors import MedclipError, OptionError, ScanError
from medclip.files.workplaces import cleared, hold, is_workplace, vanish
from medclip.modalities.scan.raster import is_raster
from medclip.server.settings import Limits

__all__ = ["Desktop", "Received", "Sent", "workroom"]

_BLOCK = 1 << 20  # bytes
_NAME = 100  # characters of a name that are told again
_SUFFIX = re.compile(r"(\.nii)?\.[A-Za-z0-9]{1,5}$")
_PREFIX = ".medclip-serve-"
_BAD_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError, IndexError
)  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """A file that was sent."""

    name: str  # as its sender called it
    content: IO[bytes]


@dataclass
class Received:
    """Files of one question."""

    scans: list[Path] = field(default_factory=list)  # a file, or the folder of a DICOM series
    recordings: list[Path] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # path here → as its sender called it

    def told(self, message: str) -> str:
        """An error's message with the sender's names in place of paths here."""
        for path in sorted(self.names, key=len, reverse=True):
            message = message.replace(path, self.names[path])
        return message


class Desktop:
    """A private folder, in which each question has one of its own while it is read."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits

    @contextmanager
    def received(self, scans: Sequence[Sent], recordings: Sequence[Sent]) -> Iterator[Received]:
        """The files of one question, written, unpacked and grouped; they are deleted when the block ends.

        Raises:
            ScanError, OptionError: they are too many or too large, or a zip is none or holds what it may not.
        """
        own = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            found = Received()
            loose = self._files(own, scans, found)
            found.scans = _grouped(own, loose, found)
            if len(found.scans) > self.limits.scans:
                raise ScanError(f"{len(found.scans)} scans were given; ask with at most {self.limits.scans}")
            for sent in recordings:
                path = self._named(own, sent.name, found)
                _copy(sent.content, path, self.limits.body)
                found.recordings.append(path)
            yield found
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _named(self, own: Path, name: str, found: Received) -> Path:
        """A path whose name tells nothing of the sender's, but for a suffix."""
        suffix = _SUFFIX.search(name[-12:])
        path = own / f"{len(found.names)}{suffix[0] if suffix else ''}"
        found.names[str(path)] = (Path(name.replace("\\", "/")).name or "file")[:_NAME]
        if len(found.names) > self.limits.files:
            raise OptionError(f"more than {self.limits.files} files were given; ask with the files of fewer series")
        return path

    def _files(self, own: Path, scans: Sequence[Sent], found: Received) -> list[Path]:
        loose, room = [], self.limits.unpacked
        for sent in scans:
            path = self._named(own, sent.name, found)
            _copy(sent.content, path, self.limits.body)
            if not zipfile.is_zipfile(path):
                loose.append(path)
                continue
            for inner in self._unpacked(own, path, found, room):
                room -= inner.stat().st_size
                loose.append(inner)
            path.unlink()
        return loose

    def _unpacked(self, own: Path, path: Path, found: Received, room: int) -> Iterator[Path]:
        told = found.names[str(path)]
        try:
            with zipfile.ZipFile(path) as archive:
                members = [one for one in archive.infolist() if not one.is_dir()]
                if len(members) > self.limits.files:
                    raise ScanError(f"{told}: holds {len(members)} files; send at most {self.limits.files}")
                for member in members:
                    parts = Path(member.filename.replace("\\", "/")).parts
                    if ".." in parts or member.filename.startswith(("/", "\\")):
                        raise ScanError(f"{told}: names a file outside itself; make the zip anew")
                    if not parts or parts[0] == "__MACOSX" or parts[-1].startswith("."):
                        continue
                    inner = self._named(own, member.filename, found)
                    found.names[str(inner)] = f"{told}/{parts[-1][:_NAME]}"
                    with archive.open(member) as content:
                        room -= _copy(content, inner, room)
                    yield inner
        except _BAD_ZIP as error:
            raise ScanError(f"{told}: is a damaged or encrypted zip; make it anew") from error


def _copy(source: IO[bytes], path: Path, most: int) -> int:
    """Bytes that were written. What a header claims is not trusted: they are counted as they come."""
    written = 0
    with path.open("xb") as out:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > most:
                raise ScanError(f"a file, or all that a zip holds, is larger than {most >> 20} MiB; send fewer series")
            out.write(block)
    return written


def _grouped(own: Path, loose: Sequence[Path], found: Received) -> list[Path]:
    """Each picture or volume by itself; DICOM files by their series, as a folder."""
    series: dict[str, list[Path]] = {}
    scans: list[Path] = []
    patients: set[str] = set()
    for path in loose:
        uid, patient = _series(path)
        if patient:
            patients.add(patient)
        if uid is None:
            scans.append(path)
        else:
            series.setdefault(uid, []).append(path)
    if len(patients) > 1:
        raise ScanError(f"the DICOM files are of {len(patients)} patients, by their headers; ask about one at a time")
    for files in series.values():
        if len(files) == 1:
            scans.append(files[0])
            continue
        folder = own / f"series-{len(scans)}"
        folder.mkdir()
        found.names[str(folder)] = f"series of {len(files)} files"
        for number, path in enumerate(files):
            moved = path.rename(folder / f"{number:05}.dcm")
            found.names[str(moved)] = found.names.pop(str(path))
        scans.append(folder)
    return scans


def _series(path: Path) -> tuple[str | None, str]:
    """(the series of a DICOM file, its patient); None of another file, or of one that will be refused when it is read."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
        if is_raster(head) and head[128:] != b"DICM":
            return None, ""
        from medclip.modalities.scan.header import is_dicom, read_header  # a third of the server's start

        if not is_dicom(head, path):
            return None, ""
        header = read_header(path)
        return str(header.get("SeriesInstanceUID", "")) or None, str(header.get("PatientID", "")).strip()
    except (MedclipError, OSError, ValueError):
        return None, ""


@contextmanager
def workroom(place: Path | None = None) -> Iterator[Path]:
    """A private folder for what is sent; it vanishes at the end, and what killed servers left is deleted first.

    Args:
        place: where it is made; the system's folder for temporary files where None.

    Raises:
        OutputError: it cannot be made.
    """
    root = place or Path(tempfile.gettempdir())
    for left in root.glob(f"{_PREFIX}*"):
        if left.lstat().st_uid == os.geteuid() and is_workplace(left):
            cleared(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    handle = hold(folder, wait=False)
    try:
        yield folder
    finally:
        vanish(folder)
        os.close(handle)
