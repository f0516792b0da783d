"""A query as its answer needs it: its parts as vectors, and what the model's fuser makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import Composition, Part

__all__ = ["QueryVectors", "query_vectors"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class QueryVectors:
    """Whoever has them answers without the model: nothing is left to be embedded or fused."""

    composition: Composition
    parts: Parts | None  # None for an archived case that is asked as if it were new: the probes are not asked then
    whole: Array  # (1, d) unit vector of all parts together
    rests: Mapping[Part, Array]  # part → (1, d) of the query without it, where there are several

    def without(self, part: Part) -> "QueryVectors":
        """The query less one of its several parts."""
        assert self.parts is not None, "there are several parts"
        rest = self.parts.only(set(self.parts.there) - {part})
        return QueryVectors(rest.composition, rest, self.rests[part], {})


def query_vectors(fuser: Fuser, parts: Parts) -> QueryVectors:
    """The vectors of a query of these parts."""
    there = parts.there if len(parts.there) > 1 else ()
    rests = {part: fuser.fuse([parts.only(set(there) - {part})]) for part in there}
    return QueryVectors(parts.composition, parts, fuser.fuse([parts]), rests)
