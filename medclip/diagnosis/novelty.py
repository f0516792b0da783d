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

_ROUNDING = 1e-9  # sums of the same logarithms


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
        return np.asarray([self._p_value(np.asarray(one)) for one in zip(*measures, strict=True)])

    def first(self, measure: Array) -> Scores:
        """(n,) p-values by the first measure alone."""
        reached = self.weights @ (self.measures[0][:, None] >= measure)
        return np.asarray((reached + 1) / (self.weights.sum() + 1), np.float64)

    def _p_value(self, given: Array) -> float:
        """Of one with (measures,): its measures and each archived one's become shares of all that are not below them, itself
        among them, and the logarithms of these shares are summed (Fisher 1932)."""
        reached = given[:, None] >= self.measures  # those to which this one is added
        own = np.log(self._not_below + reached).sum(0)
        new = np.log((self.weights * (self.measures >= given[:, None])).sum(1) + 1).sum()
        return float((self.weights[own <= new + _ROUNDING].sum() + 1) / (self.weights.sum() + 1))

    @cached_property
    def _not_below(self) -> Scores:
        """(measures, n) patients' worth of archived ones that are not below each."""
        found = np.empty(self.measures.shape)
        for row, own in zip(found, self.measures, strict=True):
            order = np.argsort(-own)
            above = np.concatenate([[0.0], np.cumsum(self.weights[order], dtype=np.float64)])
            row[:] = above[np.searchsorted(-own[order], -own, side="right")]
        return found


def reference_of(measures: Sequence[Array], patients: Sequence[str]) -> Reference:
    """What an archive holds of one kind.

    Args:
        measures: (n,) each, of archived scans or texts.
        patients: (n,).
    """
    own = Counter(patients)
    weights = np.asarray([1 / own[patient] for patient in patients], np.float32)
    return Reference(np.asarray(measures, np.float32), weights)
