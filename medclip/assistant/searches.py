"""The searches of one question, or of many: those that are alike are made together, which is quicker in a large index."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medclip.index import CaseIndex, Hit
from medclip.index.filters import Filter

__all__ = ["Search", "Searches"]


class Search(NamedTuple):
    """What similar cases are searched for."""

    vector: NDArray[np.float32]  # (1, d) unit vector
    k: int
    kinds: tuple[str, ...]  # of views that may match
    where: Filter | None = None
    exclude_patient: str | None = None
    one_per_patient: bool = True
    words: str = ""  # a text whose words rank the cases, too


class Searches:
    """Searches of an index, within one snapshot of it."""

    def __init__(self, index: CaseIndex, wanted: Iterable[Search]) -> None:
        """Make those at once that will be asked for; others are made when they are.

        Raises:
            ArchiveError: as `CaseIndex.search`.
        """
        self._index = index
        self._made: dict[tuple[object, ...], list[Hit]] = {}
        groups: dict[tuple[object, ...], list[Search]] = {}
        for one in wanted:
            groups.setdefault((one.k, one.kinds, one.where, one.one_per_patient, bool(one.words)), []).append(one)
        for alike in groups.values():
            self._made.update((_key(one), hits) for one, hits in zip(alike, self._found(alike), strict=True))

    def hits(self, one: Search) -> list[Hit]:
        """What one search finds.

        Raises:
            ArchiveError: as `CaseIndex.search`.
        """
        made = self._made.get(_key(one))
        return self._found([one])[0] if made is None else made

    def _found(self, alike: Sequence[Search]) -> list[list[Hit]]:
        """What searches find that differ in vector, left-out patient and words alone."""
        first = alike[0]
        return self._index.search(
            np.concatenate([one.vector for one in alike]),
            first.k,
            kinds=first.kinds,
            where=first.where,
            exclude_patients=[one.exclude_patient for one in alike],
            one_per_patient=first.one_per_patient,
            words=[one.words for one in alike],
        )


def _key(one: Search) -> tuple[object, ...]:
    return (one.vector.tobytes(), *one[1:])
