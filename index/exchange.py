"""An index as one file, to move it between backends: JSON lines, compressed, each case with its checksum."""

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip.errors import ArchiveError
from medclip.index.entry import Entry, Record, VectorView

if TYPE_CHECKING:
    from medclip.index.case_index import CaseIndex

__all__ = ["MARK", "Export", "packed", "read_export", "unpacked", "write_export"]

_FORMAT = 1
MARK = b"medclip-export"
"""Stands in the header of the compressed file (RFC 1952, FNAME): what says that it is ours to replace."""


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _case(entry: Entry) -> dict[str, Any]:
    record = entry.record
    return {
        "id": record.id,
        "patient": record.patient,
        "labels": record.labels,
        "document": record.document,
        "facts": {name: list(values) for name, values in record.facts.items()},
        "text": record.text,
        "content": record.content,
        "views": [[v.kind, v.number, v.labels, _text(v.vector.astype("<f4").tobytes())] for v in entry.views],
        "thumbnails": {str(number): _text(jpeg) for number, jpeg in sorted(entry.thumbnails.items())},
    }


def _entry(case: dict[str, Any]) -> Entry:
    facts = {name: tuple(values) for name, values in case["facts"].items()}
    record = Record(case["id"], case["patient"], case["labels"], case["document"], facts, case["text"], case["content"])
    views = [
        VectorView(kind, number, np.frombuffer(base64.b64decode(vector), "<f4"), labels)
        for kind, number, labels, vector in case["views"]
    ]
    return Entry(record, views, {int(n): base64.b64decode(jpeg) for n, jpeg in case["thumbnails"].items()})


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:32]


def packed(entry: Entry) -> str:
    """A case as one line: its checksum and JSON."""
    line = json.dumps(_case(entry), ensure_ascii=False, sort_keys=True)
    return f"{_digest(line)} {line}"


def unpacked(line: str) -> Entry:
    """The case of such a line.

    Raises:
        ValueError: it does not match its checksum.
    """
    digest, _, text = line.rstrip("\n").partition(" ")
    if _digest(text) != digest:
        raise ValueError("does not match its checksum")
    return _entry(json.loads(text))


def write_export(file: Path, index: "CaseIndex") -> int:
    """Write all cases of an index; returns their number."""
    with (
        file.open("wb") as raw,
        gzip.GzipFile(MARK.decode(), "wb", compresslevel=1, fileobj=raw) as packed_file,
        io.TextIOWrapper(packed_file, encoding="utf-8") as out,
    ):
        cases = len(index)
        head = {"format": _FORMAT, "fingerprint": index.fingerprint, "cases": cases}
        out.write(json.dumps(head) + "\n")
        for entry in index.entries():
            out.write(packed(entry) + "\n")
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
            ArchiveError: a line does not match its checksum, or lines are missing.
        """
        count = 0
        try:
            with gzip.open(self.file, "rt", encoding="utf-8") as lines:
                next(lines)
                for line in lines:
                    yield unpacked(line)
                    count += 1
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"{self.file}: is damaged after case {count}; export again") from error
        if count != self.cases:
            raise ArchiveError(f"{self.file}: holds {count} of {self.cases} cases; export again")


def read_export(file: Path) -> Export:
    """Open an export.

    Raises:
        ArchiveError: the file is not one, or of a newer format.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            head = json.loads(next(lines))
        if head["format"] != _FORMAT:
            raise ArchiveError(f"{file}: was written by another version of medclip; export again with this one")
        return Export(file, str(head["fingerprint"]), int(head["cases"]))
    except FileNotFoundError:
        raise ArchiveError(f"{file}: not found; make it with  medclip index export") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ArchiveError(f"{file}: is not an export of medclip; make one with  medclip index export") from error
