"""The truth of an index on one machine, in SQLite: cases, views with their vectors, words, thumbnails.

Every change is one transaction of this file (in WAL mode, so that readers keep the snapshot that they began with), and
all else is derived from it. Each case has a digest of all that is stored of it, and their sum is kept
(Bellare & Micciancio 1997, AdHash), so that a lost or altered case is seen without reading a checksum of the whole file.
"""

import errno
import json
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medclip.errors import ArchiveError
from medclip.files import unreadable
from medclip.index import stored
from medclip.index.access import Access, named
from medclip.index.columns import Key
from medclip.index.digest import DIGESTS, CaseDigest
from medclip.index.entry import Entry, Record, Vectors, VectorView

__all__ = ["SCHEMA", "Catalogue", "Counts", "Removed"]

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE patients (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE cases (
    n       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that nothing old can be taken for something new
    id      TEXT NOT NULL UNIQUE,
    patient INTEGER NOT NULL REFERENCES patients (n),
    labels  TEXT NOT NULL,    -- JSON object: label set -> class
    facts   TEXT NOT NULL,    -- JSON object: field -> values, for filters
    content TEXT NOT NULL,    -- hash of what the case was made from
    digest  BLOB NOT NULL     -- of everything that is stored of the case
) STRICT;
CREATE INDEX cases_by_patient ON cases (patient);
CREATE TABLE documents (n INTEGER PRIMARY KEY REFERENCES cases (n), document TEXT NOT NULL) STRICT;
CREATE TABLE views (
    row    INTEGER PRIMARY KEY AUTOINCREMENT,
    n      INTEGER NOT NULL REFERENCES cases (n),
    kind   TEXT NOT NULL,
    number INTEGER NOT NULL,
    labels TEXT,              -- JSON object: the labels that hold for this view; NULL where they are the case's
    vector BLOB NOT NULL      -- d little-endian float32
) STRICT;
CREATE INDEX views_by_case ON views (n);
CREATE TABLE thumbnails (
    n      INTEGER NOT NULL REFERENCES cases (n),
    number INTEGER NOT NULL,
    jpeg   BLOB NOT NULL,
    PRIMARY KEY (n, number)
) STRICT;
CREATE TABLE dead (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT; -- rows that segments still hold
CREATE TABLE segments (name TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
INSERT INTO meta VALUES
    ('generation', '0'), ('cases', '0'), ('base', '0'), ('digest', '0'), ('stale_words', '0'), ('fields', '{}');
"""

_WORD = re.compile(r"\w+", re.UNICODE)
_BATCH = 64  # cases that are inserted at a time, with their vectors and thumbnails
_ASKED = 500  # of which SQLite is asked at a time


class Counts(NamedTuple):
    """How much there is."""

    cases: int
    patients: int
    views: int


@dataclass(frozen=True)
class Removed:
    """What was deleted of one case."""

    case_id: str
    vectors: int
    thumbnails: int
    words: int  # of its texts


_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class Catalogue:
    """One SQLite file."""

    def __init__(self, access: Access) -> None:
        self.file, self._access = access.file, access

    @property
    def connection(self) -> sqlite3.Connection:
        """As it is opened now."""
        return self._access.connection

    @classmethod
    def create(cls, file: Path) -> "Catalogue":
        """Begin a new catalogue in a folder that nobody sees yet; `finish` makes it durable."""
        access = Access(file.resolve(), new=True)
        access.connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
        return cls(access)

    def finish(self) -> None:
        """End the making: readers may come."""
        with self.named():
            self.connection.execute("PRAGMA journal_mode = WAL")
        self.close()

    @classmethod
    def open(cls, file: Path) -> "Catalogue":
        """Open a catalogue.

        Raises:
            ArchiveError: the file is missing or not a catalogue.
        """
        _check_readable(file)
        with named(file):
            self = cls(Access(file.resolve()))
        with self.reading():
            self.generation()
        return self

    def close(self) -> None:
        """Close the file."""
        self._access.close()

    def named(self) -> AbstractContextManager[None]:
        """Turn SQLite's errors, and what it holds that cannot be, into one line that names the file and the remedy."""
        return named(self.file)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All reads inside see one snapshot."""
        self.begin_reading()
        try:
            with self.named():
                yield
        finally:
            self.end_reading()

    def begin_reading(self) -> None:
        """From here on all reads see one snapshot."""
        with self.named():
            self._access.begin()

    def end_reading(self) -> None:
        """Reads see the latest state again."""
        self._access.end()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, a new generation at its end; nothing of it stays if an error leaves it."""
        self._access.wait_for_readers()
        with self.named():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._set("generation", str(self.generation() + 1))
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> None:
        """Move what was written into the main file, as far as no reader needs the old; then the log holds nothing."""
        with self.named():
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def log_bytes(self) -> int:
        """The size of the log of what is not in the main file yet."""
        log = Path(f"{self.file}-wal")
        return log.stat().st_size if log.exists() else 0

    # ---- meta

    def _get(self, name: str) -> str:
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ArchiveError(f"{self.file}: is damaged (it has no {name}); restore the index from a backup")
        return stored.text(row[0], f"the {name}")

    def _set(self, name: str, value: str) -> None:
        self.connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def total(self) -> int:
        """The sum of the cases' digests."""
        return stored.number(self._get("digest"), "the sum of digests", 16)

    def _set_total(self, total: int) -> None:
        self._set("digest", f"{total % DIGESTS:x}")

    def generation(self) -> int:
        """How many changes there were."""
        with self.named():
            return stored.number(self._get("generation"), "the generation")

    def base(self) -> int:
        """The generation at which the segments were made; what a reader knows from before does not go on."""
        return stored.number(self._get("base"), "the generation of the segments")

    def fields(self) -> dict[str, str]:
        """What filters may ask for: field → text or number."""
        with self.named():
            return stored.fields(self._get("fields"))

    def cases(self) -> int:
        """How many cases there are, without counting them."""
        return stored.number(self._get("cases"), "the number of cases")

    def counts(self) -> Counts:
        """How many cases, patients and views there are."""
        with self.named():
            one = self.connection.execute(
                "SELECT (SELECT COUNT(*) FROM cases), (SELECT COUNT(*) FROM patients), (SELECT COUNT(*) FROM views)"
            ).fetchone()
        return Counts(*one)

    # ---- writing

    def put(self, entries: Iterable[Entry], declared: dict[str, str] | None = None, *, replace: bool = False) -> None:
        """Insert entries that were checked, within `writing`.

        Args:
            replace: they are there already and are deleted first.

        Raises:
            ArchiveError: a case of one of the ids is there already, or is not there to be replaced.
        """
        fields = self.fields() | (declared or {})
        given = iter(entries)
        while batch := list(islice(given, _BATCH)):
            if replace:
                self.drop(entry.record.id for entry in batch)
            for entry in batch:
                for name, values in entry.record.facts.items():
                    if name not in fields:
                        fields[name] = "number" if values and isinstance(values[0], float) else "text"
            self._set_total(self.total() + self._put(batch))
            self._set("cases", str(self.cases() + len(batch)))
        self._set("fields", _json(fields))

    def _put(self, batch: Sequence[Entry]) -> int:
        """Insert some entries; returns the sum of their digests."""
        run, many = self.connection.execute, self.connection.executemany
        ids = [entry.record.id for entry in batch]
        there = run(
            f"SELECT id FROM cases WHERE id IN ({','.join('?' * len(ids))}) ORDER BY id LIMIT 1", ids
        ).fetchone()
        if there is not None:
            raise ArchiveError(f"case {there[0]}: is in the index already")
        patients = sorted({entry.record.patient for entry in batch})
        many("INSERT OR IGNORE INTO patients (id) VALUES (?)", [(patient,) for patient in patients])
        marks = ",".join("?" * len(patients))
        number_of = dict(run(f"SELECT id, n FROM patients WHERE id IN ({marks})", patients).fetchall())
        first = run("SELECT seq FROM sqlite_sequence WHERE name = 'cases'").fetchone()
        n = 0 if first is None else int(first[0])
        total = 0
        cases, documents, views, thumbnails, words = [], [], [], [], []
        for entry in batch:
            n += 1
            record = entry.record
            labels, document = _json(record.labels), _json(record.document)
            facts = _json({name: list(values) for name, values in record.facts.items() if values})
            digest = CaseDigest((record.id, record.patient, labels, facts, record.content, document, record.text))
            for view in entry.views:
                own = None if view.labels == record.labels else _json(view.labels)
                vector = _bytes(view.vector)
                digest.view(view.kind, view.number, own, vector)
                views.append((n, view.kind, view.number, own, vector))
            for number, jpeg in sorted(entry.thumbnails.items()):
                digest.thumbnail(number, jpeg)
                thumbnails.append((n, number, jpeg))
            value = digest.value()
            total += int.from_bytes(value, "big")
            cases.append((n, record.id, number_of[record.patient], labels, facts, record.content, value))
            documents.append((n, document))
            if record.text:
                words.append((n, record.text))
        many("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?)", cases)
        many("INSERT INTO documents VALUES (?, ?)", documents)
        many("INSERT INTO views (n, kind, number, labels, vector) VALUES (?, ?, ?, ?, ?)", views)
        many("INSERT INTO thumbnails VALUES (?, ?, ?)", thumbnails)
        many("INSERT INTO words (rowid, text) VALUES (?, ?)", words)
        return total

    def drop(self, case_ids: Iterable[str]) -> list[Removed]:
        """Delete cases that are there, within `writing`; SQLite overwrites what they held (secure_delete)."""
        run = self.connection.execute
        total = self.total()
        removed = []
        for case_id in case_ids:
            found = run("SELECT n, patient, digest FROM cases WHERE id = ?", (case_id,)).fetchone()
            if found is None:
                raise ArchiveError(f"case {case_id!r}: is not in the index; check the id")
            n, patient, digest = found
            text = run("SELECT text FROM words WHERE rowid = ?", (n,)).fetchone()
            run("INSERT INTO dead (row) SELECT row FROM views WHERE n = ?", (n,))
            vectors = run("DELETE FROM views WHERE n = ?", (n,)).rowcount
            thumbnails = run("DELETE FROM thumbnails WHERE n = ?", (n,)).rowcount
            run("DELETE FROM words WHERE rowid = ?", (n,))
            run("DELETE FROM documents WHERE n = ?", (n,))
            run("DELETE FROM cases WHERE n = ?", (n,))
            run(
                "DELETE FROM patients WHERE n = ? AND NOT EXISTS (SELECT 1 FROM cases WHERE patient = ?)",
                (patient,) * 2,
            )
            total -= int.from_bytes(stored.blob(digest, "a digest"), "big")
            removed.append(
                Removed(case_id, vectors, thumbnails, len(_WORD.findall(stored.text(text[0], "a text"))) if text else 0)
            )
        self._set_total(total)
        self._set("cases", str(self.cases() - len(removed)))
        self._set("stale_words", str(self.stale_words() + sum(one.words > 0 for one in removed)))
        return removed

    def forget_words(self) -> None:
        """Rewrite the index of words, so that it holds no word of a case that is gone, within `writing`."""
        self.connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._set("stale_words", "0")

    def stale_words(self) -> int:
        """Of how many deleted cases the index of words still holds the words, without saying whose they were."""
        return stored.number(self._get("stale_words"), "the number of deleted words")

    def vacuum(self) -> None:
        """Give back the room of what was deleted; whole or not at all."""
        with self.named():
            self.connection.execute("VACUUM")

    def copy_to(self, file: Path) -> None:
        """Write a copy without free pages, of one snapshot."""
        with (
            self.named(),
            closing(sqlite3.connect(file)) as copy,
        ):  # not VACUUM INTO, which takes no name that is not UTF-8
            self.connection.backup(copy)
            copy.execute("VACUUM")
        Catalogue(Access(file.resolve())).finish()

    # ---- segments

    def segments(self) -> dict[str, dict[str, Any]]:
        """Name → manifest of the folders that hold search structures."""
        rows = self.connection.execute("SELECT name, manifest FROM segments").fetchall()
        return {stored.segment_name(name): stored.segment(manifest) for name, manifest in rows}

    def segment_names(self) -> set[Any]:
        """The names alone, whatever their manifests are."""
        return {row[0] for row in self.connection.execute("SELECT name FROM segments")}

    def replace_segments(self, segments: dict[str, dict[str, Any]], upto: int) -> None:
        """State the segments, which hold all living rows up to `upto`, within `writing`."""
        self.connection.execute("DELETE FROM segments")
        self.connection.executemany(
            "INSERT INTO segments VALUES (?, ?)", [(name, _json(manifest)) for name, manifest in segments.items()]
        )
        self.connection.execute("DELETE FROM dead WHERE row <= ?", (upto,))
        self._set("base", str(self.generation() + 1))

    def dead_after(self, seq: int) -> list[tuple[int, int]]:
        """(seq, row) of the rows that were deleted after the change `seq`."""
        found = self.connection.execute("SELECT seq, row FROM dead WHERE seq > ? ORDER BY seq", (seq,)).fetchall()
        if not all(isinstance(row, int) for _, row in found):
            raise stored.GarbledError("a deleted row is no number")
        return found

    def last_row(self) -> int:
        """The highest row that there is; 0 where there is none."""
        return int(self.connection.execute("SELECT COALESCE(MAX(row), 0) FROM views").fetchone()[0])

    def keys_after(self, row: int) -> Iterator[Key]:
        """The views of higher rows, in their order."""
        return map(
            Key._make,
            self.connection.execute(
                "SELECT row, cases.n, patient, number, kind, facts, COALESCE(views.labels, cases.labels), cases.id, "
                "patients.id FROM views JOIN cases ON cases.n = views.n JOIN patients ON patients.n = patient "
                "WHERE row > ? ORDER BY row",
                (row,),
            ),
        )

    def vectors(self, dimension: int, *, first: int = 0, batch: int = 8192) -> Iterator[Vectors]:
        """The vectors in the order of rows, (batch, d) at a time."""
        cursor = self.connection.execute("SELECT vector FROM views WHERE row > ? ORDER BY row", (first,))
        while rows := cursor.fetchmany(batch):
            yield _matrix([row[0] for row in rows], dimension)

    def vectors_of(self, rows: Sequence[int], dimension: int) -> Vectors:
        """(n, d) vectors of n rows."""
        read = self.connection.execute
        blobs = [read("SELECT vector FROM views WHERE row = ?", (row,)).fetchone() for row in rows]
        if None in blobs:
            raise stored.GarbledSegmentError("it holds vectors that are no more")
        return _matrix([blob[0] for blob in blobs], dimension)

    # ---- reading

    def rows_of_patient(self, patient: str) -> tuple[int, int]:
        """(number of the patient or -1, how many views the patient has)."""
        found = self.connection.execute(
            "SELECT patients.n, COUNT(views.row) FROM patients JOIN cases ON cases.patient = patients.n "
            "JOIN views ON views.n = cases.n WHERE patients.id = ? GROUP BY patients.n",
            (patient,),
        ).fetchone()
        return (-1, 0) if found is None else (int(found[0]), int(found[1]))

    def cases_of_patient(self, patient: str) -> list[str]:
        """Case ids of a patient, sorted."""
        with self.named():
            rows = self.connection.execute(
                "SELECT cases.id FROM cases JOIN patients ON patients.n = patient WHERE patients.id = ? ORDER BY cases.id",
                (patient,),
            ).fetchall()
        return [row[0] for row in rows]

    def contents(self, among: Sequence[str] | None = None) -> dict[str, str]:
        """Case id → hash of what it was made from; of all, or of those that are named and there."""
        run = self.connection.execute
        with self.named():
            if among is None:
                return dict(run("SELECT id, content FROM cases"))
            found: dict[str, str] = {}
            for start in range(0, len(among), _ASKED):
                ids = among[start : start + _ASKED]
                found |= dict(run(f"SELECT id, content FROM cases WHERE id IN ({','.join('?' * len(ids))})", ids))
            return found

    def found_words(self, text: str, keep: Callable[[str, Any], bool], want: int) -> dict[str, str]:
        """Case id → patient of the cases whose texts share words with `text`, best first by BM25 (Robertson & Zaragoza 2009).

        Args:
            keep: whether a case counts, told its patient and its facts.
        """
        words = list(dict.fromkeys(word.lower() for word in _WORD.findall(text)))
        if not words:
            return {}
        asked = " OR ".join(f'"{word}"' for word in words)
        found: dict[str, str] = {}
        for case_id, patient, facts in self.connection.execute(
            "SELECT cases.id, patients.id, facts FROM words JOIN cases ON cases.n = words.rowid "
            "JOIN patients ON patients.n = patient WHERE words MATCH ? ORDER BY bm25(words), cases.id",
            (asked,),
        ):
            if keep(patient, stored.facts(facts)):
                found[case_id] = patient
                if len(found) == want:
                    break
        return found

    def record(self, case_id: str) -> Record | None:
        """The record of one case."""
        return next(self._records("WHERE cases.id = ?", (case_id,)), None)

    def records(self) -> Iterator[Record]:
        """All records, by id."""
        return self._records("ORDER BY cases.id", ())

    def _records(self, rest: str, values: tuple[str, ...]) -> Iterator[Record]:
        with self.named():
            for row in self.connection.execute(
                "SELECT cases.id, patients.id, labels, document, facts, COALESCE(words.text, ''), content FROM cases "
                "JOIN patients ON patients.n = patient JOIN documents ON documents.n = cases.n "
                f"LEFT JOIN words ON words.rowid = cases.n {rest}",  # one of the two above
                values,
            ):
                texts = [stored.text(row[place], "an id, a text or a hash") for place in (0, 1, 5, 6)]
                known = stored.labels(row[2]), stored.document(row[3]), stored.facts(row[4])
                yield Record(texts[0], texts[1], *known, *texts[2:])

    def views_of(self, case_id: str, dimension: int) -> list[VectorView]:
        """The views of one case."""
        with self.named():
            rows = self.connection.execute(
                "SELECT kind, number, COALESCE(views.labels, cases.labels), vector FROM views "
                "JOIN cases ON cases.n = views.n WHERE cases.id = ? ORDER BY row",
                (case_id,),
            ).fetchall()
            return [
                VectorView(stored.text(kind, "a kind"), number, stored.vector(vector, dimension), stored.labels(labels))
                for kind, number, labels, vector in rows
            ]

    def thumbnails(self, case_id: str) -> dict[int, bytes]:
        """Number → JPEG of one case."""
        with self.named():
            rows = self.connection.execute(
                "SELECT number, jpeg FROM thumbnails JOIN cases ON cases.n = thumbnails.n WHERE id = ?", (case_id,)
            ).fetchall()
            return {number: stored.blob(jpeg, "a thumbnail") for number, jpeg in rows}


def _check_readable(file: Path) -> None:
    """Refuse what SQLite would name badly, without opening it: closing it would release SQLite's locks (fcntl(2))."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(file))
        if not os.access(file, os.R_OK):
            raise PermissionError(errno.EACCES, "may not be read", str(file))
    except PermissionError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}") from error
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; restore the index from a backup or build it again") from error


def _bytes(vector: Vectors) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()


def _matrix(blobs: Sequence[bytes], dimension: int) -> Vectors:
    if any(type(blob) is not bytes or len(blob) != 4 * dimension for blob in blobs):
        raise stored.GarbledError("a vector is of another width")
    found = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dimension)
    if not np.isfinite(found).all():
        raise stored.GarbledError("a vector holds NaN or infinity")
    return found
