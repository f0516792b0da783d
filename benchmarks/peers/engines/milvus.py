"""Milvus Lite: Milvus' client on files, in the process."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row

_SHOWN = ["case_id", "patient", "label", "text"]


class Milvus(Peer):
    """A collection with the index that Milvus chooses."""

    modules = ("pymilvus", "milvus_lite")
    title = "Milvus Lite"
    packages = ("milvus-lite==3.2.*", "pymilvus==3.*", "numpy")
    distributions = ("milvus-lite", "pymilvus")
    environment = "milvus"
    setup = "HNSW by cosine: M 16, efConstruction 200; age an inverted index; flush() after the build"
    durable = "flush() after each change"
    crowd = "threads"
    efforts = tuple({"ef": ef} for ef in (16, 32, 64, 128, 256, 512))
    variants: ClassVar[dict[str, dict[str, Any]]] = {"AUTOINDEX": {"index_type": "AUTOINDEX", "params": {}}}

    def _client(self) -> Any:
        from pymilvus import MilvusClient

        return MilvusClient(str(self.folder / "milvus.db"))

    def build(self, data: Data) -> None:
        from pymilvus import DataType

        self.client = self._client()
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", DataType.INT64, is_primary=True)
        for name in _SHOWN:
            schema.add_field(name, DataType.VARCHAR, max_length=200)
        schema.add_field("age", DataType.DOUBLE)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=data.d)
        index = self.client.prepare_index_params()
        given = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}} | self.given
        index.add_index("vector", metric_type="COSINE", **given)
        index.add_index("age", index_type="INVERTED")
        self.client.create_collection("cases", schema=schema, index_params=index, consistency_level="Strong")
        for start, x in data.chunks():
            self._insert([row(start + i) for i in range(len(x))], x)
        self.client.flush("cases")
        self.client.close()

    def open(self) -> None:
        self.client = self._client()
        self.client.load_collection("cases")

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        where = "" if below is None else f"age < {below}"
        found = self.client.search(
            "cases", [vector], filter=where, limit=k, output_fields=_SHOWN, search_params={"params": effort}
        )[0]
        return [tuple(one["entity"][name] for name in _SHOWN) for one in found]

    def _insert(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        for start in range(0, len(rows), 5000):
            self.client.insert(
                "cases",
                [
                    {"number": r.number, "case_id": r.case_id, "patient": r.patient, "label": r.label, "age": r.age,
                     "text": r.text, "vector": x}
                    for r, x in zip(rows[start : start + 5000], vectors[start : start + 5000], strict=True)
                ],
            )  # fmt: skip

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self._insert(rows, vectors)
        self.client.flush("cases")

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.client.delete("cases", filter=f"patient == '{patient}'")
        self.client.flush("cases")

    def has(self, numbers: Iterable[int]) -> set[int]:
        wanted = list(numbers)
        if not wanted:
            return set()
        return {one["number"] for one in self.client.get("cases", wanted, output_fields=["number"])}

    def close(self) -> None:
        self.client.close()


PEERS = {"milvus-lite": Milvus}
