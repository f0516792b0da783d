"""Sets of labels that hold the right one as often as is promised: split conformal prediction.

On patients left out it is known what probability the right class was given. A class belongs into the set of a new patient
unless its probability is among the lowest that were right: then it would be so for no more than one in ten (Vovk, Gammerman
and Shafer 2005, "Algorithmic Learning in a Random World", sections 2.2 and 4.5; the score is that of Sadinle, Lei and
Wasserman 2019, J. Am. Stat. Assoc. 114:223).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities

__all__ = ["COVERAGE", "LEAST_OF_CLASS", "LabelSet", "Promise", "Scores"]

COVERAGE = 0.9
"""Of how many new patients a set is to hold the right label, where nothing else is asked for."""

LEAST_OF_CLASS = 20
"""Patients of a class from which it is judged by its own patients alone: of fewer, those of all classes are taken. At 90 %
no class could be left out by 8 or fewer; by 20 its coverage is known to some 6 % either way."""

_SURE = 0.95
"""How sure a promise is that is made in spite of few patients (`Promise.in_spite_of_few`)."""

_ROUNDING = 1e-9  # 0.1 is no binary number: a rank on the edge stays there


@dataclass(frozen=True)
class Promise:
    """What a set is asked to promise."""

    coverage: float = COVERAGE  # of how many new patients it is to hold the right label, between 0 and 1
    in_spite_of_few: bool = False  # on average over archives, or by 19 in 20 archives of as many patients


@dataclass(frozen=True)
class LabelSet:
    """The classes that one answer cannot rule out, and what is known of the promise."""

    within: NDArray[np.bool_]  # (classes,)
    own: NDArray[np.bool_]  # (classes,) whether a class was judged by its own patients
    interval: tuple[float, float]  # 5th to 95th percentile of the coverage over archives of as many patients
    patients: int


@dataclass(frozen=True)
class Scores:
    """What probability patients left out were given for the class that was theirs."""

    labels: NDArray[np.int64]  # (n,)
    weights: NDArray[np.float32]  # (n,); those of one patient sum to one
    right: NDArray[np.float32]  # (n,) probability of the right class
    classes: int

    @cached_property
    def _patients(self) -> NDArray[np.float64]:
        """(classes,) patients of each class; one with scans of two classes counts to each by their share."""
        return np.bincount(self.labels, weights=self.weights, minlength=self.classes).astype(np.float64)

    @cached_property
    def _own(self) -> NDArray[np.bool_]:
        return self._patients >= LEAST_OF_CLASS - _ROUNDING

    def label_set(self, probabilities: Probabilities, promise: Promise) -> LabelSet | None:
        """The set for one query; None where too few patients were left out for any class to be ruled out.

        Args:
            probabilities: (classes,). The most probable class is always within, which can only add to the coverage.
        """
        total = float(self._patients.sum())
        sizes = np.where(self._own, self._patients, total)
        ranks = np.asarray([_rank(size, promise) for size in sizes])
        if not ranks.any():
            return None
        below = np.empty(self.classes)
        for number, own in enumerate(self._own):
            among = self.labels == number if own else slice(None)
            below[number] = self.weights[among][self.right[among] <= np.float32(probabilities[number])].sum()
        within = below + 1 > ranks + _ROUNDING
        within[probabilities.argmax()] = True
        return LabelSet(within, self._own, self._interval(sizes, ranks), round(total))

    def _interval(self, sizes: NDArray[np.float64], ranks: NDArray[np.int64]) -> tuple[float, float]:
        """Coverage of a class is distributed as Beta(n + 1 - l, l) over archives (Vovk 2012, ACML 25:475, section 2).

        Over all classes it is their mean, weighed by frequency: of classes judged by themselves they are independent, the
        others hang together. Its distribution is taken as the Beta of the same mean and variance; exact for one group.
        """
        from scipy.special import betaincinv

        shares = self._patients / self._patients.sum()
        groups = [(float(shares[i]), float(sizes[i]), int(ranks[i])) for i in np.flatnonzero(self._own)]
        if rest := float(shares[~self._own].sum()):
            first = int(np.flatnonzero(~self._own)[0])
            groups.append((rest, float(sizes[first]), int(ranks[first])))
        mean = sum(share * (1 - rank / (size + 1)) for share, size, rank in groups)
        spread = sum(
            share**2 * rank * (size + 1 - rank) / ((size + 1) ** 2 * (size + 2)) for share, size, rank in groups
        )
        if not spread:
            return (mean, mean)
        strength = mean * (1 - mean) / spread - 1
        low, high = betaincinv(mean * strength, (1 - mean) * strength, [0.05, 0.95])
        return float(low), float(high)


def _rank(size: float, promise: Promise) -> int:
    """Of how many of the least probable, among so many patients and the new one, a class is ruled out."""
    rank = int((size + 1) * (1 - promise.coverage) + _ROUNDING)
    if promise.in_spite_of_few:
        from scipy.special import betainc

        while rank and betainc(size + 1 - rank, rank, promise.coverage) > 1 - _SURE:
            rank -= 1
    return rank
