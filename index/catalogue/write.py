"""The truth of an index on one machine, in SQLite: cases, views with their vectors, words, thumbnails.

Every change is one transaction of this file (in WAL mode, so that readers keep the snapshot that they began with), and
all else is derived from it. Each case has a digest of all that is stored of it, and their sum is kept
(Bellare & Micciancio 1997, AdHash), so that a lost or altered case is seen without reading a checksum of the whole file.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from medclip.errors import ArchiveError
from medclip.index import stored
from medclip.index.catalogue.access import Access
from medclip.index.catalogue.digest import DIGESTS, CaseDigest
from medclip.index.catalogue.read import CatalogueReader, words_in
from medclip.index.catalogue.schema import SCHEMA
from medclip.index.records import Entry, Removed, Vectors

__all__ = ["Catalogue"]

_BATCH = 64  # cases that are inserted at a time, with their vectors and thumbnails

_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


class Catalogue(CatalogueReader):
    """One SQLite file, read and changed."""

    @classmethod
    def create(cls, file: Path) -> "Catalogue":
        """Begin a new catalogue in a folder that nobody sees yet; `finish` makes it durable."""
        access = Access(file.resolve(), new=True)
        access.connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; PRAGMA mmap_size = 0;"
            + SCHEMA
        )
        return cls(access)

    def finish(self) -> None:
        """End the making: readers may come."""
        with self.named():
            self.connection.execute("PRAGMA journal_mode = WAL")
        self.close()

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

    def _set(self, name: str, value: str) -> None:
        self.connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def _set_total(self, total: int) -> None:
        self._set("digest", f"{total % DIGESTS:x}")

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
                Removed(case_id, vectors, thumbnails, len(words_in(stored.text(text[0], "a text"))) if text else 0)
            )
        self._set_total(total)
        self._set("cases", str(self.cases() - len(removed)))
        self._set("stale_words", str(self.stale_words() + sum(one.words > 0 for one in removed)))
        return removed

    def forget_words(self) -> None:
        """Rewrite the index of words, so that it holds no word of a case that is gone, within `writing`."""
        self.connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._set("stale_words", "0")

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

    def replace_segments(self, segments: dict[str, dict[str, Any]], upto: int) -> None:
        """State the segments, which hold all living rows up to `upto`, within `writing`."""
        self.connection.execute("DELETE FROM segments")
        self.connection.executemany(
            "INSERT INTO segments VALUES (?, ?)", [(name, _json(manifest)) for name, manifest in segments.items()]
        )
        self.connection.execute("DELETE FROM dead WHERE row <= ?", (upto,))
        self._set("base", str(self.generation() + 1))


def _bytes(vector: Vectors) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()
