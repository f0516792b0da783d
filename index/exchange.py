"""An index as one file, to move it between backends: JSON lines, compressed, each case with its checksum.

The checksums have no key: they show damage on the way, not who wrote the file. So nothing of it is believed: whoever
imports it makes anew of each case's document what an index would make of it (`medclip.archive.upkeep.import_index`).
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medclip.errors import ArchiveError
from medclip.files.plain import open_regular, unreadable
from medclip.files.sealed import strict_json
from medclip.index import stored
from medclip.index.packing import packed, unpacked
from medclip.index.records import Entry
from medclip.index.stored import GarbledError

if TYPE_CHECKING:
    from medclip.index.case_index import CaseIndex

__all__ = ["MARK", "Export", "read_export", "write_export"]

_FORMAT = 1
_LONGEST = 32 << 20
"""Bytes of a line. A scan takes some 12 KB (its vector, its thumbnail), so that a case may have more than 2,000."""
_MOST_GROWTH = 100
"""How many times larger than the file its content may be. Vectors and pictures hardly shrink, texts to a tenth."""
MARK = b"medclip-export"
"""Stands in the header of the compressed file (RFC 1952, FNAME): what says that it is ours to replace."""


def write_export(file: Path, index: "CaseIndex") -> int:
    """Write all cases of an index; returns their number.

    Raises:
        ArchiveError: a case is too large for an export.
    """
    with file.open("wb") as raw, gzip.GzipFile(MARK.decode(), "wb", compresslevel=1, fileobj=raw) as out:
        cases = len(index)
        head = {"format": _FORMAT, "fingerprint": index.fingerprint, "cases": cases}
        out.write(f"{json.dumps(head)}\n".encode())
        for entry in index.entries():
            line = f"{packed(entry)}\n".encode()
            if len(line) > _LONGEST:
                raise ArchiveError(f"case {entry.record.id!r}: is larger than an export takes ({_LONGEST >> 20} MiB)")
            out.write(line)
    return cases


@dataclass(frozen=True)
class Export:
    """An export that was opened."""

    file: Path
    fingerprint: str
    cases: int

    def entries(self) -> Iterator[Entry]:
        """The cases.

        Raises:
            ArchiveError: a line does not match its checksum or is no case, or there are more or fewer than stated.
        """
        count = 0
        lines = _lines(self.file)
        try:
            next(lines)
            for line in lines:
                if count == self.cases:
                    raise ValueError("holds more cases than it states")
                yield unpacked(line)
                count += 1
        except _UNREADABLE as error:
            raise ArchiveError(f"{self.file}: is damaged after case {count} ({_said(error)}); export again") from error
        if count != self.cases:
            raise ArchiveError(f"{self.file}: holds {count} of {self.cases} cases; export again")


_UNREADABLE = (OSError, EOFError, zlib.error, ValueError)


def _said(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return unreadable(error) if isinstance(error, OSError) and error.errno else str(error) or type(error).__name__


def _lines(file: Path) -> Iterator[str]:
    """The lines, of bounded length, of a compressed file that does not grow beyond what an export can.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read or decompressed.
        ValueError: a line is longer, there are more of them, or they are not UTF-8.
    """
    with open_regular(file) as raw, gzip.GzipFile(fileobj=raw, mode="rb") as lines:
        grown = 0
        while line := lines.readline(_LONGEST + 1):
            grown += len(line)
            if len(line) > _LONGEST:
                raise ValueError("has a line that is longer than a case can be")
            if grown > _LONGEST + _MOST_GROWTH * raw.tell():
                raise ValueError("grows more than an export can")
            yield line.decode()


def read_export(file: Path) -> Export:
    """Open an export.

    Raises:
        ArchiveError: the file is not one, or of a newer format.
    """
    try:
        head = strict_json(next(_lines(file), ""))
        if not isinstance(head, dict):
            raise GarbledError("it has no head")
        if head.get("format") != _FORMAT:
            raise ArchiveError(f"{file}: was written by another version of medclip; export again with this one")
        fingerprint = stored.text(head.get("fingerprint"), "the fingerprint")
        return Export(file, fingerprint, stored.whole(head.get("cases"), "the number of cases"))
    except FileNotFoundError:
        raise ArchiveError(f"{file}: not found; make it with  medclip index export") from None
    except PermissionError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}") from error
    except _UNREADABLE as error:
        raise ArchiveError(f"{file}: is not an export of medclip; make one with  medclip index export") from error
