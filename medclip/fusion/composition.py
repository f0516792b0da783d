"""What queries and the views of a case are made of: the words for it, which every room above fusion shares."""

from collections.abc import Collection
from typing import Literal, get_args

__all__ = [
    "COMPOSITIONS",
    "MODALITIES",
    "PARTS",
    "VIEW_KINDS",
    "Composition",
    "Modality",
    "Part",
    "ViewKind",
    "by_modality",
    "composed",
    "parts_of",
]

Modality = Literal["scan", "text", "measurements"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
"""The order of a case's tokens: one for each modality."""

Part = Literal["scan", "history", "report", "measurements"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What of a patient a query may show. History and report are both text, but say different things: a new patient has a
history, an archived one a report, too."""

Composition = Literal[
    "scan", "history", "report", "measurements",
    "scan+history", "scan+report", "scan+measurements",
    "history+report", "history+measurements", "report+measurements",
    "scan+history+report", "scan+history+measurements", "scan+report+measurements", "history+report+measurements",
    "scan+history+report+measurements",
]  # fmt: skip
"""Of which parts a query is made; each is fitted, calibrated and measured for itself."""
COMPOSITIONS: tuple[Composition, ...] = get_args(Composition)

ViewKind = Literal["scan", "report", "history", "measurements", "fused"]
"""What of a case one of its vectors stands for."""
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

_BY_PARTS: dict[frozenset[str], Composition] = {frozenset(one.split("+")): one for one in COMPOSITIONS}


def composed(parts: Collection[str]) -> Composition:
    """The composition of the parts that are there.

    Raises:
        LookupError: there is none, or one that is no part.
    """
    return _BY_PARTS[frozenset(parts)]


def parts_of(composition: Composition) -> tuple[Part, ...]:
    """The parts that a composition is of, in their order."""
    there = composition.split("+")
    return tuple(part for part in PARTS if part in there)


def by_modality(composition: Composition) -> tuple[tuple[Part, ...], ...]:
    """The parts that a composition is of, history and report together."""
    parts = parts_of(composition)
    groups: tuple[tuple[Part, ...], ...] = (("scan",), ("history", "report"), ("measurements",))
    found = (tuple(part for part in group if part in parts) for group in groups)
    return tuple(group for group in found if group)
