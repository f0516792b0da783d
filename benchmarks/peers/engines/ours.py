"""medclip's own index, through its door alone."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row


def _entries(rows: Iterable[Row], vectors: Iterable[np.ndarray]) -> Iterator[Any]:
    from medclip.index import Entry, Record, VectorView

    for row, vector in zip(rows, vectors, strict=True):
        labels = {"location": row.label}
        facts = {"age": (row.age,), "label.location": (row.label,)}
        # The text stands in the document, for no peer makes an index of words.
        record = Record(row.case_id, row.patient, labels, {"text": row.text}, facts, "", row.case_id)
        yield Entry(record, [VectorView("scan", 0, vector, labels)], {})


class Ours(Peer):
    """`CaseIndex`, which chooses its structure itself, by the recall that is demanded."""

    modules = ("medclip.index", "faiss")
    title = "medclip"
    distributions = ("medclip-assistant", "faiss-cpu")
    setup = (
        "CaseIndex.create with its defaults (it demands recall 0.98 and chooses the structure and its effort itself)"
    )
    durable = "SQLite in WAL mode, one transaction a change"
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        **{f"recall {recall}": {"recall": recall} for recall in (0.9, 0.95, 0.99, 0.995)},
        **{f"{latency * 1e3:g} ms": {"latency": latency} for latency in (2e-3, 9e-4)},
    }

    def build(self, data: Data) -> None:
        from medclip.index import CaseIndex, Demands
        from peers.data import row

        demands = Demands(**self.given) if self.given else None
        rows = (row(start + i) for start, chunk in data.chunks() for i in range(len(chunk)))
        vectors = (vector for _, chunk in data.chunks() for vector in chunk)
        CaseIndex.create(self.folder, _entries(rows, vectors), fingerprint="bench", demands=demands)

    def open(self) -> None:
        from medclip.index import CaseIndex

        self.index = CaseIndex.open(self.folder)
        self.filters: dict[float, Any] = {}

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:  # noqa: ARG002
        if below is not None and below not in self.filters:
            self.filters[below] = self.index.filter(f"age < {below}")
        where = None if below is None else self.filters[below]
        with self.index.snapshot():
            hits = self.index.search(vector[None], k, where=where)[0]
            kept = self.index.kept([hit.case_id for hit in hits])
        return [
            (hit.case_id, hit.patient, hit.labels["location"], one.record.document["text"])
            for hit, one in zip(hits, kept, strict=True)
        ]

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self.index.add(_entries(rows, vectors))

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.index.remove(self.index.cases_of_patient(patient))

    def has(self, numbers: Iterable[int]) -> set[int]:
        return {int(one[5:]) for one in self.index.contents([f"case-{n:08d}" for n in numbers])}

    def close(self) -> None:
        self.index.close()


PEERS = {"ours": Ours}
