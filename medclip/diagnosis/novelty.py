"""How unlike an archive a scan or text is, as a p-value: which share of the archive's own are as unlike.

A measure of unlikeness becomes a p-value by what archived patients have of it (conformal anomaly detection, Laxhammar and
Falkman 2010, doi 10.1109/CIMSA.2010.5611776): of what is like the archive, one in twenty has a p-value below 0.05, whatever
the measure. Measures are taken of what the frozen towers give, which tells the unfamiliar apart better than probabilities of
labels do (Lee et al. 2018, arXiv 1807.03888).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Reference", "reference_of"]

Array = NDArray[np.float32]
Scores = NDArray[np.float64]

LEVEL = 0.05
"""Below this p-value something is called unlike the archive: so is one in twenty of what is like it."""


@dataclass(frozen=True)
class Reference:
    """What of one kind (scans, histories, reports) an archive holds."""

    measures: Array  # (measures, n) of archived ones; larger is more unlike
    weights: Array  # (n,); those of one patient sum to one

    @property
    def patients(self) -> int:
        """How many they are of."""
        return round(float(self.weights.sum()))

    @property
    def can_tell(self) -> bool:
        """Whether there are enough patients for any p-value to be below `LEVEL`."""
        return 1 / (self.patients + 1) < LEVEL

    def p_values(self, measures: Sequence[Array]) -> Scores:
        """(n,) of n others.

        Args:
            measures: (n,) each, as those of the reference.
        """
        each = [_p(own, found, self.weights) for own, found in zip(self.measures, measures, strict=True)]
        return _p(self._together, _fisher(each), self.weights)

    @cached_property
    def _together(self) -> Scores:
        """(n,) of the archived ones."""
        return _fisher([_p(own, own, self.weights, among=True) for own in self.measures])


def _fisher(p_values: Sequence[Scores]) -> Scores:
    """Several p-values as one measure (Fisher 1932); it is no p-value yet, since they hang together."""
    return np.asarray(-np.log(np.asarray(p_values)).sum(0))


def _p(own: NDArray[np.floating], found: NDArray[np.floating], weights: Array, *, among: bool = False) -> Scores:
    """(n,) share of the archived measures that are not below each of those found, which counts as one more.

    Args:
        among: those found are the archived ones themselves.
    """
    order = np.argsort(-own)
    above = np.concatenate([[0.0], np.cumsum(weights[order], dtype=np.float64)])
    reached = above[np.searchsorted(-own[order], -found, side="right")]
    return np.asarray((reached + (1 - weights if among else 1)) / (above[-1] + 1))


def reference_of(measures: Sequence[Array], patients: Sequence[str]) -> Reference:
    """What an archive holds of one kind.

    Args:
        measures: (n,) each, of archived scans or texts.
        patients: (n,).
    """
    own = Counter(patients)
    weights = np.asarray([1 / own[patient] for patient in patients], np.float32)
    return Reference(np.asarray(measures, np.float32), weights)
