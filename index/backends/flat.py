"""Exact search through FAISS: every vector is compared."""

from pathlib import Path
from typing import Any

import numpy as np

from medclip.errors import ArchiveError, MissingDependencyError
from medclip.index.backends.base import Backend, Found, Rows, Vectors

__all__ = ["FlatBackend"]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("FAISS is not installed", "cpu") from error
    return faiss


class FlatBackend(Backend):
    """FAISS ``IndexFlatIP``: the inner product of unit vectors is their cosine."""

    name = "flat"
    file = "flat.faiss"

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def from_vectors(cls, vectors: Vectors) -> "FlatBackend":
        index = _faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index)

    @classmethod
    def load(cls, file: Path) -> "FlatBackend":
        try:
            return cls(_faiss().read_index(str(file)))
        except RuntimeError as error:
            raise ArchiveError(f"{file}: is damaged; build the index again") from error

    def save(self, file: Path) -> None:
        _faiss().write_index(self._index, str(file))

    def query(self, queries: Vectors, k: int, among: Rows | None = None) -> Found:
        k = min(k, self.size if among is None else len(among))
        if k == 0:
            empty = [np.empty(0, np.int64) for _ in queries]
            return Found(empty, [np.empty(0, np.float32) for _ in queries])
        faiss = _faiss()
        chosen = None
        if among is not None:
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.ascontiguousarray(among, np.int64)))
        similarities, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=chosen)
        kept = rows >= 0  # FAISS pads with -1
        return Found(
            [r[keep] for r, keep in zip(rows, kept, strict=True)],
            [s[keep] for s, keep in zip(similarities, kept, strict=True)],
        )

    @property
    def size(self) -> int:
        return int(self._index.ntotal)
