"""The files that an index was built from, where its server was told their folder; else nobody has them."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from medclip.archive.entries import case_of
from medclip.cases.case import Case
from medclip.cases.manifest import scan_manifest
from medclip.embedding.shards import content_of
from medclip.errors import CaseError, OptionError, ScanError
from medclip.index import Record
from medclip.modalities.scan.read import read_stack
from medclip.modalities.scan.stack import Stack

__all__ = ["Original", "Originals"]

_SAME = "the original file, unchanged since the index was built"
_CHANGED = "a file of the same name; it, or what its folder knows of the case, is not what the index was built from"
_NONE = "the stored thumbnail: the originals are not here (medclip serve --originals FOLDER)"
_MISSING = "the stored thumbnail: its file is not in the folder of the originals"
_OUTSIDE = "the stored thumbnail: its file leads out of the folder of the originals"


@dataclass(frozen=True)
class Original:
    """A case's scan as its file has it, or why the thumbnail stands for it."""

    stack: Stack | None
    source: str  # for people


class Originals:
    """Files of archived cases, decoded when they are looked at, the latest kept."""

    def __init__(self, folder: Path | None = None, most: int = 0, kept: int = 0) -> None:
        """Args:
        folder: the cases folder that the index was built from; without one there are none.
        most: bytes of one scan.
        kept: bytes of all that are kept.

        Raises:
            OptionError: the folder is none.
        """
        if folder is not None and not folder.is_dir():
            raise OptionError(
                f"--originals {folder}: is no folder; name the cases folder that the index was built from"
            )
        self._root = None if folder is None else folder.resolve()
        self._most, self._limit = most, kept
        self._kept: OrderedDict[tuple[str, int, str, int], Original] = OrderedDict()
        self._lock = Lock()

    def has(self, case: Case, number: int) -> bool:
        """Whether a scan's file is there; scans are counted from 0."""
        return isinstance(self._file(case, number), Path)

    def of(self, record: Record, number: int) -> Original:
        """A scan of a case; scans are counted from 0."""
        case = case_of(record)
        file = self._file(case, number)
        if isinstance(file, str):
            return Original(None, file)
        key = record.id, number, record.content, _state(file)
        with self._lock:
            if (found := self._kept.get(key)) is None:
                found = self._read(record, case, file)
                self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(_bytes(one) for one in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
        return found

    def _read(self, record: Record, case: Case, file: Path) -> Original:
        try:
            stack = read_stack(file, self._most)
        except ScanError as error:
            why = str(error).replace(f"{file}: ", "")
            return Original(None, f"the stored thumbnail: its file cannot be shown ({why})")
        return Original(stack, _SAME if self._is_same(record, case) else _CHANGED)

    def _is_same(self, record: Record, case: Case) -> bool:
        """Whether a case and all of its files are what the index was built from, by its hash of them."""
        assert self._root is not None
        if not all(isinstance(self._file(case, number), Path) for number in range(len(case.scans))):
            return False
        try:
            listed = (one for one in scan_manifest(self._root) if isinstance(one, Case) and one.id == case.id)
            now = next(
                listed, None
            )  # as its line has it: an index keeps labels in another order, and the hash goes by it
            return now == case and content_of(now, self._root) == record.content
        except (CaseError, OSError):
            return False

    def _file(self, case: Case, number: int) -> Path | str:
        """A scan's file or folder, or why there is none; no link leads out of the folder."""
        if self._root is None:
            return _NONE
        try:
            file = (self._root / case.scans[number].file).resolve(strict=True)
            inside = [file, *((one.resolve(strict=True) for one in file.rglob("*")) if file.is_dir() else ())]
        except (OSError, IndexError, RuntimeError):  # RuntimeError: a circle of links
            return _MISSING
        return file if all(one.is_relative_to(self._root) for one in inside) else _OUTSIDE


def _state(file: Path) -> int:
    """What changes when a file, or one of a folder, does."""
    files = sorted(file.iterdir()) if file.is_dir() else [file]
    return hash(tuple((one.name, *one.stat()[6:9]) for one in files))


def _bytes(original: Original) -> int:
    return 0 if original.stack is None else original.stack.nbytes
