"""What one generation of a local index looks like to a search, and the search of its parts."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import chain, islice

import numpy as np

from medclip.index.backends.base import Scope
from medclip.index.backends.local.columns import in_segment
from medclip.index.backends.local.segment import Part
from medclip.index.records import Near, Vectors
from medclip.index.structures.base import Compare, Mask, Nearest, Positions, refined, refined_together, similar
from medclip.index.structures.flat import FlatStructure

__all__ = ["State", "joined", "merged"]

_SPARE = 8  # deleted vectors that may be among the nearest before a mask is used
_MASKS = 16  # filters whose answers are remembered
_TOGETHER = 16 << 20  # bytes of vectors up to which what a filter allows is put together


class State:
    """What one generation of the index looks like to a search."""

    def __init__(
        self,
        cases: int,
        generation: int,
        base: int,
        segments: list[Part],
        recent: dict[str, Part],
        last_dead: int,
        read: Callable[[list[int]], Vectors],
    ) -> None:
        """As the catalogue says.

        Args:
            recent: kind → what came after the segments were made.
            last_dead: up to where what was deleted is known.
            read: rows → their stored vectors, within a snapshot of the catalogue.
        """
        self._read = read
        self.cases, self.generation, self.base, self.last_dead = cases, generation, base, last_dead
        self.segments, self.recent = segments, recent
        self.parts = [part for part in (*segments, *recent.values()) if len(part.columns)]
        self.alone = all(part.structure.exact or part.compare is not None for part in self.parts)
        self.masks: OrderedDict[tuple[int, object, object], Mask] = OrderedDict()

    def parts_of(self, kinds: Collection[str] | None) -> list[Part]:
        """Those that may hold views of these kinds; all where None."""
        return [part for part in self.parts if kinds is None or part.kind is None or part.kind in kinds]

    def mask(self, part: Part, scope: Scope) -> Mask | None:
        """Which vectors of a part a search goes over; None where all."""
        kinds = scope.kinds if part.kind is None else None
        if kinds is None and scope.where is None and not part.dead:
            return None
        key = (id(part), kinds, scope.where)
        if key not in self.masks:
            allowed = part.alive
            if kinds is not None:
                allowed = allowed & part.columns.among_kinds(kinds)
            if scope.where is not None:
                allowed = allowed & part.columns.matching(scope.where)
            self.masks[key] = Mask(allowed)
            if len(self.masks) > _MASKS:
                self.masks.popitem(last=False)
        self.masks.move_to_end(key)
        return self.masks[key]

    @property
    def beside(self) -> int:
        """How many living vectors stand in no segment."""
        return sum(len(part.columns) - part.dead for part in self.recent.values())

    @property
    def masked(self) -> int:
        """How many deleted ones the segments hold."""
        return sum(part.dead for part in self.segments)

    def near_in(self, part: Part, queries: Vectors, want: int, scope: Scope) -> list[list[Near]]:
        """What of one part is near each query; what is known of it is read together, which is quicker."""
        want = min(want, len(part.columns))
        if self.mask(part, scope) is None:
            with in_segment:
                many = refined_together(part.structure, queries, want, self._comparer(part))
        else:
            many = [self.nearest_in(part, query, want, scope) for query in queries]
        positions, similarities = ([getattr(got, of) for got in many] for of in ("positions", "similarities"))
        near = iter(part.columns.near(np.concatenate(positions), np.concatenate(similarities)))
        return [list(islice(near, len(got.positions))) for got in many]

    def nearest_in(self, part: Part, query: Vectors, want: int, scope: Scope) -> Nearest:
        """The nearest of one part; where only a few are deleted, some more are asked and the deleted left out."""
        with in_segment:
            compare, whole = self._comparer(part), part.kind is not None or scope.kinds is None
            keeps = part.compare is not None or not part.structure.lossy  # what it takes to compare the deleted, too
            if part.dead and keeps and whole and scope.where is None:
                got = refined(part.structure, query, min(want + _SPARE, len(part.columns)), None, compare)
                alive = part.alive[got.positions]
                if np.count_nonzero(alive) >= want:
                    return Nearest(got.positions[alive][:want], got.similarities[alive][:want])
            mask = self.mask(part, scope)
            narrows = mask is None or part.structure.exact or part.structure.narrows
            if mask is not None and not narrows and mask.count * part.structure.dimension * 4 <= _TOGETHER:
                return self._compared(part, query, want, mask)
            return refined(part.structure, query, want, mask, compare)

    def _compared(self, part: Part, query: Vectors, want: int, mask: Mask) -> Nearest:
        """Exactly, among the few that are allowed: they are put together once, and found quicker than in any structure."""
        notes = mask.notes(part)
        if "together" not in notes:
            allowed = np.flatnonzero(mask.allowed)
            notes["together"] = (allowed, FlatStructure.of(self.stored(part, allowed)))
        allowed, together = notes["together"]
        got = together.nearest(query, max(1, want))
        return Nearest(allowed[got.positions], got.similarities)

    def stored(self, part: Part, positions: Positions) -> Vectors:
        """(n, d) vectors as the catalogue has them."""
        return self._read(part.columns.rows[positions].tolist())

    def _comparer(self, part: Part) -> Compare:
        """Compares with the vectors of a part: mapped ones, or those of the catalogue."""
        if part.compare is not None:
            return part.compare

        def compare(positions: Positions, queries: Vectors) -> Vectors:
            return similar(self.stored(part, positions.ravel()).reshape(*positions.shape, -1), queries)

        return compare


def joined(first: Part, then: Part) -> Part:
    """Two parts in memory as one."""
    assert isinstance(first.structure, FlatStructure)
    assert isinstance(then.structure, FlatStructure)
    structure = first.structure.followed_by(then.structure)
    part = Part(first.kind, first.columns.followed_by(then.columns), structure)
    part.alive[: len(first.alive)] = first.alive
    part.dead = first.dead
    return part


def merged(found: list[list[Near]], want: int) -> list[Near]:
    """The nearest of what several parts found, each in its order."""
    if len(found) == 1:
        return found[0][:want]
    return sorted(chain(*found), key=lambda near: -near.similarity)[:want]
