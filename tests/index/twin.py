"""What an index must answer, by comparing everything."""

import json

import numpy as np

from medclip.index import Entry
from medclip.index.filters import Filter


class Twin:
    """A dictionary of entries."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = {entry.record.id: entry for entry in entries}

    def search(
        self,
        query: np.ndarray,
        k: int,
        *,
        kinds: tuple[str, ...] | None = None,
        where: Filter | None = None,
        patient: str | None = None,
        once: bool = False,
    ) -> list[tuple[str, float]]:
        best = []
        for entry in self.entries.values():
            record = entry.record
            near = [float(query @ v.vector) for v in entry.views if kinds is None or v.kind in kinds]
            if near and record.patient != patient and (where is None or where.matches(dict(record.facts))):
                best.append((record.id, record.patient, max(near)))
        best.sort(key=lambda item: (-item[2], item[0]))
        if once:
            seen: set[str] = set()
            best = [b for b in best if not (b[1] in seen or seen.add(b[1]))]
        return [(b[0], b[2]) for b in best[:k]]


def same_entry(first: Entry, second: Entry) -> bool:
    """Whether two entries are equal in everything that is stored."""
    a, b = first.record, second.record
    heads = [
        (r.id, r.patient, r.labels, r.document, {k: tuple(v) for k, v in r.facts.items()}, r.text, r.content)
        for r in (a, b)
    ]
    views = [
        sorted((v.kind, v.number, json.dumps(v.labels, sort_keys=True), v.vector.tobytes()) for v in e.views)
        for e in (first, second)
    ]
    return heads[0] == heads[1] and views[0] == views[1] and first.thumbnails == second.thumbnails
