"""Chroma, in the process: a graph in files beside SQLite."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row

_BATCH = 5000  # of at most so many records is one call


class Chroma(Peer):
    """A collection with its default HNSW, by cosine."""

    modules = ("chromadb",)
    title = "Chroma"
    packages = ("chromadb==1.5.*", "numpy")
    distributions = ("chromadb",)
    environment = "chroma"
    setup = (
        "PersistentClient, hnsw by cosine: max_neighbors 16, ef_construction 100, ef_search 100; text as metadata (its "
        "documents would be indexed by words)"
    )
    durable = "SQLite with its own settings; the graph is written behind every 1,000 records"
    efforts = tuple({"ef_search": ef} for ef in (10, 20, 50, 200, 400, 800))

    def _client(self) -> Any:
        import chromadb
        from chromadb.config import Settings

        return chromadb.PersistentClient(str(self.folder / "chroma"), Settings(anonymized_telemetry=False))

    def build(self, data: Data) -> None:
        self.collection = self._client().create_collection(
            "cases", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for start, x in data.chunks():
            self.add([row(start + i) for i in range(len(x))], x)

    def open(self) -> None:
        self.client = self._client()
        self.collection = self.client.get_collection("cases", embedding_function=None)
        self.spent: Effort = {}

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        if effort != self.spent:
            # The open graph keeps what it was loaded with, so it is opened again.
            self.collection.modify(configuration={"hnsw": {"ef_search": effort.get("ef_search", 100)}})
            self.client.clear_system_cache()
            self.open()
            self.spent = effort
        where: Any = None if below is None else {"age": {"$lt": below}}
        found = self.collection.query(query_embeddings=vector[None], n_results=k, where=where, include=["metadatas"])
        return [
            (one, meta["patient"], meta["label"], meta["text"])
            for one, meta in zip(found["ids"][0], found["metadatas"][0], strict=True)
        ]

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            self.collection.add(
                ids=[r.case_id for r in some],
                embeddings=vectors[start : start + _BATCH],
                metadatas=[{"patient": r.patient, "label": r.label, "age": r.age, "text": r.text} for r in some],
            )

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.collection.delete(where={"patient": patient})

    def has(self, numbers: Iterable[int]) -> set[int]:
        ids = [row(n).case_id for n in numbers]
        found: set[int] = set()
        for start in range(0, len(ids), 1000):
            found |= {int(one[5:]) for one in self.collection.get(ids=ids[start : start + 1000], include=[])["ids"]}
        return found


PEERS = {"chroma": Chroma}
