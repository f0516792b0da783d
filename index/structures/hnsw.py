"""HNSW (Malkov & Yashunin 2018): a graph over all vectors; the quickest answer and the slowest build."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from medclip.errors import ArchiveError
from medclip.files.sealed import strict_json
from medclip.index.records import Vectors
from medclip.index.structures.base import Mask, Nearest, Source, Structure, Tuning, faiss, found, read_faiss

__all__ = ["HnswStructure"]

_FILE, _EFFORT = "hnsw.faiss", "hnsw.json"
_WIDEST = 4096


class HnswStructure(Structure):
    """FAISS ``IndexHNSWFlat``. It has no removal (faiss issue 3339), so what is deleted is masked until a rebuild."""

    name = "hnsw"

    def __init__(self, index: Any, ef: int) -> None:
        self.index, self._ef = index, ef

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "HnswStructure":
        index = faiss().IndexHNSWFlat(source.dimension, settings["m"], faiss().METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = settings["ef_construction"]
        index.hnsw.rng = faiss().RandomGenerator(seed)
        for chunk in source.chunks():
            index.add(chunk)
        return cls(index, 64)

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "HnswStructure":
        index = read_faiss(folder / _FILE, faiss().IO_FLAG_MMAP_IFC if mmap else 0, "IndexHNSW")
        try:
            ef = int(strict_json((folder / _EFFORT).read_bytes())["ef"])
            if not 0 < ef <= _WIDEST:
                raise ValueError("is no width of a search")
            return cls(index, ef)
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise ArchiveError(
                f"{folder / _EFFORT}: is missing or damaged; mend it with  medclip index verify --repair"
            ) from error

    def save(self, folder: Path) -> None:
        faiss().write_index(self.index, str(folder / _FILE))
        (folder / _EFFORT).write_text(json.dumps({"ef": self._ef}) + "\n")

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        del least  # k come back in any case
        allowed = self.count if mask is None else mask.count
        k = min(k, allowed)
        # The graph is walked through what is not allowed, too, so a filter needs a wider search; below some share
        # comparing all that is allowed is quicker and exact.
        ef = max(k, self._ef) if mask is None else int(max(k, self._ef) * self.count / max(1, allowed))
        if ef >= min(_WIDEST, allowed):
            return self._compared(query, k, mask)
        chosen = faiss().SearchParametersHNSW(efSearch=ef, sel=None if mask is None else mask.selector)
        similarities, positions = self.index.search(query[None], k, params=chosen)
        got = found(positions[0], similarities[0])
        return got if len(got.positions) == k else self._compared(query, k, mask)

    def _compared(self, query: Vectors, k: int, mask: Mask | None) -> Nearest:
        chosen = faiss().SearchParameters(sel=mask.selector) if mask is not None else None
        similarities, positions = faiss().downcast_index(self.index.storage).search(query[None], k, params=chosen)
        return found(positions[0], similarities[0])

    def tune(self, check: Tuning) -> None:
        if 1.0 not in check.truth:
            return  # a filter widens the search by itself
        for ef in (round(16 * 2 ** (step / 2)) for step in range(15)):
            self._ef = ef
            if check.reached(self, 1.0) >= check.recall:
                return

    @property
    def count(self) -> int:
        return int(self.index.ntotal)

    @property
    def search_parameters(self) -> dict[str, int]:
        return {"ef": self._ef}


def memory_of(count: int, dimension: int, m: int) -> int:
    """Bytes: the vectors, 2 m links at the lowest level and m on each of those above."""
    return count * (4 * dimension + 8 * m + 4 * m // max(1, int(np.log(m))) + 16)
