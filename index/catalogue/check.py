"""What ``verify`` holds the catalogue against: SQLite's own checks, every case's digest, their sum, and what refers to what."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import Any

from medclip.index import stored
from medclip.index.catalogue.access import DAMAGE, translated
from medclip.index.catalogue.digest import DIGESTS, CaseDigest
from medclip.index.catalogue.read import CatalogueReader
from medclip.index.catalogue.schema import SCHEMA
from medclip.index.stored import GarbledError

__all__ = ["catalogue_faults"]

_OF_CASES = (("views", "n"), ("thumbnails", "n"), ("documents", "n"), ("words", "rowid"))
_NAMED = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"


def catalogue_faults(catalogue: CatalogueReader, dimension: int) -> list[str]:
    """What is wrong with a catalogue within a snapshot, as lines that name the file."""
    name, run = catalogue.file.name, catalogue.connection.execute
    try:
        found = [
            f"{name}: {' '.join(str(row[0]).split())}" for row in run("PRAGMA integrity_check(10)") if row[0] != "ok"
        ]
        if found:
            return found
        if strange := set(run(_NAMED)) ^ _own_names():
            return [f"{name}: has tables that medclip did not make, or lacks some ({len(strange)} in all)"]
        total = 0
        fields = catalogue.fields()
        for n, *row in _rows(run):
            digest, fault = _case_fault(run, n, row, dimension, fields)
            total += digest
            if fault:
                found.append(f"{name}: case {str(row[0])[:200]!r} {fault}")
        if not found and (total % DIGESTS != catalogue.total() or catalogue.cases() != catalogue.counts().cases):
            found.append(f"{name}: cases are missing or were added by something other than medclip")
        for table, column in _OF_CASES:
            orphans = run(f"SELECT COUNT(*) FROM {table} WHERE {column} NOT IN (SELECT n FROM cases)").fetchone()[0]
            if orphans:
                found.append(f"{name}: {orphans} {table} belong to no case")
        catalogue.stale_words(), catalogue.base(), catalogue.generation()
    except DAMAGE as error:
        return [str(translated(error, catalogue.file))]
    return found


@cache
def _own_names() -> frozenset[tuple[str, str]]:
    """Types and names of what the catalogue consists of."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(SCHEMA)
        return frozenset(connection.execute(_NAMED))
    finally:
        connection.close()


def _rows(run: Any) -> "Iterator[tuple[Any, ...]]":
    rows: sqlite3.Cursor = run(
        "SELECT cases.n, cases.id, patients.id, labels, facts, content, document, COALESCE(words.text, ''), digest "
        "FROM cases JOIN patients ON patients.n = patient JOIN documents ON documents.n = cases.n "
        "LEFT JOIN words ON words.rowid = cases.n"
    )
    return rows


def _case_fault(run: Any, n: int, row: list[Any], dimension: int, fields: dict[str, str]) -> tuple[int, str | None]:
    """(the digest as a number, what is wrong with the case)."""
    *head, kept = row
    try:
        digest = CaseDigest([stored.text(part, "a part of it") for part in head])
        _, _, labels, facts, _, document, _ = head
        for kind, number, own, vector in run(
            "SELECT kind, number, labels, vector FROM views WHERE n = ? ORDER BY row", (n,)
        ):
            digest.view(kind, number, own, stored.blob(vector, "a vector"))
            stored.vector(vector, dimension)
            stored.labels(labels if own is None else own)
        for number, jpeg in run("SELECT number, jpeg FROM thumbnails WHERE n = ? ORDER BY number", (n,)):
            digest.thumbnail(number, stored.blob(jpeg, "a thumbnail"))
        stored.labels(labels), stored.document(document)
        known = stored.facts(facts)
    except GarbledError as error:
        return 0, f"is damaged ({error})"
    value = digest.value()
    if value != kept:
        return int.from_bytes(value, "big"), "has changed since it was written"
    strange = next((name for name in known if name not in fields), None)
    return int.from_bytes(value, "big"), None if strange is None else "has a field that filters do not know"
