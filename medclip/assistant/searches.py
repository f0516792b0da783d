"""The searches of one question, or of many: those that are alike are made together, which is quicker in a large index."""

from collections.abc import Iterable
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

    def __init__(self, index: CaseIndex) -> None:
        self._index = index
        self._made: dict[tuple[object, ...], list[Hit]] = {}

    def ahead(self, wanted: Iterable[Search]) -> None:
        """Make those now that can be made together; others are made when they are asked for."""
        groups: dict[tuple[object, ...], list[Search]] = {}
        for one in wanted:
            if not one.words:
                groups.setdefault((one.k, one.kinds, one.where, one.one_per_patient), []).append(one)
        for alike in groups.values():
            first = alike[0]
            found = self._index.search(
                np.concatenate([one.vector for one in alike]),
                first.k,
                kinds=first.kinds,
                where=first.where,
                exclude_patients=[one.exclude_patient for one in alike],
                one_per_patient=first.one_per_patient,
            )
            self._made.update((_key(one), hits) for one, hits in zip(alike, found, strict=True))

    def hits(self, one: Search) -> list[Hit]:
        """What one search finds.

        Raises:
            ArchiveError: as `CaseIndex.search`.
        """
        made = self._made.get(_key(one))
        if made is not None:
            return made
        return self._index.search(
            one.vector,
            one.k,
            kinds=one.kinds,
            where=one.where,
            exclude_patients=[one.exclude_patient],
            one_per_patient=one.one_per_patient,
            words=[one.words] if one.words else [],
        )[0]


def _key(one: Search) -> tuple[object, ...]:
    return (one.vector.tobytes(), *one[1:])
