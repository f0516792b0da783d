"""Whose vote counts: through which views the archive is asked, how many similar cases vote, and how each votes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from medclip.diagnosis.voting import Ballot
from medclip.fusion.composition import Composition, ViewKind

__all__ = ["VOTERS", "Neighbour", "ballots_of", "kinds_for"]

VOTERS = 10
"""How many similar cases vote, one a patient, however many are shown: as many as when the answers were fitted."""


class Neighbour(Protocol):
    """A similar case as it was found."""

    @property
    def case_id(self) -> str: ...

    @property
    def similarity(self) -> float: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def kinds_for(composition: Composition) -> tuple[ViewKind, ...]:
    """Which views of the archive a query is compared with.

    A query of several modalities is compared with whole cases: with single views it would be drawn to any case of a
    like history, whatever its scans show.
    """
    alone: dict[Composition, tuple[ViewKind, ...]] = {
        "scan": ("scan", "fused"),
        "history": ("report", "history", "fused"),
        "report": ("report", "history", "fused"),
        "history+report": ("report", "history", "fused"),
        "measurements": ("measurements", "fused"),
    }
    return alone.get(composition, ("fused",))


def ballots_of(neighbours: Sequence[Neighbour], label_set: str) -> list[Ballot]:
    """Similar cases as voters on one label set; each speaks for the view by which it was found."""
    return [Ballot(one.case_id, one.similarity, one.labels.get(label_set)) for one in neighbours]
