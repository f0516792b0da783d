"""Sets of labels that hold the right one as often as is promised: conformal prediction.

On patients left out it is known what probability the right class was given. A class belongs into the set of a new patient
unless its probability is among the lowest that were right: then it would be so for no more than one in ten (Vovk, Gammerman
and Shafer 2005, "Algorithmic Learning in a Random World", sections 2.2 and 4.5; the score is that of Sadinle, Lei and
Wasserman 2019, J. Am. Stat. Assoc. 114:223). A patient of several scans weighs as much as one of one (Lee, Barber and
Willett 2023, arXiv 2306.06342).

The patients are left out fold by fold, and a new one is answered by what is fitted on all folds, which knows a little more
(cross-conformal prediction: Vovk 2015, Ann. Math. Artif. Intell. 74:9). What is proven for one fold is measured for this
(``medclip evaluate`` tells the coverage).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.beta import beta_distribution, beta_quantile
from medclip.metrics.probabilities import Probabilities

__all__ = ["COVERAGE", "LEAST_OF_CLASS", "Group", "Kind", "LabelSet", "Promise", "Scores"]

COVERAGE = 0.9
"""Of how many new patients a set is to hold the right label, where nothing else is asked for."""

LEAST_OF_CLASS = 20
"""Patients of a class from which it is judged by its own patients alone; rarer ones are judged together, and with the next
larger classes as long as together they are rarer, too. At 90 % no class could be ruled out by 8 or fewer; by 20 its coverage
is known to some 6 % either way. Were the rare ones judged by all patients, they would seldom be within, and the sets of
MedPix' kinds of disease hold 0.86 to 0.88 of patients in place of 0.90."""

_LEAST_COVERAGE = 0.5
"""A set must hold the right label for more than so many: else it is no more often right than wrong."""

_SURE = 0.95
"""How sure a promise is that is made in spite of few patients (`Promise.in_spite_of_few`)."""

_ROUNDING = 1e-9  # 0.1 is no binary number: a rank on the edge stays there


Kind = Literal["class-conditional", "marginal", "mixed"]
"""Whether each class is judged by its own patients, all by all patients, or the larger by their own and the rest together."""


@dataclass(frozen=True)
class Promise:
    """What a set is asked to promise."""

    coverage: float = COVERAGE  # share of new patients for whom it is to hold the right label
    in_spite_of_few: bool = False  # on average over archives, or by 19 in 20 archives of as many patients

    def __post_init__(self) -> None:
        """Refuse what cannot be promised.

        Raises:
            ValueError: the coverage is no more than a half, or is everyone.
        """
        if not _LEAST_COVERAGE < self.coverage < 1:
            raise ValueError(f"must be above {_LEAST_COVERAGE:g} and below 1")


@dataclass(frozen=True)
class LabelSet:
    """The classes that one answer cannot rule out, and what is known of the promise."""

    within: NDArray[np.bool_]  # (classes,)
    empty: bool  # whether every class was ruled out; the most probable one is within all the same
    kind: Kind
    interval: tuple[float, float]  # 5th to 95th percentile of the coverage over archives of as many patients
    patients: int


@dataclass(frozen=True)
class Group:
    """Classes that are judged together."""

    classes: tuple[int, ...]  # numbers
    patients: float


@dataclass(frozen=True)
class Scores:
    """What probability patients left out were given for the class that was theirs."""

    labels: NDArray[np.int64]  # (n,)
    weights: NDArray[np.float32]  # (n,); those of one patient sum to one
    right: NDArray[np.float32]  # (n,) probability of the right class
    classes: int

    @cached_property
    def patients(self) -> NDArray[np.float64]:
        """(classes,) patients of each class; one with scans of two classes counts to each by their share."""
        return np.bincount(self.labels, weights=self.weights, minlength=self.classes).astype(np.float64)

    @cached_property
    def groups(self) -> list[Group]:
        """Each class that is judged by its own patients, most patients first, then the rest together."""
        order = np.argsort(-self.patients, kind="stable")
        enough = LEAST_OF_CLASS - _ROUNDING
        own = int((self.patients >= enough).sum())
        while 0 < own < self.classes and self.patients[order[own:]].sum() < enough:
            own -= 1
        classes = [*([number] for number in order[:own].tolist()), order[own:].tolist()]
        return [Group(tuple(one), float(self.patients[one].sum())) for one in classes if one]

    @cached_property
    def _of_groups(self) -> list[tuple[Group, NDArray[np.float32], NDArray[np.float32]]]:
        """Each group with the probabilities that its patients' classes were given, and what each counts."""
        rows = [np.isin(self.labels, group.classes) for group in self.groups]
        return [(group, self.right[of], self.weights[of]) for group, of in zip(self.groups, rows, strict=True)]

    def label_set(self, probabilities: Probabilities, promise: Promise) -> LabelSet | None:
        """The set for one query; None where too few patients were left out for any class to be ruled out.

        Args:
            probabilities: (classes,). The most probable class is always within, which can only add to the coverage.
        """
        interval = self.interval(promise)
        if interval is None:
            return None
        within = np.zeros(self.classes, bool)
        for group, right, weights in self._of_groups:
            rank = _rank(group.patients, promise)
            for number in group.classes:
                within[number] = weights[right <= np.float32(probabilities[number])].sum() + 1 > rank + _ROUNDING
        empty = not within.any()
        within[probabilities.argmax()] = True
        return LabelSet(within, empty, self.kind, interval, round(float(self.patients.sum())))

    def interval(self, promise: Promise) -> tuple[float, float] | None:
        """5th to 95th percentile of the coverage over archives; None where no class can be ruled out.

        That of one group is distributed as Beta(n + 1 - l, l) (Vovk 2012, ACML 25:475, section 2) with l its rank; of several
        it is their mean, weighed by frequency. They are independent; the distribution of the mean is taken as the Beta of its
        mean and variance.
        """
        total = sum(group.patients for group in self.groups)
        known = [(one.patients / total, one.patients, _rank(one.patients, promise)) for one in self.groups]
        mean = sum(share * (1 - rank / (size + 1)) for share, size, rank in known)
        spread = sum(
            share**2 * rank * (size + 1 - rank) / ((size + 1) ** 2 * (size + 2)) for share, size, rank in known
        )
        if not spread:
            return None
        strength = mean * (1 - mean) / spread - 1
        shapes = mean * strength, (1 - mean) * strength
        return beta_quantile(*shapes, 0.05), beta_quantile(*shapes, 0.95)

    @property
    def kind(self) -> Kind:
        """For whom the promise is kept."""
        together = [len(group.classes) > 1 for group in self.groups]
        return "mixed" if any(together) and len(together) > 1 else "marginal" if any(together) else "class-conditional"


def _rank(size: float, promise: Promise) -> int:
    """Of how many of the least probable, among so many patients and the new one, a class is ruled out."""
    rank = int((size + 1) * (1 - promise.coverage) + _ROUNDING)
    if promise.in_spite_of_few:
        while rank and beta_distribution(size + 1 - rank, rank, promise.coverage) > 1 - _SURE:
            rank -= 1
    return rank
