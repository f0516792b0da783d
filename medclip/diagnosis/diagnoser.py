"""A diagnoser for one label set: what an index can answer, fitted when the index is built.

A query is made of scans, text, measurements or several, and these lie in different parts of the embedding space: each
composition has its own probe, combination and calibration. All choices are made on predictions for patients that the
prediction has not seen: the vote leaves the patient's own cases out, the probe is fitted on the other folds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.diagnosis.combination import Combination, choose_combination
from medclip.diagnosis.probe import Probe, fit_probe
from medclip.diagnosis.voting import Ballot, vote
from medclip.fusion.composition import Composition
from medclip.metrics.probabilities import Probabilities, calibration_error

__all__ = ["STRENGTH", "Diagnoser", "Example", "Part", "fit_diagnoser", "shared_classes"]

STRENGTH = 3.0
"""Of every probe (scikit-learn's C); of 0.3 to 10 the best or nearly the best pooled answer on every label set of MedPix."""
_FOLDS = 3


@dataclass(frozen=True)
class Example:
    """An archived case as a query of one composition would show it."""

    vector: NDArray[np.float32]  # (d,) unit vector
    patient: str
    label: str
    weight: float  # the rows of one case sum to one for each composition
    ballots: Sequence[Ballot]  # the most similar cases of other patients


@dataclass(frozen=True)
class Part:
    """What is fitted for one composition."""

    probe: Probe
    combination: Combination
    held_out_accuracy: float  # of the combined answer, on patients left out
    held_out_calibration_error: float
    examples: int


@dataclass(frozen=True)
class Diagnoser:
    """Everything needed to answer one label set."""

    label_set: str
    classes: tuple[str, ...]
    prior: Probabilities  # (classes,) share of patients
    patients: dict[str, int]  # class → patients
    parts: dict[Composition, Part]


def _folds(patients: Sequence[str], seed: int) -> NDArray[np.int64]:
    """(n,) fold of each row; a patient's rows share one."""
    distinct = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold = {distinct[p]: i % _FOLDS for i, p in enumerate(order)}
    return np.asarray([fold[p] for p in patients])


def _held_out(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64],
    folds: NDArray[np.int64], classes: int, prior: Probabilities,
) -> Probabilities:  # fmt: skip
    """(n, classes) probe predictions, each row by a probe that has not seen its patient."""
    out = np.tile(prior, (len(vectors), 1))
    for fold in range(_FOLDS):
        apart = folds == fold
        if apart.any() and len(np.unique(labels[~apart])) > 1:
            fitted = fit_probe(vectors[~apart], labels[~apart], weights[~apart], classes, STRENGTH)
            out[apart] = fitted.probabilities(vectors[apart])
    return out


def _fit_part(examples: Sequence[Example], classes: Sequence[str], prior: Probabilities, seed: int) -> Part | None:
    position = {label: i for i, label in enumerate(classes)}
    labels = np.asarray([position[example.label] for example in examples], np.int64)
    if len(np.unique(labels)) < 2:
        return None
    vectors = np.stack([example.vector for example in examples])
    weights = np.asarray([example.weight for example in examples])
    weights = weights * (len(weights) / weights.sum())
    folds = _folds([example.patient for example in examples], seed)
    probe_out = _held_out(vectors, labels, weights, folds, len(classes), prior)
    vote_out = np.stack([vote(example.ballots, classes, prior).probabilities for example in examples])
    combination = choose_combination(vote_out, probe_out, labels)
    combined = combination.combine(vote_out, probe_out)
    return Part(
        probe=fit_probe(vectors, labels, weights, len(classes), STRENGTH),
        combination=combination,
        held_out_accuracy=float((combined.argmax(1) == labels).mean()),
        held_out_calibration_error=calibration_error(combined, labels),
        examples=len(examples),
    )


def shared_classes(labelled: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Class → patients, sorted by class, of the classes that at least two patients have.

    Args:
        labelled: (class, patient) pairs.
    """
    owners: dict[str, set[str]] = {}
    for label, patient in labelled:
        owners.setdefault(label, set()).add(patient)
    return {label: len(owners[label]) for label in sorted(owners) if len(owners[label]) > 1}


def fit_diagnoser(label_set: str, examples: dict[Composition, Sequence[Example]], *, seed: int = 0) -> Diagnoser | None:
    """Fit one label set, or return None where fewer than two classes have two patients.

    Classes of a single patient are left out: nothing can be learnt or measured of them.
    """
    patients = shared_classes((example.label, example.patient) for rows in examples.values() for example in rows)
    if len(patients) < 2:
        return None
    classes = tuple(patients)
    prior = np.asarray([patients[label] for label in classes], np.float64)
    prior /= prior.sum()
    parts: dict[Composition, Part] = {}
    for composition, rows in examples.items():
        part = _fit_part([row for row in rows if row.label in patients], classes, prior, seed)
        if part is not None:
            parts[composition] = part
    return Diagnoser(label_set, classes, prior, dict(Counter(patients)), parts) if parts else None
