"""Exact search: every vector is compared."""

from pathlib import Path
from typing import Any

import numpy as np

from medclip.index.records import Vectors
from medclip.index.structures.base import (
    Mask,
    Nearest,
    Positions,
    Source,
    Structure,
    Tuning,
    faiss,
    found,
    read_faiss,
    similar,
)

__all__ = ["FlatStructure"]

_FILE = "flat.faiss"
_FEW = 0.3  # share of the vectors up to which those that are allowed are put together first


class FlatStructure(Structure):
    """FAISS ``IndexFlatIP``: the inner product of unit vectors is their cosine.

    What is in memory already (`of`) is compared by numpy, for which a small index need not load FAISS.
    """

    name = "flat"
    exact = True

    def __init__(self, index: Any, vectors: Vectors | None = None) -> None:
        self.index, self._vectors = index, vectors

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "FlatStructure":
        del settings, seed
        index = faiss().IndexFlatIP(source.dimension)
        for chunk in source.chunks():
            index.add(chunk)
        return cls(index)

    @classmethod
    def of(cls, vectors: Vectors) -> "FlatStructure":
        """Over (n, d) unit vectors in memory, which are not copied."""
        return cls(None, np.ascontiguousarray(vectors, np.float32))

    def followed_by(self, other: "FlatStructure") -> "FlatStructure":
        """Over the vectors of both, which are in memory."""
        if self._vectors is None or other._vectors is None:
            raise TypeError("only vectors in memory can be put together")
        return FlatStructure.of(np.concatenate([self._vectors, other._vectors]))

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "FlatStructure":
        return cls(read_faiss(folder / _FILE, faiss().IO_FLAG_MMAP_IFC if mmap else 0, "IndexFlat"))

    def save(self, folder: Path) -> None:
        if self._vectors is not None:
            raise TypeError("vectors in memory alone are not saved; build over them")
        faiss().write_index(self.index, str(folder / _FILE))

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        del least  # k come back in any case
        if self._vectors is not None:
            return _compared(self._vectors, query, k, mask)
        chosen = faiss().SearchParameters(sel=mask.selector) if mask is not None else None
        similarities, positions = self.index.search(query[None], k, params=chosen)
        return found(positions[0], similarities[0])

    def nearest_of_many(self, queries: Vectors, k: int, least: int | None = None) -> list[Nearest]:
        del least
        if self._vectors is not None:
            every = np.arange(len(self._vectors))
            return [_best(every, -row, k) for row in queries @ self._vectors.T]
        similarities, positions = self.index.search(queries, k)
        return [found(*one) for one in zip(positions, similarities, strict=True)]

    def tune(self, check: Tuning) -> None:
        """Nothing can be tuned: it is exact."""

    @property
    def count(self) -> int:
        return int(self.index.ntotal) if self._vectors is None else len(self._vectors)

    @property
    def dimension(self) -> int:
        return super().dimension if self._vectors is None else self._vectors.shape[1]

    @property
    def search_parameters(self) -> dict[str, int]:
        return {}


def _compared(vectors: Vectors, query: Vectors, k: int, mask: Mask | None) -> Nearest:
    """The k most similar of (n, d) vectors; of equally similar ones those that stand first."""
    query = np.asarray(query, np.float32)
    positions = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask.allowed)
    few = len(positions) < _FEW * len(vectors)
    ranked = -similar(vectors[positions], query) if few else -similar(vectors, query)[positions]
    return _best(positions, ranked, k)


def _best(positions: Positions, ranked: Vectors, k: int) -> Nearest:
    """The first k by (n,) negative similarities, nearest first; of equal ones those that stand first."""
    if k < len(positions):
        least = np.partition(ranked, k - 1)[k - 1]
        kept = np.flatnonzero(ranked <= least)
        positions, ranked = positions[kept], ranked[kept]
    order = np.argsort(ranked, kind="stable")[:k]
    return Nearest(positions[order].astype(np.int64), -ranked[order])
