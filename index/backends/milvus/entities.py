"""A case as Milvus keeps it: one entity a view, each with what filters and searches for words go by."""

import hashlib
import json
from typing import Any

from medclip.index import stored
from medclip.index.backends.milvus.schema import LONGEST_TEXT
from medclip.index.records import Entry, Fact, Record

__all__ = ["entities_of", "facts_in", "file_of"]


def _facts(record: Record) -> dict[str, Any]:
    """A number stands alone, texts in a list."""
    return {
        name: values[0] if isinstance(values[0], float) else list(values)
        for name, values in record.facts.items()
        if values
    }


def facts_in(value: object) -> dict[str, Fact]:
    """The facts of an entity as a case has them."""
    known = stored.mapping(value, "what filters ask for")
    return {name: stored.fact(values if isinstance(values, list) else [values]) for name, values in known.items()}


def file_of(case_id: str, born: int) -> str:
    """The name of the file that holds a case as of one change."""
    return hashlib.sha256(f"{case_id}\x00{born}".encode()).hexdigest()


def entities_of(entry: Entry, born: int, file: str) -> list[dict[str, Any]]:
    """The entities of a case; the first stands for it.

    Args:
        born: the number of the change that inserts them.
        file: the name of the file with the rest of the case.
    """
    record, found = entry.record, []
    for place, view in enumerate(entry.views):
        key = hashlib.sha256(f"{record.id}\x00{view.kind}\x00{view.number}\x00{born}".encode()).hexdigest()
        text = record.text.encode()[:LONGEST_TEXT].decode(errors="ignore") if place == 0 else ""
        found.append(
            {
                "row": key,
                "case_id": record.id,
                "patient": record.patient,
                "kind": view.kind,
                "number": view.number,
                "content": record.content,
                "file": file,
                "born": born,
                "head": place == 0,
                "labels": json.dumps(view.labels, sort_keys=True),
                "facts": _facts(record),
                "text": text,
                "vector": view.vector.tolist(),
            }
        )
    return found
