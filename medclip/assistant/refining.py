"""Asking again: a query less one of its parts, by a region of a scan, or drawn to some archived cases and away from others.

What is refined is what is *shown*. Who votes, and so every label, stays that of the query itself: the answers were fitted on
voters who were found so. Only `Refinement.without` makes another query, with its own composition, voters and answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.assistant.answer import MarkedRegion, Ranking, Refined
from medclip.assistant.vectors import QueryVectors
from medclip.diagnosis.neighbours import kinds_for
from medclip.errors import RefinementError
from medclip.fusion.case_vector import unit
from medclip.fusion.composition import Part, ViewKind
from medclip.index import CaseIndex
from medclip.modalities.scan.pictures import ScanPictures

__all__ = [
    "LEAST_PIXELS",
    "LIKE",
    "UNLIKE",
    "Display",
    "Refinement",
    "Region",
    "crop",
    "display_of",
    "ranking_by",
    "rocchio",
]

Array = NDArray[np.float32]

LIKE, UNLIKE = 1.5, 0.5
"""Weights of the mean of the liked and of the unliked cases in Rocchio's sum, where the query's is 1. Chosen on MedPix' dev
cases, in the middle of what is flat: from 1 to 3 and 0.1 to 0.75 the share of the first ten moves by 0.02 (docs/figures.md)."""

LEAST_PIXELS = 16
"""On either side of a region: below it there is next to nothing to be enlarged."""


@dataclass(frozen=True)
class Region:
    """A rectangle on a scan of the query."""

    scan: int  # from 1
    box: tuple[float, float, float, float]  # left, top, right, bottom as shares of the shown picture's width and height
    slice: int | None = None  # from 1, of those that were read (`ScanPictures.pictures`); the middle one where None

    @classmethod
    def parse(cls, text: str) -> "Region":
        """A region as it is written: ``SCAN:LEFT,TOP,RIGHT,BOTTOM`` or ``SCAN/SLICE:...``.

        Raises:
            ValueError: it is not written so.
        """
        place, _, box = text.partition(":")
        scan, _, number = place.partition("/")
        left, top, right, bottom = (float(one) for one in box.split(","))
        return cls(int(scan), (left, top, right, bottom), int(number) if number else None)

    def __str__(self) -> str:
        """As `parse` reads it."""
        place = f"{self.scan}" if self.slice is None else f"{self.scan}/{self.slice}"
        return f"{place}:{','.join(f'{one:g}' for one in self.box)}"


@dataclass(frozen=True)
class Refinement:
    """What is changed about a query when it is asked again; nothing by default."""

    like: tuple[str, ...] = ()  # case ids: more like these
    unlike: tuple[str, ...] = ()  # not like these, and they are hidden
    without: tuple[Part, ...] = ()  # parts of the query that are taken out
    region: Region | None = None  # the cases shown are searched by this alone, among scans
    distinct: bool = False  # hide cases one of whose scans looks the same as one of a case above

    def __post_init__(self) -> None:
        for name in ("like", "unlike", "without"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    @property
    def marks(self) -> tuple[str, ...]:
        """All marked cases."""
        return (*self.like, *self.unlike)


@dataclass(frozen=True)
class Display:
    """How the cases that are shown are searched for where a query was refined."""

    vector: Array  # (1, d) unit vector
    kinds: tuple[ViewKind, ...]  # of the views that are searched
    applied: Refined  # as the answer says it


def crop(scans: Sequence[ScanPictures], region: Region) -> ScanPictures:
    """The region as a scan of its own.

    Raises:
        RefinementError: there is no such scan or slice, or the box is none or too small.
    """
    name = f"region of scan {region.scan}"
    if not 1 <= region.scan <= len(scans):
        raise RefinementError(f"{name}: the query has {len(scans)} scans; name one of them, counted from 1")
    pictures = scans[region.scan - 1].pictures
    number = len(pictures) // 2 + 1 if region.slice is None else region.slice
    if not 1 <= number <= len(pictures):
        raise RefinementError(f"{name}: of it {len(pictures)} slices were read; name one of them, counted from 1")
    left, top, right, bottom = region.box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise RefinementError(f"{name}: its box is left,top,right,bottom as shares of the picture, from 0 to 1")
    picture = pictures[number - 1]
    height, width = picture.shape
    rows = slice(round(top * height), round(bottom * height))
    columns = slice(round(left * width), round(right * width))
    cut = np.ascontiguousarray(picture[rows, columns])
    if min(cut.shape) < LEAST_PIXELS:
        raise RefinementError(
            f"{name}: is {cut.shape[1]} × {cut.shape[0]} of the picture's pixels; mark at least {LEAST_PIXELS} × {LEAST_PIXELS}"
        )
    return ScanPictures((cut,), 1)


def rocchio(asked: Array, like: Array, unlike: Array, weights: tuple[float, float] = (LIKE, UNLIKE)) -> Array:
    """A (1, d) unit vector, drawn to the mean of (n, d) unit vectors and away from that of (m, d) others.

    Source: Rocchio, "Relevance feedback in information retrieval" (1971).
    """
    moved = asked.copy()
    for weight, marked in zip((weights[0], -weights[1]), (like, unlike), strict=True):
        if len(marked):
            moved += np.float32(weight) * marked.mean(0)
    return unit(moved)


def display_of(
    index: CaseIndex, asked: QueryVectors, refinement: Refinement, region: Array | None = None
) -> Display | None:
    """How the cases are searched for that are shown; None where nothing was refined.

    Args:
        region: (1, d) unit vector of `Refinement.region`.

    Raises:
        ArchiveError: a marked case is not there.
        RefinementError: a case is marked as both.
    """
    if refinement == Refinement():
        return None
    if both := sorted({*refinement.like} & {*refinement.unlike}):
        raise RefinementError(f"case {both[0]}: is marked as like and as unlike; choose one")
    vector = asked.whole if region is None else region
    kinds: tuple[ViewKind, ...] = kinds_for(asked.composition) if region is None else ("scan",)
    if refinement.marks:
        if region is None:
            kinds = (
                "fused",
            )  # a marked case is marked as a whole; with single views, marks gain less (docs/figures.md)
        like, unlike = (_marked(index, ids) for ids in (refinement.like, refinement.unlike))
        vector = rocchio(vector, like, unlike)
    return Display(vector, kinds, _applied(refinement, kinds))


def ranking_by(display: Display | None, *, words: bool) -> Ranking:
    """By what the cases that are shown are ranked."""
    if display is None or (display.applied.weights is None and display.applied.region is None):
        return "similarity and words" if words else "similarity"
    return "refined similarity and words" if words else "refined similarity"


def _marked(index: CaseIndex, ids: Sequence[str]) -> Array:
    """(n, d) of the cases' fused views."""
    vectors = [view.vector for one in ids for view in index.views_of(one) if view.kind == "fused"]
    return np.stack(vectors) if vectors else np.empty((0, index.dimension), np.float32)


def _applied(refinement: Refinement, kinds: tuple[ViewKind, ...]) -> Refined:
    region = refinement.region
    return Refined(
        like=list(refinement.like),
        unlike=list(refinement.unlike),
        without=list(refinement.without),
        region=None if region is None else MarkedRegion(scan=region.scan, slice=region.slice, box=region.box),
        distinct=refinement.distinct,
        weights=[1.0, LIKE, UNLIKE] if refinement.marks else None,
        views=list(kinds),
        copies=[],
    )
