"""Qdrant's engine inside the process: qdrant-edge."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row


class Qdrant(Peer):
    """HNSW that knows what passes a filter."""

    modules = ("qdrant_edge",)
    title = "Qdrant Edge"
    packages = ("qdrant-edge-py==0.9.*", "numpy")
    distributions = ("qdrant-edge-py",)
    environment = "qdrant"
    setup = "EdgeVectorParams(cosine) with its default HNSW (m 16, ef_construct 100), payload index on age; optimize()"
    durable = "flush() after each change"
    crowd = "threads"
    efforts = tuple({"hnsw_ef": ef} for ef in (16, 32, 64, 128, 256, 512, 1024, 2048))

    def _config(self, d: int) -> Any:
        import qdrant_edge as q

        return q.EdgeConfig(vectors=q.EdgeVectorParams(size=d, distance=q.Distance.Cosine))

    def build(self, data: Data) -> None:
        import qdrant_edge as q

        self.shard = q.EdgeShard.create(str(self.folder / "shard"), self._config(data.d))
        for name, kind in (("age", q.PayloadSchemaType.Float), ("patient", q.PayloadSchemaType.Keyword)):
            self.shard.update(q.UpdateOperation.create_field_index(name, kind))
        for start, x in data.chunks(1000):
            self._upsert([row(start + i) for i in range(len(x))], x)
        while self.shard.optimize():
            pass
        self.shard.flush()
        self.close()

    def open(self) -> None:
        import qdrant_edge as q

        self.shard = q.EdgeShard.load(str(self.folder / "shard"))

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        import qdrant_edge as q

        where = None
        if below is not None:
            where = q.Filter(must=[q.FieldCondition("age", range=q.RangeFloat(lt=below))])
        query = q.Query.Nearest(vector.tolist())
        asked = q.QueryRequest(
            limit=k, query=query, with_payload=True, filter=where, params=q.SearchParams(**effort) if effort else None
        )
        return [
            (p["case"], p["patient"], p["label"], p["text"]) for p in (one.payload for one in self.shard.query(asked))
        ]

    def _upsert(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        import qdrant_edge as q

        points = [
            q.Point(r.number, x.tolist(),
                    {"case": r.case_id, "patient": r.patient, "label": r.label, "age": r.age, "text": r.text})
            for r, x in zip(rows, vectors, strict=True)
        ]  # fmt: skip
        self.shard.update(q.UpdateOperation.upsert_points(points))

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self._upsert(rows, vectors)
        self.shard.flush()

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        import qdrant_edge as q

        where = q.Filter(must=[q.FieldCondition("patient", match=q.MatchValue(patient))])
        self.shard.update(q.UpdateOperation.delete_points_by_filter(where))
        self.shard.flush()

    def has(self, numbers: Iterable[int]) -> set[int]:
        return {int(one.id) for one in self.shard.retrieve(list(numbers), False, False)}

    def close(self) -> None:
        self.shard.close()


PEERS = {"qdrant-edge": Qdrant}
