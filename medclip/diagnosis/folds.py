"""Folds of patients, in each of which every class is as frequent as in the whole."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

__all__ = ["FOLDS", "stratified"]

FOLDS = 5
"""Into how many parts the patients are dealt: each probe that predicts for patients it has not seen is fitted on four fifths
of the others, close to all that the final one sees."""


def stratified(labelled: Iterable[tuple[str, str]], seed: int) -> dict[str, int]:
    """Patient → fold, from 0 to `FOLDS` − 1.

    The patients of each class are dealt one by one, the next class going on where the last one ended: were they dealt
    without regard to class, those of a rare one might all be held out together, and would be met by a probe that has never
    seen the class (Kohavi 1995, IJCAI 14:1137).

    Args:
        labelled: (patient, class) of each row; a patient of several classes counts to the most frequent of his own.
    """
    own: dict[str, Counter[str]] = {}
    for patient, label in labelled:
        own.setdefault(patient, Counter())[label] += 1
    by_class: dict[str, list[str]] = {}
    for patient in sorted(own):
        by_class.setdefault(min(own[patient], key=lambda label: (-own[patient][label], label)), []).append(patient)
    rng = np.random.default_rng(seed)
    order = [patients[i] for _, patients in sorted(by_class.items()) for i in rng.permutation(len(patients))]
    return {patient: number % FOLDS for number, patient in enumerate(order)}
