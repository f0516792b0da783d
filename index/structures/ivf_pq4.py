"""Inverted lists of four-bit codes, from which those that look nearest are compared again by the vectors themselves.

A vector is turned onto its principal axes, of which at most `_AXES` are kept, and then at random, so that all axes weigh
alike. Each pair of axes becomes a code of four bits (product quantisation, Jégou, Douze & Schmid 2011), so that the codes
take at most 64 bytes a vector, and a register compares 32 of them at a time (André, Kermarrec & Le Scouarnec 2015; FAISS
``IndexIVFPQFastScan``). `refined` compares what they find by the vectors, so that similarities are true ones.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.files.sealed import strict_json
from medclip.index.records import Vectors
from medclip.index.structures.base import (
    Mask,
    Nearest,
    Source,
    Tuning,
    damaged,
    faiss,
    found,
    read_array,
    read_faiss,
    similar,
)
from medclip.index.structures.ivf import FULL, IvfFlatStructure, read_lists, sampled, set_clustering

__all__ = ["IvfPq4Structure"]

_FILE, _TURN, _CODES, _REACH = "ivf-pq4.faiss", "turn.npy", "codes.npy", "reach.json"
_AXES = 256
_REACHES = (25, 50, 100, 200, 400, 800, 1600)  # how many are compared again
_SPREAD = 4  # and so many more for each that is wanted
_LEAST = 16  # vectors that codes of four bits are trained on
_CENTRE, _LIST = 16, 500  # a list's centre and the beginning of its search cost as much as so many codes


def _axes(dimension: int) -> int:
    """How many axes are kept: an even number, where there are two."""
    return min(_AXES, dimension - dimension % 2 or 1)


class IvfPq4Structure(IvfFlatStructure):
    """FAISS ``IndexIVFPQFastScan`` over turned vectors."""

    name = "ivf-pq4"
    lossy = narrows = True

    def __init__(
        self,
        index: Any,
        lists: NDArray[np.int32],
        probes: dict[float, int],
        turn: Vectors,
        codes: NDArray[np.uint8],
        reach: int,
    ) -> None:
        """Around a trained and filled index.

        Args:
            lists: (n,) the list of each position.
            probes: selectivity → how many lists are searched.
            turn: (axes, d) of orthonormal rows.
            codes: (n, bytes) of each position.
            reach: how many are compared again, beside `_SPREAD` for each that is wanted.
        """
        super().__init__(index, lists, probes)
        self._turn, self._codes, self._reach = turn, codes, reach

    @classmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "IvfPq4Structure":
        axes, nlist = _axes(source.dimension), min(settings["nlist"], source.count)
        sample = sampled(source, nlist, seed)
        turn = _turn(sample, axes, seed)
        centres = faiss().IndexFlatIP(axes)
        codes_of_pairs = max(1, axes // 2)
        index = faiss().IndexIVFPQFastScan(centres, axes, nlist, codes_of_pairs, 4, faiss().METRIC_INNER_PRODUCT)
        index.by_residual = False  # so that codes compare whatever their list
        set_clustering(index, seed)
        index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
        turned = np.ascontiguousarray(sample @ turn.T)
        index.train(np.resize(turned, (max(len(turned), _LEAST), axes)))
        codes = np.empty((source.count, index.pq.code_size), np.uint8)
        start = 0
        for chunk in source.chunks():
            turned = np.ascontiguousarray(chunk @ turn.T)
            index.add(turned)
            codes[start : start + len(chunk)] = index.pq.compute_codes(turned)
            start += len(chunk)
        return cls(index, _lists_of(index), {FULL: min(16, nlist)}, turn, codes, _REACHES[-1])

    @classmethod
    def load(cls, folder: Path, mmap: bool) -> "IvfPq4Structure":
        del mmap  # codes in lists lie in blocks, which are not mapped
        index = read_faiss(folder / _FILE, 0, "IndexIVFPQFastScan")
        lists, probes = read_lists(folder, index)
        turn, codes = np.array(read_array(folder / _TURN)), read_array(folder / _CODES)
        try:
            reach = int(strict_json((folder / _REACH).read_bytes())["reach"])
            fits = turn.ndim == 2 and len(turn) == index.d and turn.dtype == np.float32 and np.isfinite(turn).all()
            if not fits or not 0 < reach <= _REACHES[-1] or index.by_residual or index.pq.nbits != 4:
                raise ValueError("is not what belongs to the index")
            if codes.dtype != np.uint8 or codes.shape != (index.ntotal, index.pq.code_size):
                raise ValueError("is not what belongs to the index")
        except (OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            raise damaged(folder) from error
        return cls(index, lists, probes, turn, codes, reach)

    def save(self, folder: Path) -> None:
        self._save_lists(folder)
        faiss().write_index(self.index, str(folder / _FILE))
        np.save(folder / _TURN, self._turn)
        np.save(folder / _CODES, self._codes)
        (folder / _REACH).write_text(json.dumps({"reach": self._reach}) + "\n")

    def reach(self, k: int) -> int:
        return self._reach + _SPREAD * k

    @property
    def dimension(self) -> int:
        return int(self._turn.shape[1])

    def _turned(self, vectors: Vectors) -> Vectors:
        return similar(self._turn, vectors)

    def nearest_of_many(self, queries: Vectors, k: int, least: int | None = None) -> list[Nearest]:
        if k >= self.count:
            return [self.nearest(query, k) for query in queries]
        return super().nearest_of_many(queries, k, least)

    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        if k >= (self.count if mask is None else mask.count):
            every = np.arange(self.count) if mask is None else np.flatnonzero(mask.allowed)
            return Nearest(every, np.zeros(len(every), np.float32))  # in whatever order: they are compared again
        if mask is not None and mask.count <= self._passed(mask.count / self.count):
            return self._among(query, k, mask)
        return super().nearest(query, k, mask, least)

    def _passed(self, share: float) -> int:
        """As many codes as cost what a search of the lists does where a share is allowed."""
        nlist, probes = self.index.nlist, self._probes_for(share)
        return int(_CENTRE * nlist + probes * (_LIST + self.count // nlist))

    def _among(self, query: Vectors, k: int, mask: Mask) -> Nearest:
        """Among the codes of what is allowed, which are put together once, where they are fewer than what lists hold."""
        notes = mask.notes(self)
        if "together" not in notes:
            allowed = np.flatnonzero(mask.allowed)
            plain = faiss().IndexPQ(self.index.d, self.index.pq.M, 4, faiss().METRIC_INNER_PRODUCT)
            plain.pq, plain.is_trained, plain.ntotal = self.index.pq, True, len(allowed)
            faiss().copy_array_to_vector(self._codes[allowed].ravel(), plain.codes)
            notes["together"] = (allowed, faiss().IndexPQFastScan(plain))
        allowed, together = notes["together"]
        similarities, positions = together.search(self._turned(query)[None], k)
        got = found(positions[0], similarities[0])
        return Nearest(allowed[got.positions], got.similarities)

    def tune(self, check: Tuning) -> None:
        """First how many lists, comparing again as many as may be; then how few of these are enough."""
        self._reach = _REACHES[-1]
        super().tune(replace(check, recall=(1 + 9 * check.recall) / 10))
        for self._reach in _REACHES:
            if all(check.reached(self, share) >= check.recall for share in check.truth):
                return

    @property
    def search_parameters(self) -> dict[str, int]:
        return {**super().search_parameters, "compared again": self._reach}


def _turn(sample: Vectors, axes: int, seed: int) -> Vectors:
    """(axes, d) orthonormal rows that span the principal axes of (n, d) vectors about the origin, turned at random."""
    _, principal = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(axes, axes)))
    return np.ascontiguousarray(turned @ principal[:, ::-1][:, :axes].T, np.float32)


def _lists_of(index: Any) -> NDArray[np.int32]:
    """(n,) the list in which each position lies."""
    lists = np.empty(index.ntotal, np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            lists[faiss().rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    return lists
