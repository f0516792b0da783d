"""LanceDB: columns on disk, searched through an inverted file of quantised vectors."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row

_SHOWN = ["case_id", "patient", "label", "text"]


class Lance(Peer):
    """A table with a vector index and scalar indexes."""

    modules = ("lancedb", "pyarrow")
    title = "LanceDB"
    packages = ("lancedb==0.40.*", "numpy")
    distributions = ("lancedb",)
    environment = "lancedb"
    setup = "create_index(metric='cosine'): IVF_PQ with its defaults; BTREE on age, patient and id"
    durable = "each change is a new version of the table, in new files"
    efforts = tuple(
        {"nprobes": n, "refine_factor": f}
        for n, f in ((20, 1), (20, 4), (20, 10), (20, 20), (40, 20), (80, 20), (160, 20), (320, 40))
    )
    variants: ClassVar[dict[str, dict[str, Any]]] = {"IVF_HNSW_SQ": {"index_type": "IVF_HNSW_SQ"}}

    def _batch(self, rows: Sequence[Row], vectors: np.ndarray) -> Any:
        import pyarrow as pa

        values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = {
            "number": pa.array([r.number for r in rows], pa.int64()),
            "case_id": [r.case_id for r in rows],
            "patient": [r.patient for r in rows],
            "label": [r.label for r in rows],
            "age": [r.age for r in rows],
            "text": [r.text for r in rows],
            "vector": pa.FixedSizeListArray.from_arrays(values, vectors.shape[1]),
        }
        return pa.RecordBatch.from_pydict(columns)

    def build(self, data: Data) -> None:
        import lancedb
        import pyarrow as pa

        def batches() -> Iterator[Any]:
            for start, x in data.chunks():
                yield self._batch([row(start + i) for i in range(len(x))], x)

        schema = self._batch([row(0)], np.zeros((1, data.d), np.float32)).schema
        reader = pa.RecordBatchReader.from_batches(schema, batches())
        table = lancedb.connect(str(self.folder)).create_table("cases", reader)
        table.create_index(metric="cosine", **self.given)
        for name in ("age", "patient", "number"):
            table.create_scalar_index(name)

    def open(self) -> None:
        import lancedb

        self.table = lancedb.connect(str(self.folder)).open_table("cases")

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        query = self.table.search(vector).distance_type("cosine").limit(k).select([*_SHOWN, "_distance"])
        if below is not None:
            query = query.where(f"age < {below}", prefilter=True)
        if effort:
            query = query.nprobes(effort["nprobes"]).refine_factor(effort["refine_factor"])
        found = query.to_arrow()
        return list(zip(*(found.column(name).to_pylist() for name in _SHOWN), strict=True))

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        import pyarrow as pa

        self.table.add(pa.Table.from_batches([self._batch(rows, vectors)]))

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.table.delete(f"patient = '{patient}'")

    def has(self, numbers: Iterable[int]) -> set[int]:
        listed = ", ".join(map(str, numbers))
        if not listed:
            return set()
        found = self.table.search().where(f"number IN ({listed})").select(["number"]).limit(1_000_000).to_arrow()
        return set(found.column("number").to_pylist())


PEERS = {"lancedb": Lance}
