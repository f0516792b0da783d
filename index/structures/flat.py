"""Exact search: every vector is compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medclip.index.records import Vectors
from medclip.index.structures.base import (
    Mask,
    Nearest,
    Positions,
    Source,
    Structure,
    Tuning,
    damaged,
    faiss,
    read_array,
    read_faiss,
    similar,
)

__all__ = ["FlatStructure"]

_FILE, _EARLIER = "flat.npy", "flat.faiss"
_FEW = 0.3  # share of the vectors up to which those that are allowed are put together first
_ROUNDING = 1e-5  # by which the products of matrices may differ from those of vectors


@dataclass
class _Room:
    """Memory for more vectors than there are."""

    vectors: Vectors  # (most, d)
    taken: int = 0  # by the structure that was made last


class FlatStructure(Structure):
    """(n, d) unit vectors, in memory or mapped, compared by numpy: the inner product of unit vectors is their cosine.

    A pair of vectors has one similarity to the last bit, however it is searched for, so that ties are ties.
    """

    name = "flat"
    exact = True

    def __init__(self, vectors: Vectors, room: "_Room | None" = None) -> None:
        """Over (n, d) unit vectors.

        Args:
            room: in which they stand first, where more may follow them.
        """
        self._vectors, self._room = vectors, room

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "FlatStructure":
        del settings, seed
        return cls(np.concatenate([np.empty((0, source.dimension), np.float32), *source.chunks()]))

    @classmethod
    def of(cls, vectors: Vectors) -> "FlatStructure":
        """Over (n, d) unit vectors in memory, which are not copied."""
        return cls(np.ascontiguousarray(vectors, np.float32))

    def followed_by(self, other: "FlatStructure") -> "FlatStructure":
        """Over the vectors of both, in memory; this one stays what it is.

        The others are put behind these where there is room and nothing stands there yet, so that what grows by a few at a
        time is not copied each time.
        """
        room, n, both = self._room, self.count, self.count + other.count
        if room is None or room.taken != n or both > len(room.vectors):
            room = _Room(np.empty((2 * both, self.dimension), np.float32))
            room.vectors[:n] = self._vectors
        room.vectors[n:both] = other._vectors
        room.taken = both
        return FlatStructure(room.vectors[:both], room)

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "FlatStructure":
        if (folder / _EARLIER).exists():
            index = read_faiss(folder / _EARLIER, 0, "IndexFlat")
            return cls(np.array(faiss().rev_swig_ptr(index.get_xb(), index.ntotal * index.d)).reshape(-1, index.d))
        vectors = read_array(folder / _FILE)
        if vectors.ndim != 2 or vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
            raise damaged(folder / _FILE)
        return cls(vectors if mmap else np.array(vectors))

    def save(self, folder: Path) -> None:
        np.save(folder / _FILE, self._vectors)

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        del least  # k come back in any case
        vectors, query = self._vectors, np.asarray(query, np.float32)
        positions = np.arange(len(vectors)) if mask is None else np.flatnonzero(mask.allowed)
        few = len(positions) < _FEW * len(vectors)
        ranked = -similar(vectors[positions], query) if few else -similar(vectors, query)[positions]
        return _best(positions, ranked, k)

    def nearest_of_many(self, queries: Vectors, k: int, least: int | None = None) -> list[Nearest]:
        del least
        found = []
        for query, row in zip(queries, -(queries @ self._vectors.T), strict=True):
            positions = np.arange(len(row))
            if k < len(row):
                positions = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1] + _ROUNDING)
            found.append(_best(positions, -similar(self._vectors[positions], query), k))
        return found

    def tune(self, check: Tuning) -> None:
        """Nothing can be tuned: it is exact."""

    @property
    def count(self) -> int:
        return len(self._vectors)

    @property
    def dimension(self) -> int:
        return int(self._vectors.shape[1])

    @property
    def search_parameters(self) -> dict[str, int]:
        return {}


def _best(positions: Positions, ranked: Vectors, k: int) -> Nearest:
    """The first k by (n,) negative similarities, nearest first; of equal ones those that stand first."""
    if k < len(positions):
        least = np.partition(ranked, k - 1)[k - 1]
        kept = np.flatnonzero(ranked <= least)
        positions, ranked = positions[kept], ranked[kept]
    order = np.argsort(ranked, kind="stable")[:k]
    return Nearest(positions[order].astype(np.int64), -ranked[order])
