"""The protocols under which figures are comparable: what a query shows, and what it is measured on.

===================  ================================================  =====================================
protocol             query                                             counts as right
===================  ================================================  =====================================
``caption-to-scan``  the caption of a held-out scan, among held-out scans   a scan of the same case
``scan-to-caption``  a held-out scan, among captions of held-out scans     a caption of the same case
``scan-only``        one held-out scan, against the training cases        its label
``history-only``     the history of a held-out case                       its label
``scan+history``     all scans and the history of a held-out case        its label
``full``             scans, history, findings and captions              its label
===================  ================================================  =====================================
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.label_sets import family_of
from medclip.metrics.classification import class_numbers, macro_auroc, measure_classification
from medclip.metrics.probabilities import Bin, error_of, reliability, together
from medclip.metrics.retrieval import Retrieval

__all__ = [
    "LABEL_PROTOCOLS",
    "SHOWN",
    "SUBSETS",
    "Figure",
    "Predicted",
    "average",
    "classification_figures",
    "measures",
    "patient_weights",
    "pooled",
    "retrieval_figures",
    "with_families",
]

LABEL_PROTOCOLS = ("scan-only", "history-only", "report-only", "scan+history", "scan+history+measurements", "full")
"""Those that every evaluation measures."""

SHOWN: dict[str, tuple[str, ...]] = {
    "scans": ("scan",),
    "history-only": ("history",),
    "report-only": ("report",),
    "measurements": ("measurements",),
    "scan+history": ("scan", "history"),
    "scan+measurements": ("scan", "measurements"),
    "history+measurements": ("history", "measurements"),
    "scan+history+measurements": ("scan", "history", "measurements"),
    "full": ("scan", "history", "report"),
}
"""What of a case a query shows; ``scan-only`` shows one scan."""

SUBSETS = tuple(name for name in SHOWN if name != "report-only")
"""Those that an ablation measures."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of one method on one label set."""

    classes: Sequence[str]
    probabilities: NDArray[np.float64]  # (n, classes)
    labels: Sequence[str]  # (n,) right classes
    patients: Sequence[str]  # (n,)
    stated: Sequence[float] | None = None  # (n,) accuracy that the index states of such queries
    sets: NDArray[np.bool_] | None = None  # (n, classes) which are in the set that promises `COVERAGE`

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) that make one patient count once."""
        return patient_weights(self.patients)

    def rows(self, chosen: NDArray[np.bool_]) -> "Predicted":
        """Those of the queries that are chosen, (n,)."""
        numbers = np.flatnonzero(chosen).tolist()
        return Predicted(
            self.classes,
            self.probabilities[chosen],
            [self.labels[i] for i in numbers],
            [self.patients[i] for i in numbers],
            None if self.stated is None else [self.stated[i] for i in numbers],
            None if self.sets is None else self.sets[chosen],
        )


def patient_weights(patients: Sequence[str]) -> NDArray[np.float64]:
    """(n,) that make one patient count once, however many of the n queries are theirs."""
    own = Counter(patients)
    return np.asarray([1 / own[patient] for patient in patients])


def pooled(parts: Sequence[Predicted]) -> Predicted:
    """The predictions of several folds as one: a class that a fold did not know has no probability there."""
    classes = sorted({name for part in parts for name in part.classes})

    def whole(part: Predicted, values: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros((len(values), len(classes)), values.dtype)
        out[:, class_numbers(classes, part.classes)] = values
        return out

    stated = [part.stated for part in parts if part.stated is not None]
    sets = [whole(part, part.sets) for part in parts if part.sets is not None]
    return Predicted(
        classes,
        np.concatenate([whole(part, part.probabilities) for part in parts]),
        [label for part in parts for label in part.labels],
        [patient for part in parts for patient in part.patients],
        [value for values in stated for value in values] if len(stated) == len(parts) else None,
        np.concatenate(sets) if len(sets) == len(parts) else None,
    )


@dataclass(frozen=True)
class Figure:
    """One measured figure; a row of ``medclip evaluate --json``."""

    protocol: str
    label_set: str | None
    method: str  # vote, probe, combined, frozen, majority, retrieval; of hit@k: shown, chance, answer
    metric: str
    value: float
    sd: float | None  # over folds; None for a single measurement
    n: int  # queries of retrieval; patients of labels
    gallery: int | None = None  # items searched, for retrieval
    bins: tuple[Bin, ...] = ()  # of the calibration error's reliability diagram
    group: str | None = None  # FIELD=VALUE, where it is of one subgroup alone
    interval: tuple[float, float] | None = None  # 95 %, of a subgroup's figure, where its patients could give one


def retrieval_figures(protocol: str, found: Retrieval) -> list[Figure]:
    """The figures of one direction of retrieval."""
    metrics = {f"recall@{depth}": value for depth, value in found.recall.items()}
    metrics |= {"median_rank": found.median_rank, "ndcg@10": found.ndcg10}
    return [Figure(protocol, None, "retrieval", m, v, None, found.queries, found.gallery) for m, v in metrics.items()]


def classification_figures(protocol: str, label_set: str, method: str, predicted: Predicted) -> list[Figure]:
    """The figures of one method on one label set; one patient counts once.

    What the index states of its answers' accuracy is compared with what they have, where it states something.
    """
    weights = predicted.weights
    measured = {metric: float(value) for metric, (value,) in measures(predicted, weights[None]).items()}
    measured["macro_auroc"] = macro_auroc(predicted.probabilities, predicted.classes, predicted.labels, weights)
    if predicted.stated is not None:
        measured["stated"] = measured["accuracy"] + measured["stated_minus_accuracy"]
    right = class_numbers(predicted.classes, predicted.labels)
    bins = {"calibration_error": tuple(reliability(predicted.probabilities, right, weights))}
    patients = len(set(predicted.patients))
    return [
        Figure(protocol, label_set, method, metric, value, None, patients, bins=bins.get(metric, ()))
        for metric, value in measured.items()
    ]


def measures(predicted: Predicted, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What is told of predictions as a whole and of every subgroup, under several weightings of the queries at once.

    Args:
        weights: (w, n).

    Returns:
        Metric → (w,); NaN where all weights are 0. What the predictions do not have (stated, sets) is not among them.
    """
    found = measure_classification(predicted.probabilities, predicted.classes, predicted.labels, weights)
    with np.errstate(invalid="ignore"):
        shares = weights / weights.sum(1, keepdims=True)
    if predicted.stated is not None:
        found["stated_minus_accuracy"] = shares @ np.asarray(predicted.stated) - found["accuracy"]
    if predicted.sets is not None:
        right = class_numbers(predicted.classes, predicted.labels)
        held = predicted.sets[np.arange(len(right)), right] & (right >= 0)
        found |= {"coverage": shares @ held, "set_size": shares @ predicted.sets.sum(1)}
    return found


def with_families(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, and those of every multi-label set: the means over its members, a macro average over classes.

    Its calibration error is that of all its members' answers together.
    """
    grouped: dict[tuple[str, str, str, str], list[Figure]] = {}
    for figure in figures:
        if figure.label_set is not None and (family := family_of(figure.label_set)) is not None:
            grouped.setdefault((figure.protocol, family, figure.method, figure.metric), []).append(figure)
    return [*figures, *(_together(members, label_set=family) for (_, family, _, _), members in grouped.items())]


def _together(members: Sequence[Figure], label_set: str | None, *, over_folds: bool = False) -> Figure:
    """Figures of one kind as one: the mean of those that could be given; a calibration error is that of all answers.

    Args:
        over_folds: whether they are one figure on several folds, whose spread is then told.
    """
    values = np.asarray([figure.value for figure in members])
    known = values[~np.isnan(values)]
    galleries = [figure.gallery for figure in members if figure.gallery is not None]
    bins = tuple(together([(figure.n, figure.bins) for figure in members]))
    mean = float(known.mean()) if len(known) else float("nan")
    return Figure(
        members[0].protocol,
        label_set,
        members[0].method,
        members[0].metric,
        value=error_of(bins) if bins else mean,
        sd=float(known.std()) if over_folds and len(known) and not bins else None,
        n=sum(figure.n for figure in members),
        gallery=round(float(np.mean(galleries))) if galleries else None,
        bins=bins,
    )


def average(folds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Mean and standard deviation (ddof 0) of each figure over folds; `n` is summed, the gallery averaged.

    A figure that a fold could not give (a class missing there) is averaged over the folds that could. The calibration error
    is that of all folds' answers together: the mean over folds would count the chance of each fold's few answers as error.
    """
    if len(folds) == 1:
        return list(folds[0])
    grouped: dict[tuple[str, str | None, str, str], list[Figure]] = {}
    for figures in folds:
        for figure in figures:
            grouped.setdefault((figure.protocol, figure.label_set, figure.method, figure.metric), []).append(figure)
    return [_together(members, label_set, over_folds=True) for (_, label_set, _, _), members in grouped.items()]
