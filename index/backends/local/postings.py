"""In which texts each term stands and how often, in arrays that are mapped from a segment; written once.

::

    words-cases.npy    (m,) int64    numbers of the cases that have a text, rising; a *text* is a position in it
    words-lengths.npy  (m,) uint32   terms of each text, each as often as it stands there
    words-ranks.npy    (m,) int32    place of each case in the order of ids
    words-terms.npy    uint8         the terms in the order of their bytes, one after the other
    words-ends.npy     (2, v + 1) int64  where each term ends, and where its texts end in the two files below
    words-most.npy     (v,) float32  the greatest share of its weight that a term adds to a text here, rounded up
    words-texts.npy    uint32        of each term the texts in which it stands, rising
    words-times.npy    uint8         ... and how often; 255 stands for what `words-often.npy` says
    words-often.npy    (o, 2) int64  position in `words-times.npy`, how often
    words-dense.npy    (f,) int32    the terms that stand in so many texts that one byte for every text is read faster
    words-all.npy      (f, m) uint8  how often each of these stands in each text
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.index.backends.local.arrays import ArrayStream
from medclip.index.backends.local.bm25 import K1, Stands, norms, share
from medclip.index.catalogue.words import Occurrences
from medclip.index.stored import GarbledError, GarbledSegmentError
from medclip.index.structures.base import damaged, read_array

__all__ = ["Postings", "write_postings"]

_PREFIX = "words-"
_FEWEST = (
    1 / 8
)  # of the texts: from there on one byte for every text is read faster than five for each that has the term
_LARGEST = 255
_CHUNK = 1 << 20
_SIGNPOST = 32
_ROUNDED = 1 + 1e-6  # up, against float32
_HIGHEST = (K1 + 1) * _ROUNDED


def write_postings(
    folder: Path, cases: NDArray[np.int64], ranks: NDArray[np.int64], found: Iterable[Occurrences]
) -> None:
    """Write into an existing folder; some megabytes are in memory beside what is said of each text and each term.

    Args:
        cases: (m,) numbers of the cases that have a text, rising.
        ranks: (m,) their places in the order of ids.
        found: all terms, in the order of their bytes.

    Raises:
        GarbledError: a term stands in a text of no such case.
    """
    m = len(cases)
    lengths = np.zeros(m, np.int64)
    term_ends, ends = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    often: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    dense: list[int] = []
    terms = 0
    with (
        ArrayStream(folder / f"{_PREFIX}terms.npy", np.uint8) as names,
        ArrayStream(folder / f"{_PREFIX}texts.npy", np.uint32) as texts,
        ArrayStream(folder / f"{_PREFIX}times.npy", np.uint8) as times,
        ArrayStream(folder / f"{_PREFIX}all.npy", np.uint8, max(m, 1)) as everywhere,
    ):
        for some in found:
            at = np.minimum(np.searchsorted(cases, some.cases), max(m - 1, 0))
            if not m or (cases[at] != some.cases).any():
                raise GarbledError("the index of words has a text of no case")
            lengths += np.bincount(at, some.times, m).astype(np.int64)
            starts = np.cumsum(some.counts) - some.counts
            kept = np.ones(len(at), bool)
            for number in np.flatnonzero(some.counts > _FEWEST * m).tolist():
                own = slice(starts[number], starts[number] + some.counts[number])
                if some.times[own].max() <= _LARGEST:
                    row = np.zeros(m, np.uint8)
                    row[at[own]] = some.times[own]
                    everywhere.append(row)
                    dense.append(terms + number)
                    kept[own] = False
            more = np.flatnonzero(kept & (some.times >= _LARGEST))
            often.append(np.stack([times.count + np.cumsum(kept)[more] - 1, some.times[more]], 1))
            counts = np.add.reduceat(kept, starts, dtype=np.int64)
            ends.append(ends[-1][-1] + np.cumsum(counts))
            texts.append(at[kept])
            times.append(np.minimum(some.times[kept], _LARGEST))
            names.append(np.frombuffer(b"".join(some.terms), np.uint8))
            term_ends.append(term_ends[-1][-1] + np.cumsum([len(term) for term in some.terms]))
            terms += len(some.terms)
    arrays: dict[str, NDArray[Any]] = {
        "cases": cases,
        "lengths": lengths.astype(np.uint32),
        "ranks": ranks.astype(np.int32),
        "ends": np.stack([np.concatenate(term_ends), np.concatenate(ends)]),
        "often": np.concatenate(often),
        "dense": np.asarray(dense, np.int32),
        "most": np.ones(terms, np.float32),
    }
    for name, array in arrays.items():
        np.save(folder / f"{_PREFIX}{name}.npy", array)
    most = Postings.load(folder).greatest_shares()
    np.save(folder / f"{_PREFIX}most.npy", (most * _ROUNDED).astype(np.float32))


@dataclass(frozen=True)
class Postings:
    """Of m texts and v terms, as the files above say."""

    cases: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    ranks: NDArray[np.int32]
    _terms: NDArray[np.uint8]
    _ends: NDArray[np.int64]
    _most: NDArray[np.float32]
    _texts: NDArray[np.uint32]
    _times: NDArray[np.uint8]
    _often: NDArray[np.int64]
    _dense: NDArray[np.int32]
    _all: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.cases)

    @staticmethod
    def names() -> list[str]:
        """The files, by name."""
        return [f"{_PREFIX}{name}.npy" for name in _KINDS]

    @classmethod
    def load(cls, folder: Path) -> "Postings":
        """Map what `write_postings` wrote.

        Raises:
            ArchiveError: a file is missing or damaged.
        """
        self = cls(*(read_array(folder / name) for name in Postings.names()))
        try:
            self._check()
        except (ValueError, LookupError, TypeError) as error:
            raise damaged(folder) from error
        return self

    def _check(self) -> None:
        """Shapes and types, which cost nothing to look at, however many there are.

        Raises:
            GarbledSegmentError: one is another than `write_postings` wrote.
        """
        m, v, stand, often, dense = (
            len(array) for array in (self.cases, self._most, self._texts, self._often, self._dense)
        )
        letters = int(self._ends[0, -1])
        shapes = [(m,), (m,), (m,), (letters,), (2, v + 1), (v,), (stand,), (stand,), (often, 2), (dense,)]
        shapes.append((dense, max(m, 1)))
        arrays = [getattr(self, name) for name in self.__dataclass_fields__]
        for array, kind, shape in zip(arrays, _KINDS.values(), shapes, strict=True):
            if array.dtype != kind or array.shape != shape:
                raise GarbledSegmentError("its words do not fit each other")
        if int(self._ends[1, -1]) != stand or self._ends[:, 0].any():
            raise GarbledSegmentError("its words do not fit each other")

    def of(self, term: bytes) -> Stands | None:
        """Where a term stands; None where in no text.

        Raises:
            GarbledSegmentError: what is mapped cannot be.
        """
        block = max(bisect_right(self._signposts, term) - 1, 0)
        low, high = block * _SIGNPOST, min((block + 1) * _SIGNPOST, len(self._most))
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._term(middle) < term else (low, middle)
        if low >= len(self._most) or self._term(low) != term:
            return None
        return self._stands(low)

    @cached_property
    def _signposts(self) -> list[bytes]:
        """Every so many-th term, from which the others are near."""
        return [self._term(number) for number in range(0, len(self._most), _SIGNPOST)]

    def _term(self, number: int) -> bytes:
        start, end = self._ends[0, number : number + 2].tolist()
        if not 0 <= start <= end <= len(self._terms):
            raise GarbledSegmentError("its words do not fit each other")
        return self._terms[start:end].tobytes()

    def _stands(self, number: int) -> Stands:
        most = float(self._most[number])
        start, end = self._ends[1, number : number + 2].tolist()
        if not (0 < most <= _HIGHEST and 0 <= start <= end <= len(self._texts)):
            raise GarbledSegmentError("its words do not fit each other")
        if start < end:
            return Stands(self._texts[start:end], self._counted(start, end), end - start, most)
        row = int(np.searchsorted(self._dense, number))
        if row == len(self._dense) or self._dense[row] != number:
            raise GarbledSegmentError("its words do not fit each other")
        times = self._all[row]
        return Stands(None, times, int(np.count_nonzero(times)), most)

    def _counted(self, start: int, end: int) -> NDArray[Any]:
        times: NDArray[Any] = self._times[start:end]
        first, last = np.searchsorted(self._often[:, 0], [start, end])
        if first < last:
            times = times.astype(np.int64)
            times[self._often[first:last, 0] - start] = self._often[first:last, 1]
        return times

    def greatest_shares(self) -> NDArray[np.float64]:
        """(v,) the greatest share of its weight that each term adds to the score of a text."""
        most = np.zeros(len(self._most))
        norm = norms(self.lengths, self.mean_length)
        some = np.flatnonzero(np.diff(self._ends[1]))
        begin = 0
        while begin < len(some):
            first = int(self._ends[1, some[begin]])
            stop = max(int(np.searchsorted(self._ends[1, some], first + _CHUNK)), begin + 1)
            own = some[begin:stop]
            last = int(self._ends[1, own[-1] + 1])
            shares = share(self._counted(first, last), norm[self._texts[first:last]])
            most[own] = np.maximum.reduceat(shares, self._ends[1, own] - first)
            begin = stop
        for row, number in enumerate(self._dense.tolist()):
            most[number] = share(self._all[row], norm).max()
        return most

    @property
    def mean_length(self) -> float:
        """Terms of a text."""
        return float(self.lengths.mean(dtype=np.float64)) if len(self) else 0.0


_KINDS = {
    "cases": np.int64, "lengths": np.uint32, "ranks": np.int32, "terms": np.uint8, "ends": np.int64, "most": np.float32,
    "texts": np.uint32, "times": np.uint8, "often": np.int64, "dense": np.int32, "all": np.uint8,
}  # fmt: skip
"""File → type, in the order of the fields."""
