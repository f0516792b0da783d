"""Case records in SQLite: who a vector belongs to, its labels, and the document that is shown."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclip.errors import ArchiveError

__all__ = ["Catalogue", "Record", "ViewRow"]

_SCHEMA = """
CREATE TABLE cases (
    id       TEXT PRIMARY KEY,
    patient  TEXT NOT NULL,
    labels   TEXT NOT NULL,      -- JSON object: label set -> class
    document TEXT NOT NULL       -- JSON object, opaque to the index
) STRICT;
CREATE INDEX cases_by_patient ON cases (patient);
CREATE TABLE views (
    row     INTEGER PRIMARY KEY, -- row of vectors.npy
    case_id TEXT NOT NULL REFERENCES cases (id),
    kind    TEXT NOT NULL,
    number  INTEGER NOT NULL,
    labels  TEXT NOT NULL,       -- JSON object: the labels that hold for this view
    UNIQUE (case_id, kind, number)
) STRICT;
CREATE TABLE thumbnails (
    case_id TEXT NOT NULL REFERENCES cases (id),
    number  INTEGER NOT NULL,
    jpeg    BLOB NOT NULL,
    PRIMARY KEY (case_id, number)
) STRICT;
"""


@dataclass(frozen=True)
class Record:
    """A case as the index keeps it."""

    id: str
    patient: str
    labels: dict[str, str]
    document: dict[str, Any]  # JSON; what it holds is the caller's business


@dataclass(frozen=True)
class ViewRow:
    """Which view of which case a vector is."""

    case_id: str
    patient: str
    kind: str
    number: int
    labels: dict[str, str]


class Catalogue:
    """One SQLite file. Opened read-only; `create` writes it once."""

    def __init__(self, file: Path) -> None:
        """Open a catalogue for reading.

        Raises:
            ArchiveError: the file is missing or not a catalogue.
        """
        self.file = file
        if not file.is_file():
            raise ArchiveError(f"{file}: not found; build the index again")
        self._connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        with self._damage_named():
            self._connection.execute("SELECT COUNT(*) FROM cases").fetchone()

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ArchiveError(f"{self.file}: is damaged ({error}); build the index again") from error

    @classmethod
    def create(cls, file: Path) -> "CatalogueWriter":
        """Begin a new catalogue."""
        return CatalogueWriter(file)

    def views(self) -> list[ViewRow]:
        """All views in the order of the vectors' rows."""
        with self._damage_named():
            rows = self._connection.execute(
                "SELECT case_id, patient, kind, number, views.labels FROM views JOIN cases ON cases.id = case_id "
                "ORDER BY row"
            ).fetchall()
        return [
            ViewRow(case_id, patient, kind, number, json.loads(labels))
            for case_id, patient, kind, number, labels in rows
        ]

    def record(self, case_id: str) -> Record | None:
        """The record of one case."""
        with self._damage_named():
            row = self._connection.execute(
                "SELECT id, patient, labels, document FROM cases WHERE id = ?", (case_id,)
            ).fetchone()
        return None if row is None else Record(row[0], row[1], json.loads(row[2]), json.loads(row[3]))

    def records(self) -> Iterator[Record]:
        """All records, by id."""
        with self._damage_named():
            for row in self._connection.execute("SELECT id, patient, labels, document FROM cases ORDER BY id"):
                yield Record(row[0], row[1], json.loads(row[2]), json.loads(row[3]))

    def thumbnail(self, case_id: str, number: int) -> bytes | None:
        """One thumbnail, as JPEG."""
        with self._damage_named():
            row = self._connection.execute(
                "SELECT jpeg FROM thumbnails WHERE case_id = ? AND number = ?", (case_id, number)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def faults(self) -> list[str]:
        """What SQLite's own integrity check finds, and views without a case."""
        with self._damage_named():
            found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            orphans = self._connection.execute(
                "SELECT COUNT(*) FROM views WHERE case_id NOT IN (SELECT id FROM cases)"
            ).fetchone()[0]
        return [*found, *([f"{orphans} views belong to no case"] if orphans else [])]


class CatalogueWriter:
    """Writes a catalogue in one transaction."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file)
        self._connection.executescript(_SCHEMA)

    def add(
        self, record: Record, views: Iterable[tuple[int, str, int, dict[str, str]]], thumbnails: dict[int, bytes]
    ) -> None:
        """Add a case; views are (row, kind, number, labels).

        Raises:
            ArchiveError: a case of that id is there already.
        """
        try:
            self._connection.execute(
                "INSERT INTO cases VALUES (?, ?, ?, ?)",
                (record.id, record.patient, _json(record.labels), _json(record.document)),
            )
        except sqlite3.IntegrityError:
            raise ArchiveError(f"case {record.id} is given twice; case ids must be unique") from None
        self._connection.executemany(
            "INSERT INTO views VALUES (?, ?, ?, ?, ?)",
            [(row, record.id, kind, number, _json(labels)) for row, kind, number, labels in views],
        )
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?, ?)", [(record.id, n, jpeg) for n, jpeg in thumbnails.items()]
        )

    def finish(self) -> None:
        """Commit and close."""
        with closing(self._connection):
            self._connection.commit()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
