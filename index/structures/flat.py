"""Exact search: every vector is compared."""

from pathlib import Path
from typing import Any

import numpy as np

from medclip.index.records import Vectors
from medclip.index.structures.base import Mask, Nearest, Source, Structure, Tuning, faiss, found, read_faiss

__all__ = ["FlatStructure"]

_FILE = "flat.faiss"


class FlatStructure(Structure):
    """FAISS ``IndexFlatIP``: the inner product of unit vectors is their cosine."""

    name = "flat"
    exact = True

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "FlatStructure":
        del settings, seed
        index = faiss().IndexFlatIP(source.dimension)
        for chunk in source.chunks():
            index.add(chunk)
        return cls(index)

    @classmethod
    def of(cls, vectors: Vectors) -> "FlatStructure":
        """Over (n, d) unit vectors in memory."""
        index = faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index)

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "FlatStructure":
        return cls(read_faiss(folder / _FILE, faiss().IO_FLAG_MMAP_IFC if mmap else 0, "IndexFlat"))

    def save(self, folder: Path) -> None:
        faiss().write_index(self.index, str(folder / _FILE))

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None) -> Nearest:
        chosen = faiss().SearchParameters(sel=mask.selector) if mask is not None else None
        similarities, positions = self.index.search(query[None], k, params=chosen)
        return found(positions[0], similarities[0])

    def tune(self, check: Tuning) -> None:
        """Nothing can be tuned: it is exact."""

    @property
    def count(self) -> int:
        return int(self.index.ntotal)

    @property
    def search_parameters(self) -> dict[str, int]:
        return {}
