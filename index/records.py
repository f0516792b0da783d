"""All that passes an index's door: what is put into it, what is found in it, what a change did."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.identifiers import id_fault

__all__ = [
    "Counts",
    "Entry",
    "Fact",
    "Hit",
    "Kept",
    "Key",
    "Near",
    "Record",
    "Removed",
    "State",
    "VectorView",
    "Vectors",
    "checked",
]

Vectors = NDArray[np.float32]
Fact = tuple[str, ...] | tuple[float, ...]
"""The values of one field of a case: none where it is unknown, several where a case has several; one for numbers."""


@dataclass(frozen=True)
class Record:
    """A case as the index keeps it."""

    id: str
    patient: str
    labels: dict[str, str]
    document: dict[str, Any]  # JSON; what it holds is the caller's business
    facts: Mapping[str, Fact] = field(default_factory=dict)  # what filters may ask for
    text: str = ""  # what a search for words goes over
    content: str = ""  # hash of all that the case was made from; another one means that it has changed


class Kept(NamedTuple):
    """What a list shows of a case."""

    record: Record
    thumbnails: tuple[int, ...]  # numbers of the scans that have one


@dataclass(frozen=True)
class VectorView:
    """One vector of a case."""

    kind: str
    number: int
    vector: Vectors  # (d,) unit vector
    labels: dict[str, str]  # the labels that hold for this view


@dataclass(frozen=True)
class Entry:
    """A case that is to be indexed."""

    record: Record
    views: Sequence[VectorView]
    thumbnails: dict[int, bytes]


class Hit(NamedTuple):
    """A case found, by the view of it that is most similar to the query."""

    case_id: str
    patient: str
    similarity: float  # cosine
    kind: str
    number: int
    labels: dict[str, str]  # of that view


class Near(NamedTuple):
    """A view near a query."""

    case_id: str
    patient: str
    kind: str
    number: int
    labels: str  # JSON
    similarity: float


class Key(NamedTuple):
    """What of a view the columns are made of."""

    row: int
    case: int
    patient: int
    number: int
    kind: str
    facts: str  # JSON
    labels: str  # JSON
    case_id: str
    patient_id: str


class Counts(NamedTuple):
    """How much there is."""

    cases: int
    patients: int
    views: int


class State(NamedTuple):
    """Which state of an index was read."""

    cases: int
    generation: int  # how many changes there were
    digest: str  # of each case's id and the hash of what it was made from: the same cases have the same, in any index


@dataclass(frozen=True)
class Removed:
    """What was deleted of one case."""

    case_id: str
    vectors: int
    thumbnails: int
    words: int  # of its texts


def _fault(entry: Entry, dimension: int) -> str | None:
    record = entry.record
    for what, value in (("id", record.id), ("patient", record.patient)):
        if (fault := id_fault(value)) is not None:
            return f"its {what} {fault}"
    if not entry.views:
        return "it has no vector"
    if len(entry.views) > 1 and len({(view.kind, view.number) for view in entry.views}) != len(entry.views):
        return "two of its vectors have one kind and number"
    for view in entry.views:
        if view.vector.ndim != 1 or len(view.vector) != dimension:
            return "its vectors are of another width than the index's; embed all cases with one model"
        square = float(view.vector @ view.vector)
        if not math.isfinite(square):
            return "a vector of it holds NaN or infinity"
        if abs(square - 1) > 2e-3:
            return "a vector of it is not of unit length, so its cosine would be wrong"
    return None


def checked(entries: Iterable[Entry], dimension: int) -> Iterator[Entry]:
    """The same entries, each looked at before it may enter an index.

    Args:
        dimension: width of the index's vectors.

    Raises:
        ArchiveError: an id is given twice or cannot be an id, or a vector is not a finite unit vector of that width.
    """
    seen: set[str] = set()
    for entry in entries:
        fault = _fault(entry, dimension)
        if fault is not None:
            raise ArchiveError(f"case {entry.record.id[:200]!r}: cannot be indexed: {fault}")
        if entry.record.id in seen:
            raise ArchiveError(f"case {entry.record.id} is given twice; case ids must be unique")
        seen.add(entry.record.id)
        yield entry
