"""What queries and the views of a case are made of: the words for it, which every room above fusion shares."""

from typing import Literal, get_args

__all__ = ["COMPOSITIONS", "MODALITIES", "VIEW_KINDS", "Composition", "Modality", "ViewKind", "composition_of"]

Modality = Literal["scan", "text", "measurements"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
"""The order of a case's tokens: one for each modality."""

Composition = Literal[
    "scan", "text", "measurements", "scan+text", "scan+measurements", "text+measurements", "scan+text+measurements"
]
"""Of which modalities a query is made."""
COMPOSITIONS: tuple[Composition, ...] = get_args(Composition)

ViewKind = Literal["scan", "report", "history", "measurements", "fused"]
"""What of a case one of its vectors stands for."""
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)

_BY_MODALITIES = {frozenset(one.split("+")): one for one in COMPOSITIONS}


def composition_of(*, scan: bool, text: bool, measurements: bool) -> Composition:
    """The composition of the modalities that are there.

    Raises:
        LookupError: none is.
    """
    there = (scan, text, measurements)
    return _BY_MODALITIES[frozenset(name for name, known in zip(MODALITIES, there, strict=True) if known)]
