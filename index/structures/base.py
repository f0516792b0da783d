"""What a search structure must do, how it is found by name, and how FAISS is loaded."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from tokenize import TokenError  # by numpy, of a header that is no Python literal
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError, MissingDependencyError
from medclip.index.records import Vectors
from medclip.index.registry import registered, registered_as

__all__ = [
    "Compare",
    "Mask",
    "Nearest",
    "Positions",
    "Source",
    "Spec",
    "Structure",
    "Tuning",
    "again",
    "compared_with",
    "damaged",
    "faiss",
    "found",
    "load_structure",
    "read_array",
    "read_faiss",
    "refined",
    "refined_together",
    "similar",
    "structure_names",
]

Positions = NDArray[np.int64]
_CHUNK = 16 << 20  # bytes of vectors that are handled at a time
Compare = Callable[[Positions, Vectors], Vectors]
"""(..., n) positions and (..., d) queries → (..., n) similarities, by the vectors themselves."""

_PACKAGE = "medclip.index.structures"


@cache
def faiss() -> Any:
    """The FAISS module.

    Raises:
        MissingDependencyError: it is not installed, or both of its packages are, which overwrite each other.
    """
    both = [name for name in ("faiss-cpu", "faiss-gpu") if _installed(name)]
    if len(both) == 2:
        raise MissingDependencyError(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other's files: "
            "pip uninstall faiss-cpu faiss-gpu, then one of them",
            "cpu",
        )
    try:
        import faiss as module
    except ImportError as error:
        raise MissingDependencyError("FAISS is not installed", "cpu") from error
    return module


def _installed(name: str) -> bool:
    """By its folder of metadata alone: what reads those (importlib.metadata) takes as long to load as FAISS itself."""
    kept = f"{name.replace('-', '_')}-*.dist-info"
    return any(next(Path(place).glob(kept), None) is not None for place in sys.path)


@dataclass(frozen=True)
class Spec:
    """Which structure, and how it is set."""

    name: str
    settings: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return ",".join([self.name, *(f"{key}={value}" for key, value in sorted(self.settings.items()))])


@dataclass(frozen=True)
class Source:
    """Where a structure gets its vectors from, without all of them in memory at once."""

    count: int
    dimension: int
    chunks: Callable[[], Iterator[Vectors]]  # all, in the order of positions
    take: Callable[[Positions], Vectors]  # some

    @classmethod
    def in_file(cls, file: Path) -> "Source":
        """From (n, d) float32 vectors that numpy saved; read anew for each pass, since what is mapped counts as memory."""
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        (n, d), begin, vectors = mapped.shape, mapped.offset, np.asarray(mapped)
        step = max(1, _CHUNK // (4 * d))

        def chunks() -> Iterator[Vectors]:
            with file.open("rb") as handle:
                handle.seek(begin)
                for start in range(0, n, step):
                    yield np.fromfile(handle, "<f4", min(step, n - start) * d).reshape(-1, d)

        return cls(n, d, chunks, vectors.__getitem__)

    def compare(self, positions: Positions, query: Vectors) -> Vectors:
        """(n,) similarities of some to a (d,) query."""
        return similar(self.take(positions), query)


class Mask:
    """Which positions may be found."""

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        self.allowed = allowed
        self.count = int(np.count_nonzero(allowed))
        self._notes: WeakKeyDictionary[object, dict[str, Any]] = WeakKeyDictionary()

    def notes(self, whose: object) -> dict[str, Any]:
        """What one structure worked out of it once, which is nothing to another one over the same vectors."""
        return self._notes.setdefault(whose, {})

    @cached_property
    def packed(self) -> NDArray[np.uint8]:
        """The same as a bitmap."""
        return np.packbits(self.allowed, bitorder="little")

    @cached_property
    def selector(self) -> Any:
        """The same for FAISS; it points into `packed`, which lives as long."""
        return faiss().IDSelectorBitmap(self.packed)


@dataclass(frozen=True)
class Nearest:
    """The nearest positions of one query, nearest first, never padded."""

    positions: Positions
    similarities: Vectors


class Structure(ABC):
    """A search structure over n unit vectors; similarity is the cosine."""

    name: ClassVar[str]
    exact: ClassVar[bool] = False  # it compares all vectors
    index: Any  # of FAISS
    lossy: ClassVar[bool] = False  # its similarities are approximate, so that the found must be compared again
    narrows: ClassVar[bool] = False  # it is quick among few that a mask allows, too

    @classmethod
    @abstractmethod
    def build(cls, source: Source, settings: dict[str, int], seed: int) -> "Structure":
        """Build over a source; the same seed gives the same structure."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, mmap: bool) -> "Structure":
        """Open what `save` wrote, into memory or mapped from the file.

        Raises:
            ArchiveError: a file is missing or damaged.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the structure into an existing folder."""

    @abstractmethod
    def nearest(self, query: Vectors, k: int, mask: Mask | None = None, least: int | None = None) -> Nearest:
        """The k nearest positions of (d,) a unit vector, of all or of the allowed ones.

        Args:
            least: how many come back wherever there are so many; k where None.
        """

    def nearest_of_many(self, queries: Vectors, k: int, least: int | None = None) -> list[Nearest]:
        """The k nearest of all positions to each of (q, d) unit vectors: searched for together where that is quicker."""
        del least
        return [self.nearest(query, k) for query in queries]

    def reach(self, k: int) -> int:
        """How many are to be asked of a lossy structure, to be compared again, where k are wanted."""
        return _WIDER * k if self.lossy else k

    @abstractmethod
    def tune(self, check: "Tuning") -> None:
        """Choose the search parameters that reach a recall."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many positions there are."""

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return int(self.index.d)

    @property
    @abstractmethod
    def search_parameters(self) -> dict[str, int]:
        """The search parameters, for the report."""


@dataclass(frozen=True)
class Tuning:
    """Queries with their exact neighbours, without filter and under random filters of several selectivities.

    `masks` and `truth` are keyed by selectivity (the share of positions that are allowed); 1.0 has no mask.
    """

    queries: Vectors  # (q, d)
    masks: dict[float, Mask | None]
    truth: dict[float, list[Positions]]  # per query the nearest positions besides the query's own
    compare: Compare
    recall: float  # to reach, in 0..1

    def reached(self, structure: Structure, selectivity: float) -> float:
        """Mean share of the true neighbours that the structure finds."""
        mask = self.masks[selectivity]
        shares = [
            len(np.intersect1d(refined(structure, query, len(true) + 1, mask, self.compare).positions, true))
            / len(true)
            for query, true in zip(self.queries, self.truth[selectivity], strict=True)
            if len(true)
        ]
        return float(np.mean(shares)) if shares else 1.0


_WIDER = 8


def refined(structure: Structure, query: Vectors, k: int, mask: Mask | None, compare: Compare) -> Nearest:
    """The k nearest by their true similarity: of a lossy structure more are asked, which are compared again."""
    got = structure.nearest(query, structure.reach(k), mask, k)
    return again(got, query, k, compare) if structure.lossy else got


def again(rough: Nearest, query: Vectors, k: int, compare: Compare) -> Nearest:
    """The k nearest of some that a lossy structure found."""
    similarities = compare(rough.positions, query)
    order = np.argsort(-similarities, kind="stable")[:k]
    return Nearest(rough.positions[order], similarities[order])


def refined_together(structure: Structure, queries: Vectors, k: int, compare: Compare) -> list[Nearest]:
    """`refined` for each of (q, d) unit vectors, without a mask."""
    many = structure.nearest_of_many(queries, structure.reach(k), k)
    if not structure.lossy:
        return many
    if len({len(got.positions) for got in many}) != 1:
        return [again(got, query, k, compare) for got, query in zip(many, queries, strict=True)]
    positions = np.stack([got.positions for got in many])
    similarities = compare(positions, queries)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    best = [np.take_along_axis(one, order, 1) for one in (positions, similarities)]
    return [Nearest(*one) for one in zip(*best, strict=True)]


def similar(vectors: Vectors, queries: Vectors) -> Vectors:
    """(..., n, d) vectors and (..., d) queries → (..., n) inner products, on one thread.

    A product of a matrix and a vector is shared among all threads by BLAS, however small: beside another busy process
    each waits for the last of them, some milliseconds.
    """
    found: Vectors = np.vecdot(vectors, queries[..., None, :])
    return found


def compared_with(vectors: Vectors) -> Compare:
    """Compare with (n, d) vectors, which may be mapped from a file: only those that are asked for are read."""

    return lambda positions, queries: similar(vectors[positions], queries)


def damaged(place: Path) -> ArchiveError:
    """What is said of a file or folder of a segment that is not as medclip writes it."""
    return ArchiveError(f"{place}: is damaged; mend it with  medclip index verify --repair")


def read_array(file: Path) -> NDArray[Any]:
    """Map an array as numpy saves it, as a plain one: numpy's class for mapped arrays takes microseconds for each access.

    Raises:
        ArchiveError: the file is missing or damaged.
    """
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (
        OSError,
        ValueError,
        EOFError,
        LookupError,
        RecursionError,
        SyntaxError,
        TokenError,
        AttributeError,
        TypeError,
        OverflowError,
    ) as error:
        raise damaged(file) from error


def read_faiss(file: Path, flags: int, kind: str) -> Any:
    """Read FAISS's own format.

    Args:
        kind: FAISS's class of index that it must hold, or one derived of it.

    Raises:
        ArchiveError: the file is missing or damaged, or holds another kind.
    """
    if not file.is_file():
        raise ArchiveError(f"{file}: not found; mend it with  medclip index verify --repair")
    try:
        index = faiss().read_index(str(file), flags)
    except (RuntimeError, MemoryError) as error:
        raise damaged(file) from error
    if not isinstance(index, getattr(faiss(), kind)):
        raise damaged(file)
    return index


def found(positions: NDArray[np.int64], similarities: Vectors) -> Nearest:
    """Without FAISS's padding."""
    kept = positions >= 0
    return Nearest(positions[kept], similarities[kept])


def structure_names() -> list[str]:
    """Names of all structures, sorted."""
    return sorted(registered(Structure, _PACKAGE))  # type: ignore[type-abstract]


def load_structure(name: str) -> type[Structure]:
    """The structure of that name.

    Raises:
        ArchiveError: there is none.
    """
    found = registered_as(Structure, _PACKAGE, name)  # type: ignore[type-abstract]
    if found is None:
        raise ArchiveError(
            f"index structure {name!r} is not known to this medclip; it knows {', '.join(structure_names())}"
        )
    return found
