"""Reading a catalogue: the state that a snapshot shows, and what is stored of a case."""

import errno
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.files.plain import unreadable
from medclip.index import stored
from medclip.index.catalogue.access import Access, named
from medclip.index.records import Counts, Key, Record, Vectors, VectorView

__all__ = ["CatalogueReader", "asked_words", "words_in"]

_WORD = re.compile(r"\w+", re.UNICODE)
_ASKED = 500  # ids of which SQLite is asked at a time: its oldest limit on variables is 999


def words_in(text: str) -> list[str]:
    """The words of a text, as the index of words tells them apart."""
    return _WORD.findall(text)


def asked_words(text: str) -> list[str]:
    """The words of a query, each once."""
    return list(dict.fromkeys(word.lower() for word in words_in(text)))


class CatalogueReader:
    """One SQLite file, read."""

    def __init__(self, access: Access) -> None:
        self.file, self._access = access.file, access

    @property
    def connection(self) -> sqlite3.Connection:
        """As it is opened now."""
        return self._access.connection

    @classmethod
    def open(cls, file: Path) -> Self:
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

    def version(self) -> tuple[int, int] | None:
        """Another number once another connection has changed the catalogue; None where that cannot be told."""
        with self.named():
            return self._access.version()

    def log_bytes(self) -> int:
        """The size of the log of what is not in the main file yet."""
        log = Path(f"{self.file}-wal")
        return log.stat().st_size if log.exists() else 0

    def _get(self, name: str) -> str:
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ArchiveError(f"{self.file}: is damaged (it has no {name}); restore the index from a backup")
        return stored.text(row[0], f"the {name}")

    def total(self) -> int:
        """The sum of the cases' digests."""
        return stored.number(self._get("digest"), "the sum of digests", 16)

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

    def stale_words(self) -> int:
        """Of how many deleted cases the index of words still holds the words, without saying whose they were."""
        return stored.number(self._get("stale_words"), "the number of deleted words")

    def segments(self) -> dict[str, dict[str, Any]]:
        """Name → manifest of the folders that hold search structures."""
        rows = self.connection.execute("SELECT name, manifest FROM segments").fetchall()
        return {stored.segment_name(name): stored.segment(manifest) for name, manifest in rows}

    def segment_names(self) -> set[Any]:
        """The names alone, whatever their manifests are."""
        return {row[0] for row in self.connection.execute("SELECT name FROM segments")}

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

    def vectors_after(self, row: int, dimension: int, *, batch: int = 4096) -> Iterator[tuple[str, Vectors]]:
        """(kind, (n, d) vectors) of the views of higher rows, those of a kind in their order, some at a time."""
        cursor = self.connection.execute("SELECT kind, vector FROM views WHERE row > ? ORDER BY row", (row,))
        while rows := cursor.fetchmany(batch):
            kinds, blobs = zip(*rows, strict=True)
            vectors, of_kinds = _matrix(blobs, dimension), np.asarray(kinds)
            for kind in sorted(stored.text(kind, "a kind") for kind in set(kinds)):
                yield kind, vectors[of_kinds == kind]

    def vectors_of(self, rows: Sequence[int], dimension: int) -> Vectors:
        """(n, d) vectors of n rows."""
        read = self.connection.execute
        blobs = [read("SELECT vector FROM views WHERE row = ?", (row,)).fetchone() for row in rows]
        if None in blobs:
            raise stored.GarbledSegmentError("it holds vectors that are no more")
        return _matrix([blob[0] for blob in blobs], dimension)

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
            for ids in _asked(among):
                found |= dict(run(f"SELECT id, content FROM cases WHERE id IN ({','.join('?' * len(ids))})", ids))
            return found

    def case_ids(self, want: int, skip: int, *, last_first: bool = False) -> list[str]:
        """Up to `want` case ids in order, after the first `skip`."""
        turned = "DESC" if last_first else "ASC"
        with self.named():
            rows = self.connection.execute(f"SELECT id FROM cases ORDER BY id {turned} LIMIT ? OFFSET ?", (want, skip))
            return [stored.text(row[0], "an id") for row in rows]

    def vectors_of_kind(self, kind: str, dimension: int) -> Iterator[tuple[str, Vectors]]:
        """(case id, (d,) vector) of every view of a kind."""
        with self.named():
            for case_id, vector in self.connection.execute(
                "SELECT cases.id, vector FROM views JOIN cases ON cases.n = views.n WHERE kind = ? ORDER BY row",
                (kind,),
            ):
                yield stored.text(case_id, "an id"), stored.vector(vector, dimension)

    def found_words(self, text: str, keep: Callable[[str, Any], bool], want: int) -> dict[str, str]:
        """Case id → patient of the cases whose texts share words with `text`, best first by BM25 (Robertson & Zaragoza 2009).

        Args:
            keep: whether a case counts, told its patient and its facts.
        """
        words = asked_words(text)
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

    def phrase_scores(self, phrase: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers of the cases whose texts hold a phrase of words, rising, and what it adds to their scores by BM25."""
        rows = self.connection.execute(
            "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rowid", (f'"{phrase}"',)
        ).fetchall()
        return np.asarray([row[0] for row in rows], np.int64), np.asarray([row[1] for row in rows], np.float64)

    def texts_after(self, number: int) -> Iterator[tuple[int, Any]]:
        """(number, text) of the cases of higher numbers that have a text, rising."""
        return self.connection.execute("SELECT rowid, text FROM words WHERE rowid > ? ORDER BY rowid", (number,))

    def named_cases(self, numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Number → (id, patient) of cases that a segment has.

        Raises:
            GarbledSegmentError: there is no such case.
        """
        found: dict[int, tuple[str, str]] = {}
        for start in range(0, len(numbers), _ASKED):
            some = numbers[start : start + _ASKED]
            rows = self.connection.execute(
                "SELECT cases.n, cases.id, patients.id FROM cases JOIN patients ON patients.n = patient "
                f"WHERE cases.n IN ({','.join('?' * len(some))})",
                some,
            )
            for number, case_id, patient in rows:
                found[number] = stored.text(case_id, "an id"), stored.text(patient, "an id")
        if len(found) != len(numbers):
            raise stored.GarbledSegmentError("it has words of cases that are no more")
        return found

    def record(self, case_id: str) -> Record | None:
        """The record of one case."""
        return next(self._records("WHERE cases.id = ?", (case_id,)), None)

    def records_of(self, case_ids: Sequence[str]) -> dict[str, Record]:
        """Case id → record, of those that are there: asked for together, which is quicker."""
        found: dict[str, Record] = {}
        for some in _asked(case_ids):
            for record in self._records(f"WHERE cases.id IN ({','.join('?' * len(some))})", some):
                found[record.id] = record
        return found

    def pictured(self, case_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Case id → numbers of its thumbnails, rising; none where it has none."""
        found: dict[str, tuple[int, ...]] = {}
        with self.named():
            for some in _asked(case_ids):
                for case_id, number in self.connection.execute(
                    "SELECT id, number FROM cases JOIN thumbnails ON thumbnails.n = cases.n "
                    f"WHERE id IN ({','.join('?' * len(some))}) ORDER BY cases.n, number",
                    some,
                ):
                    found[case_id] = (*found.get(case_id, ()), number)
        return found

    def records(self) -> Iterator[Record]:
        """All records, by id."""
        return self._records("ORDER BY cases.id", ())

    def _records(self, rest: str, values: Sequence[str]) -> Iterator[Record]:
        with self.named():
            for row in self.connection.execute(
                "SELECT cases.id, patients.id, labels, document, facts, COALESCE(words.text, ''), content FROM cases "
                "JOIN patients ON patients.n = patient JOIN documents ON documents.n = cases.n "
                f"LEFT JOIN words ON words.rowid = cases.n {rest}",  # one of those above
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


def _asked(case_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(case_ids), _ASKED):
        yield case_ids[start : start + _ASKED]


def _matrix(blobs: Sequence[bytes], dimension: int) -> Vectors:
    if any(type(blob) is not bytes or len(blob) != 4 * dimension for blob in blobs):
        raise stored.GarbledError("a vector is of another width")
    found = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), dimension)
    if not np.isfinite(found).all():
        raise stored.GarbledError("a vector holds NaN or infinity")
    return found
