"""zvec: an embedded store by Alibaba."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row

_FIELDS = ["patient", "label", "text"]


class Zvec(Peer):
    """HNSW, with a column that filters go by."""

    modules = ("zvec",)
    title = "zvec"
    packages = ("zvec==0.8.*", "numpy")
    distributions = ("zvec",)
    environment = "zvec"
    setup = (
        "HNSW m 50, ef_construction 500, ef 300 to search; inverted index on age with range optimisation; optimize()"
    )
    durable = "flush() after each change"
    efforts = tuple({"ef": ef} for ef in (20, 40, 80, 150, 600, 1200))

    def _started(self) -> Any:
        import zvec

        zvec.init(log_level=zvec.LogLevel.ERROR)
        return zvec

    def build(self, data: Data) -> None:
        zvec = self._started()
        strings = [zvec.FieldSchema(name, zvec.DataType.STRING) for name in _FIELDS]
        ages = zvec.FieldSchema("age", zvec.DataType.DOUBLE, index_param=zvec.InvertIndexParam(True))
        vectors = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, data.d, zvec.HnswIndexParam())
        schema = zvec.CollectionSchema("cases", [*strings, ages], vectors)
        self.collection = zvec.create_and_open(str(self.folder / "zvec"), schema)
        for start, x in data.chunks():
            self._insert([row(start + i) for i in range(len(x))], x)
        self.collection.optimize()
        self.collection.flush()
        self.close()

    def open(self) -> None:
        zvec = self._started()
        # Several processes may read one collection only if none of them may write.
        option = zvec.CollectionOption(read_only=self.reading)
        self.collection = zvec.open(str(self.folder / "zvec"), option)

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        import zvec

        query = zvec.Query("vector", vector=vector, param=zvec.HnswQueryParam(**effort))
        where = None if below is None else f"age < {below}"
        found = self.collection.query(query, topk=k, filter=where, output_fields=_FIELDS)
        return [(doc.id, *(doc.field(name) for name in _FIELDS)) for doc in found]

    def _insert(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        import zvec

        for start in range(0, len(rows), 1000):
            docs = [
                zvec.Doc(r.case_id, vectors={"vector": x},
                         fields={"patient": r.patient, "label": r.label, "text": r.text, "age": r.age})
                for r, x in zip(rows[start : start + 1000], vectors[start : start + 1000], strict=True)
            ]  # fmt: skip
            for status in self.collection.insert(docs):
                if not status.ok():
                    raise RuntimeError(status.message())

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self._insert(rows, vectors)
        self.collection.flush()

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.collection.delete_by_filter(f"patient = '{patient}'")
        self.collection.flush()

    def has(self, numbers: Iterable[int]) -> set[int]:
        ids = [row(n).case_id for n in numbers]
        found: set[int] = set()
        for start in range(0, len(ids), 1000):
            found |= {int(one[5:]) for one in self.collection.fetch(ids[start : start + 1000])}
        return found

    def close(self) -> None:
        self.collection.close()


PEERS = {"zvec": Zvec}
