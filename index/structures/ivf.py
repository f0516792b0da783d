"""Inverted files (Sivic & Zisserman 2003; Jégou et al. 2011): only the lists nearest to the query are compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.files.sealed import strict_json
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
    found,
    read_array,
    read_faiss,
)
from medclip.index.structures.gpu import clustering_index, on_gpu

__all__ = ["FULL", "IvfFlatStructure", "IvfPqStructure", "IvfSq8Structure", "read_lists", "sampled", "set_clustering"]

_FILE, _LISTS, _EFFORT = "ivf.faiss", "lists.npy", "ivf.json"
_TRAINING_POINTS, _ITERATIONS = 20, 6  # of k-means, a list; twice as many of both find as much and cost thrice the time
FULL = 1.0
"""The selectivity of a search that no filter narrows."""


class IvfFlatStructure(Structure):
    """FAISS ``IndexIVFFlat``: whole vectors in the lists of a seeded spherical k-means."""

    name = "ivf-flat"

    def __init__(self, index: Any, lists: NDArray[np.int32], probes: dict[float, int]) -> None:
        """Around a trained and filled index.

        Args:
            lists: (n,) the list of each position.
            probes: selectivity → how many lists are searched.
        """
        self.index, self._lists, self._probes = index, lists, probes
        self._searcher = index
        self._parameters: dict[int, Any] = {}  # made once: SWIG takes its time

    @classmethod
    def _index(cls, quantizer: Any, dimension: int, settings: dict[str, int]) -> Any:
        return faiss().IndexIVFFlat(quantizer, dimension, settings["nlist"], faiss().METRIC_INNER_PRODUCT)

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "IvfFlatStructure":
        settings = {**settings, "nlist": min(settings["nlist"], source.count)}
        index = cls._index(faiss().IndexFlatIP(source.dimension), source.dimension, settings)
        set_clustering(index, seed)
        index.train(sampled(source, index.nlist, seed))
        lists = np.concatenate([index.quantizer.assign(chunk, 1)[:, 0] for chunk in source.chunks()])
        _reserve(index, lists)
        start = 0
        for chunk in source.chunks():
            mine = np.ascontiguousarray(lists[start : start + len(chunk)])
            pointers = (faiss().swig_ptr(np.ascontiguousarray(chunk)), None, faiss().swig_ptr(mine))
            index.add_core(len(chunk), *pointers)
            start += len(chunk)
        return cls(index, lists.astype(np.int32), {FULL: min(16, index.nlist)})

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "IvfFlatStructure":
        index = read_faiss(folder / _FILE, faiss().IO_FLAG_MMAP if mmap else 0, "IndexIVF")
        lists, probes = read_lists(folder, index)
        self = cls(index, lists, probes)
        if mmap:
            # FAISS would start 32 threads a query to read ahead; the page cache does as well.
            faiss().downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        else:
            self._searcher = on_gpu(index)
        return self

    def save(self, folder: Path) -> None:
        faiss().write_index(self.index, str(folder / _FILE))
        self._save_lists(folder)

    def _save_lists(self, folder: Path) -> None:
        np.save(folder / _LISTS, self._lists)
        (folder / _EFFORT).write_text(json.dumps({str(k): v for k, v in self._probes.items()}) + "\n")

    def nearest_of_many(self, queries: Vectors, k: int, least: int | None = None) -> list[Nearest]:
        k, least, turned = min(k, self.count), min(least or k, self.count), np.ascontiguousarray(self._turned(queries))
        similarities, positions = self._searcher.search(turned, k, params=self._parameters_for(self._probes[FULL]))
        got = [found(*one) for one in zip(positions, similarities, strict=True)]
        return [
            one if len(one.positions) >= least else self.nearest(query, k, None, least)
            for one, query in zip(got, queries, strict=True)
        ]

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        turned = self._turned(query)
        if mask is not None:
            return self._nearest_allowed(turned, min(k, mask.count), mask, min(least or k, mask.count))
        k, least = min(k, self.count), min(least or k, self.count)
        got = self._probe(turned, k, self._probes[FULL])
        return got if len(got.positions) >= least else self._probe(turned, k, self.index.nlist)

    def _turned(self, vectors: Vectors) -> Vectors:
        """(..., d) vectors as the lists hold them."""
        return vectors

    def _probe(self, query: Vectors, k: int, probes: int) -> Nearest:
        similarities, positions = self._searcher.search(query[None], k, params=self._parameters_for(probes))
        return found(positions[0], similarities[0])

    def _parameters_for(self, probes: int) -> Any:
        if probes not in self._parameters:
            self._parameters[probes] = faiss().SearchParametersIVF(nprobe=probes)
        return self._parameters[probes]

    def _nearest_allowed(self, query: Vectors, k: int, mask: Mask, least: int) -> Nearest:
        """Probe as many lists as hold, of what is allowed, what tuning found to be enough."""
        if k == 0:
            return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
        notes = mask.notes(self)
        if "in list" not in notes:
            notes["in list"] = np.bincount(self._lists[mask.allowed], minlength=self.index.nlist)
        in_list = notes["in list"]
        share = mask.count / self.count
        probes = self._probes_for(share)
        enough = max(least, int(probes * mask.count / self.index.nlist / 2))
        while True:
            coarse, lists = self.index.quantizer.search(query[None], probes)
            if probes == self.index.nlist or in_list[lists[0]].sum() >= enough:
                break
            probes = min(self.index.nlist, probes * 2)
        return self._search_lists(query, k, lists, coarse, mask, least)

    def _search_lists(
        self, query: Vectors, k: int, lists: Positions, coarse: Vectors, mask: Mask, least: int
    ) -> Nearest:
        chosen = faiss().SearchParametersIVF(nprobe=lists.shape[1], sel=mask.selector)
        similarities, positions = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        given = [faiss().swig_ptr(np.ascontiguousarray(a)) for a in (query[None], lists, coarse)]
        into = [faiss().swig_ptr(a) for a in (similarities, positions)]
        # The wrapper that takes arrays takes no selector.
        self.index.search_preassigned_c(1, given[0], k, given[1], given[2], *into, False, chosen)
        got = found(positions[0], similarities[0])
        if len(got.positions) >= least or lists.shape[1] == self.index.nlist:
            return got
        coarse, lists = self.index.quantizer.search(query[None], self.index.nlist)
        return self._search_lists(query, k, lists, coarse, mask, least)

    def _probes_for(self, share: float) -> int:
        """Interpolated between the selectivities that were tuned; all lists where much less is allowed."""
        known = sorted(self._probes)
        if share < known[0] / 2:
            return int(self.index.nlist)
        x = np.log([known[0] / 2, *known]) if len(known) > 1 else np.log(known)
        y = np.log([self._probes[s] for s in known])
        y = np.concatenate([[np.log(self.index.nlist)], y]) if len(known) > 1 else y
        return int(np.clip(round(float(np.exp(np.interp(np.log(share), x, y)))), 1, self.index.nlist))

    def tune(self, check: Tuning) -> None:
        for selectivity in sorted(check.truth, reverse=True):
            low, high = 0, 1
            self._probes[selectivity] = high
            while check.reached(self, selectivity) < check.recall and high < self.index.nlist:
                low, high = high, min(2 * high, self.index.nlist)
                self._probes[selectivity] = high
            while high - low > max(1, low // 16):
                middle = (low + high) // 2
                self._probes[selectivity] = middle
                low, high = (low, middle) if check.reached(self, selectivity) >= check.recall else (middle, high)
            self._probes[selectivity] = high

    @property
    def count(self) -> int:
        return len(self._lists)

    @property
    def search_parameters(self) -> dict[str, int]:
        return {f"nprobe at selectivity {share:g}": probes for share, probes in self._probes.items()}


class IvfSq8Structure(IvfFlatStructure):
    """FAISS ``IndexIVFScalarQuantizer``: a byte a dimension; `IvfPq4Structure` is smaller and quicker."""

    name = "ivf-sq8"
    lossy = True

    @classmethod
    def _index(cls, quantizer: Any, dimension: int, settings: dict[str, int]) -> Any:
        kind = faiss().ScalarQuantizer.QT_8bit
        return faiss().IndexIVFScalarQuantizer(
            quantizer, dimension, settings["nlist"], kind, faiss().METRIC_INNER_PRODUCT
        )


class IvfPqStructure(IvfFlatStructure):
    """FAISS ``IndexIVFPQ``: `m` bytes a vector. As above."""

    name = "ivf-pq"
    lossy = True

    @classmethod
    def _index(cls, quantizer: Any, dimension: int, settings: dict[str, int]) -> Any:
        metric = faiss().METRIC_INNER_PRODUCT
        return faiss().IndexIVFPQ(quantizer, dimension, settings["nlist"], settings["m"], 8, metric)


def set_clustering(index: Any, seed: int) -> None:
    """How the lists of an untrained inverted file are found: seeded spherical k-means, on a device where there is one."""
    index.cp.seed, index.cp.niter, index.cp.spherical = seed, _ITERATIONS, True
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = _TRAINING_POINTS, 1
    trainer = clustering_index(index.d)
    if trainer is not None:
        index.clustering_index = trainer


def sampled(source: Source, nlist: int, seed: int) -> Vectors:
    """(n, d) vectors to train so many lists on."""
    wanted = min(source.count, max(_TRAINING_POINTS * nlist, 10_000))
    return source.take(np.sort(np.random.default_rng(seed).choice(source.count, wanted, replace=False)))


def read_lists(folder: Path, index: Any) -> tuple[NDArray[np.int32], dict[float, int]]:
    """The list of each position of an inverted file, and selectivity → how many lists are searched.

    Raises:
        ArchiveError: they are missing, damaged, or not those of the index.
    """
    lists = read_array(folder / _LISTS)
    try:
        probes = {float(k): int(v) for k, v in strict_json((folder / _EFFORT).read_bytes()).items()}
        within = all(0 < share <= FULL and 0 < lists <= index.nlist for share, lists in probes.items())
        if not within or FULL not in probes or lists.shape != (index.ntotal,) or lists.dtype != np.int32:
            raise ValueError("is not what belongs to the index")
        if len(lists) and not 0 <= lists.min() <= lists.max() < index.nlist:
            raise ValueError("names lists that are not there")
    except (OSError, ValueError, AttributeError, TypeError, OverflowError) as error:
        raise damaged(folder) from error
    return lists, probes


def _reserve(index: Any, lists: NDArray[np.int64]) -> None:
    """Give every list its final room at once: growing by doubling would take half as much memory again."""
    for number, size in enumerate(np.bincount(lists, minlength=index.nlist).tolist()):
        index.invlists.resize(number, size)
        index.invlists.resize(number, 0)
