"""A case as one line of text that carries its checksum: in an export, and in the files of the backend ``milvus``."""

import base64
import hashlib
import json
from typing import Any

import numpy as np

from medclip.index import stored
from medclip.index.records import Entry, Record, VectorView
from medclip.index.stored import GarbledError

__all__ = ["packed", "unpacked"]

_KEYS = {"id", "patient", "labels", "document", "facts", "text", "content", "views", "thumbnails"}
_MOST_PARTS = 1 << 20
"""Brackets and commas of a line, each of which may cost a hundred bytes of memory once it is read."""


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


def _entry(case: Any) -> Entry:
    """A case back from its line.

    Raises:
        ValueError: it is none, or two of its parts have one name.
    """
    if not isinstance(case, dict) or case.keys() != _KEYS:
        raise GarbledError("it is no case")
    texts = {name: stored.text(case[name], f"the {name} of a case") for name in ("id", "patient", "text", "content")}
    facts = stored.mapping(case["facts"], "what filters ask for")
    record = Record(
        texts["id"],
        texts["patient"],
        stored.labels_of(case["labels"]),
        stored.mapping(case["document"], "a document"),
        {name: stored.fact(values) for name, values in facts.items()},
        texts["text"],
        texts["content"],
    )
    views, thumbnails = case["views"], stored.mapping(case["thumbnails"], "the thumbnails")
    if not isinstance(views, list) or any(not isinstance(view, list) or len(view) != 4 for view in views):
        raise GarbledError("its vectors are no list of four parts each")
    return Entry(
        record,
        [_view(*view) for view in views],
        {stored.number(number, "the number of a scan"): _bytes(jpeg) for number, jpeg in thumbnails.items()},
    )


def _view(kind: object, number: object, labels: object, vector: object) -> VectorView:
    content = _bytes(vector)
    if len(content) % 4:
        raise GarbledError("a vector is cut off")
    place = stored.whole(number, "the number of a view")
    return VectorView(stored.text(kind, "a kind"), place, np.frombuffer(content, "<f4"), stored.labels_of(labels))


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(stored.text(value, "a vector or a thumbnail"), validate=True)
    except ValueError as error:
        raise GarbledError("a vector or a thumbnail is not in base 64") from error


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:32]


def packed(entry: Entry) -> str:
    """A case as one line: its checksum and JSON."""
    line = json.dumps(_case(entry), ensure_ascii=False, sort_keys=True)
    return f"{_digest(line)} {line}"


def unpacked(line: str) -> Entry:
    """The case of such a line.

    Raises:
        ValueError: it does not match its checksum, or is no case.
    """
    digest, _, text = line.rstrip("\n").partition(" ")
    if _digest(text) != digest:
        raise ValueError("does not match its checksum")
    if sum(map(text.count, "[{,")) > _MOST_PARTS:
        raise ValueError("has more parts than a case can have")
    return _entry(stored.json_of(text, "a case"))
