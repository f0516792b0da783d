"""Patient-disjoint splits: no patient stands on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclip.cases.case import Case
from medclip.errors import CaseError

__all__ = ["DEV_SHARE", "Fold", "choose_fold", "hold_out", "kfold", "published_split"]

DEV_SHARE = 0.1
"""Of the patients, where the cases name no dev split: enough to stop by, and nine tenths are left to learn from."""


@dataclass(frozen=True)
class Fold:
    """Cases to learn from, and cases held out."""

    train: tuple[Case, ...]
    held_out: tuple[Case, ...]


def _patients(cases: Sequence[Case]) -> list[str]:
    return sorted({case.patient for case in cases})


def kfold(cases: Sequence[Case], folds: int, seed: int) -> list[Fold]:
    """Patients dealt into `folds` parts at random; each part is held out once.

    Raises:
        CaseError: there are fewer patients than folds.
    """
    patients = _patients(cases)
    if not 2 <= folds <= len(patients):
        raise CaseError(f"{len(patients)} patients cannot be dealt into {folds} folds; choose --folds from 2 up")
    order = np.random.default_rng(seed).permutation(len(patients))
    part = {patients[p]: i % folds for i, p in enumerate(order)}
    return [
        Fold(
            train=tuple(case for case in cases if part[case.patient] != i),
            held_out=tuple(case for case in cases if part[case.patient] == i),
        )
        for i in range(folds)
    ]


def hold_out(cases: Sequence[Case], share: float, seed: int) -> Fold:
    """A share of the patients, at least one, is held out.

    Raises:
        CaseError: there are fewer than two patients.
    """
    patients = _patients(cases)
    if len(patients) < 2:
        raise CaseError("all cases are of one patient; at least two patients are needed")
    order = np.random.default_rng(seed).permutation(len(patients))
    count = min(len(patients) - 1, max(1, round(share * len(patients))))
    held_out = {patients[p] for p in order[:count]}
    return Fold(
        train=tuple(case for case in cases if case.patient not in held_out),
        held_out=tuple(case for case in cases if case.patient in held_out),
    )


def published_split(cases: Sequence[Case]) -> Fold | None:
    """Train and dev as the cases' own `split` says, or None where it names no dev case.

    Cases without a split learn; test cases are left out, so that nothing is tuned on them.

    Raises:
        CaseError: a patient stands in both, or no case is left to learn from.
    """
    train = tuple(case for case in cases if case.split in (None, "train"))
    dev = tuple(case for case in cases if case.split == "dev")
    if not dev:
        return None
    if not train:
        raise CaseError("every case is in the dev or test split; none is left to train on")
    both = {case.patient for case in train} & {case.patient for case in dev}
    if both:
        case_id = next(case.id for case in dev if case.patient in both)
        raise CaseError(f"{len(both)} patients stand in train and dev (case {case_id}, for one); mend their split")
    return Fold(train, dev)


def choose_fold(cases: Sequence[Case], seed: int) -> Fold:
    """The published train and dev split, or `DEV_SHARE` of the patients held out."""
    return published_split(cases) or hold_out([case for case in cases if case.split != "test"], DEV_SHARE, seed)
