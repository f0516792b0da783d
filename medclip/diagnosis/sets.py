"""Sets of labels that hold the right one as often as is promised: split conformal prediction.

On patients left out it is known what probability the right class was given. A class belongs into the set of a new patient
unless its probability is among the lowest that were right: then it would be so for no more than one in ten (Vovk, Gammerman
and Shafer 2005, "Algorithmic Learning in a Random World", sections 2.2 and 4.5; the score is that of Sadinle, Lei and
Wasserman 2019, J. Am. Stat. Assoc. 114:223).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities

__all__ = ["COVERAGE", "LEAST_OF_CLASS", "Kind", "LabelSet", "Promise", "Scores"]

COVERAGE = 0.9
"""Of how many new patients a set is to hold the right label, where nothing else is asked for."""

LEAST_OF_CLASS = 20
"""Patients of a class from which it is judged by its own patients alone; rarer ones are judged together, and by all patients
where together they are rarer, too. At 90 % no class could be ruled out by 8 or fewer; by 20 its coverage is known to some 6 %
either way. Were the rare ones judged by all patients wherever there are others, they would seldom be within, and the sets of
MedPix' kinds of disease hold 0.86 to 0.88 of patients in place of 0.90."""

_SURE = 0.95
"""How sure a promise is that is made in spite of few patients (`Promise.in_spite_of_few`)."""

_ROUNDING = 1e-9  # 0.1 is no binary number: a rank on the edge stays there


Kind = Literal["class-conditional", "marginal", "mixed"]
"""Whether each class is judged by its own patients, all by all patients, or rare ones together or by all."""


@dataclass(frozen=True)
class Promise:
    """What a set is asked to promise."""

    coverage: float = COVERAGE  # of how many new patients it is to hold the right label, between 0 and 1
    in_spite_of_few: bool = False  # on average over archives, or by 19 in 20 archives of as many patients


@dataclass(frozen=True)
class LabelSet:
    """The classes that one answer cannot rule out, and what is known of the promise."""

    within: NDArray[np.bool_]  # (classes,)
    kind: Kind
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
    def _groups(self) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        """(classes, (n,) rows by which they are judged) of each class by itself, and of the rare ones."""
        own = self._patients >= LEAST_OF_CLASS - _ROUNDING
        classes = [*(np.asarray([number]) for number in np.flatnonzero(own)), np.flatnonzero(~own)]
        rows = [np.isin(self.labels, one) for one in classes]
        return [
            (one, judging if self.weights[judging].sum() >= LEAST_OF_CLASS - _ROUNDING else np.ones_like(judging))
            for one, judging in zip(classes, rows, strict=True)
            if len(one)
        ]

    def label_set(self, probabilities: Probabilities, promise: Promise) -> LabelSet | None:
        """The set for one query; None where too few patients were left out for any class to be ruled out.

        Args:
            probabilities: (classes,). The most probable class is always within, which can only add to the coverage.
        """
        total = float(self._patients.sum())
        within = np.zeros(self.classes, bool)
        known = []  # (share of patients, how many judge, rank) of each group
        for classes, rows in self._groups:
            right, weights = self.right[rows], self.weights[rows]
            rank = _rank(float(weights.sum()), promise)
            known.append((float(self._patients[classes].sum()) / total, float(weights.sum()), rank))
            for number in classes:
                within[number] = weights[right <= np.float32(probabilities[number])].sum() + 1 > rank + _ROUNDING
        if not any(rank for _, _, rank in known):
            return None
        within[probabilities.argmax()] = True
        return LabelSet(within, self._kind, _interval(known), round(total))

    @property
    def _kind(self) -> Kind:
        own = self._patients >= LEAST_OF_CLASS - _ROUNDING
        return "class-conditional" if own.all() else "mixed" if own.any() else "marginal"


def _interval(known: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """5th to 95th percentile of the coverage over archives.

    That of one group is distributed as Beta(n + 1 - l, l) (Vovk 2012, ACML 25:475, section 2); of several it is their mean,
    weighed by frequency. They are independent; the distribution of the mean is taken as the Beta of its mean and variance.

    Args:
        known: (share of all patients, n, l) of each group.
    """
    from scipy.special import betaincinv

    mean = sum(share * (1 - rank / (size + 1)) for share, size, rank in known)
    spread = sum(share**2 * rank * (size + 1 - rank) / ((size + 1) ** 2 * (size + 2)) for share, size, rank in known)
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
