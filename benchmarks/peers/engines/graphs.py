"""Libraries of one graph: usearch and hnswlib. They keep vectors under numbers, in a file that is written whole."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row
from peers.filtering import post_filtered, shown, threads


class Usearch(Peer):
    """HNSW by usearch."""

    modules = ("usearch.index",)
    title = "usearch"
    packages = ("usearch==2.26.*", "numpy")
    distributions = ("usearch",)
    environment = "usearch"
    setup = "Index(metric='cos'): bfloat16, connectivity 16, expansion 128 to add and 64 to search"
    durable = "nothing until save(), which writes the whole file in place"
    keeps_records = False
    filtering = "after"
    crowd = "threads"
    efforts = tuple({"expansion_search": e} for e in (16, 32, 128, 256, 512, 1024, 2048))
    variants: ClassVar[dict[str, dict[str, Any]]] = {"float32": {"dtype": "f32"}}

    def build(self, data: Data) -> None:
        from usearch.index import Index

        index = Index(ndim=data.d, metric="cos", **self.given)
        for start, x in data.chunks():
            index.add(np.arange(start, start + len(x)), x, threads=threads())
        index.save(self.folder / "usearch")
        np.save(self.folder / "ages.npy", data.ages())

    def open(self) -> None:
        from usearch.index import Index

        self.index = Index.restore(self.folder / "usearch")
        self.expansion = self.index.expansion_search
        self.ages = np.load(self.folder / "ages.npy")

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        self.index.expansion_search = effort.get("expansion_search", self.expansion)

        def near(want: int) -> np.ndarray:
            return self.index.search(vector, want, threads=1).keys

        return shown(near(k) if below is None else post_filtered(near, self.ages, k, below, len(self.index)))

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self.index.add(np.asarray([row.number for row in rows]), vectors, threads=threads())
        self.index.save(self.folder / "usearch")

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.index.remove(np.asarray(numbers))
        self.index.save(self.folder / "usearch")

    def has(self, numbers: Iterable[int]) -> set[int]:
        wanted = np.asarray(list(numbers))
        return {int(n) for n in wanted[np.asarray(self.index.contains(wanted))]}


class Hnswlib(Peer):
    """HNSW by its authors' library."""

    modules = ("hnswlib",)
    title = "hnswlib"
    packages = ("hnswlib==0.8.*", "numpy")
    distributions = ("hnswlib",)
    environment = "hnswlib"
    setup = "space cosine, M 16, ef_construction 200, ef 10 to search; room for 200,000 more"
    durable = "nothing until save_index(), which writes the whole file in place"
    keeps_records = False
    crowd = "threads"
    efforts = tuple({"ef": ef} for ef in (20, 40, 80, 160, 320, 640, 1280))

    def build(self, data: Data) -> None:
        import hnswlib

        index = hnswlib.Index("cosine", data.d)
        index.init_index(data.count)
        index.set_num_threads(threads())
        for start, x in data.chunks():
            index.add_items(x, np.arange(start, start + len(x)))
        index.save_index(str(self.folder / "hnswlib"))
        np.save(self.folder / "ages.npy", data.ages())
        np.save(self.folder / "d.npy", data.d)  # which its file does not say

    def open(self) -> None:
        import hnswlib

        self.ages = np.load(self.folder / "ages.npy")
        self.index = hnswlib.Index("cosine", int(np.load(self.folder / "d.npy")))
        self.index.load_index(str(self.folder / "hnswlib"), max_elements=len(self.ages) + 200_000)
        self.index.set_num_threads(1)
        self.default = self.index.ef

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        self.index.set_ef(effort.get("ef", self.default))
        if below is None:
            return shown(self.index.knn_query(vector, k, num_threads=1)[0][0])
        ages, known = self.ages, len(self.ages)
        passing = int((ages < below).sum())
        self.index.set_ef(max(effort.get("ef", self.default), k))
        try:
            found = self.index.knn_query(
                vector, min(k, passing), num_threads=1, filter=lambda n: n < known and ages[n] < below
            )
        except RuntimeError:  # it found fewer than were asked for, and then gives none
            return []
        return shown(found[0][0])

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self.index.add_items(vectors, np.asarray([row.number for row in rows]), num_threads=threads())
        self.index.save_index(str(self.folder / "hnswlib"))

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        for number in numbers:
            self.index.mark_deleted(number)
        self.index.save_index(str(self.folder / "hnswlib"))

    def has(self, numbers: Iterable[int]) -> set[int]:
        found = set()
        for number in numbers:
            try:
                self.index.get_items([number])
            except RuntimeError:
                continue
            found.add(number)
        return found


PEERS = {"usearch": Usearch, "hnswlib": Hnswlib}
