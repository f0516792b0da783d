"""The index of words as FTS5 keeps it: which term stands in which case and how often, and the terms of a query.

Terms are bytes, as FTS5 stores them: it cuts one of over 32 KiB, perhaps within a character.
"""

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.index import stored
from medclip.index.catalogue.schema import TOKENIZER

__all__ = ["Occurrences", "Tokenizer", "cases_with_text", "counted", "id_ranks", "numbers_of_patient", "occurrences"]

_TOGETHER = 4 << 20  # characters of case numbers that are read at a time
_TABLE = f"CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{TOKENIZER}'"


@dataclass(frozen=True)
class Occurrences:
    """Some terms, in the order of their bytes, with all cases in which each stands."""

    terms: list[bytes]
    counts: NDArray[np.int64]  # (t,) in how many cases
    cases: NDArray[np.int64]  # (sum of counts,) numbers, rising for each term
    times: NDArray[np.int64]  # (sum of counts,) how often in that case


def occurrences(connection: sqlite3.Connection) -> Iterator[Occurrences]:
    """All terms of the table of words, in the order of their bytes; some megabytes are in memory at a time.

    SQLite writes the numbers of a term's cases as one text, which numpy reads: five times as fast as a row for each.
    So a term may stand at most some hundred million times.

    Raises:
        GarbledError: the index of words is not in order.
    """
    connection.execute("CREATE VIRTUAL TABLE temp.instances USING fts5vocab ('main', 'words', 'instance')")
    try:
        with closing(
            connection.execute("SELECT CAST(term AS BLOB), group_concat(doc) FROM temp.instances GROUP BY term")
        ) as rows:
            terms, texts, size = [], [], 0
            for term, text in rows:
                terms.append(term)
                texts.append(text)
                size += len(text)
                if size > _TOGETHER:
                    yield _counted(terms, texts)
                    terms, texts, size = [], [], 0
            if terms:
                yield _counted(terms, texts)
    finally:
        connection.execute("DROP TABLE temp.instances")


def _counted(terms: list[bytes], texts: list[str]) -> Occurrences:
    numbers = np.fromstring(",".join(texts), np.int64, sep=",")
    term_of = np.repeat(np.arange(len(terms)), [text.count(",") + 1 for text in texts])
    if len(term_of) != len(numbers):
        raise stored.GarbledError("the index of words is not in order")
    same = term_of[1:] == term_of[:-1]
    steps = np.diff(numbers)
    if (steps[same] < 0).any():
        raise stored.GarbledError("the index of words is not in order")
    first = np.concatenate([[0], np.flatnonzero(~same | (steps != 0)) + 1])
    times = np.diff(first, append=len(numbers))
    return Occurrences(terms, np.bincount(term_of[first], minlength=len(terms)), numbers[first], times)


def cases_with_text(connection: sqlite3.Connection) -> NDArray[np.int64]:
    """(m,) the numbers of the cases that have a text, rising."""
    return _numbers(connection, "SELECT id FROM words_docsize ORDER BY id")  # far smaller than the texts


def id_ranks(connection: sqlite3.Connection, cases: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m,) the place of each of m cases, by number, in the order of all ids.

    Raises:
        GarbledError: there is a text of no case.
    """
    by_id = _numbers(connection, "SELECT n FROM cases ORDER BY id")
    by_number = np.argsort(by_id)
    at = np.searchsorted(by_id, cases, sorter=by_number)
    if (at == len(by_id)).any() or (by_id[by_number[at]] != cases).any():
        raise stored.GarbledError("the index of words has a text of no case")
    return by_number[at]


def numbers_of_patient(connection: sqlite3.Connection, patient: str) -> NDArray[np.int64]:
    """The numbers of a patient's cases."""
    return _numbers(
        connection, "SELECT cases.n FROM cases JOIN patients ON patients.n = patient WHERE patients.id = ?", patient
    )


def _numbers(connection: sqlite3.Connection, query: str, *values: str) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in connection.execute(query, values)), np.int64)


def counted(texts: Iterable[tuple[int, Any]]) -> Iterator[Occurrences]:
    """The same of (number, text) of cases that are not in a file: they are told apart by FTS5, too."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(_TABLE + ", content = '')")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", texts)
        connection.execute("COMMIT")
        yield from occurrences(connection)


class Tokenizer:
    """Splits the words of a query into terms; nothing of them is kept."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        self._connection.execute(_TABLE + ")")
        self._connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab (words, instance)")

    def terms(self, words: Sequence[str]) -> list[list[bytes]]:
        """Of each word its terms: one, or several or none where FTS5 sees another word than Python."""
        run = self._connection.execute
        found: list[list[bytes]] = [[] for _ in words]
        run("BEGIN")
        try:
            self._connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", enumerate(words))
            for number, term in run("SELECT doc, CAST(term AS BLOB) FROM terms ORDER BY doc, offset"):
                found[number].append(term)
        finally:
            run("ROLLBACK")
        return found
