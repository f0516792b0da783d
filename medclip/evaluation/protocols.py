"""The protocols under which figures are comparable: what a query shows, and what it is measured on.

===================  ================================================  =====================================
protocol             query                                             counts as right
===================  ================================================  =====================================
``caption-to-scan``  the caption of a held-out scan, among held-out scans   a scan of the same case
``scan-to-caption``  a held-out scan, among captions of held-out scans     a caption of the same case
``scan-only``        one held-out scan, against the training cases        its label
``scan+history``     all scans and the history of a held-out case        its label
``full``             scans, history, findings and captions              its label
===================  ================================================  =====================================
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.label_sets import family_of
from medclip.metrics.classification import measure_classification
from medclip.metrics.retrieval import Retrieval

__all__ = [
    "LABEL_PROTOCOLS",
    "SHOWN",
    "SUBSETS",
    "Figure",
    "Predicted",
    "average",
    "classification_figures",
    "retrieval_figures",
    "with_families",
]

LABEL_PROTOCOLS = ("scan-only", "scan+history", "scan+history+measurements", "full")
"""Those that every evaluation measures."""

SHOWN: dict[str, tuple[str, ...]] = {
    "scans": ("scan",),
    "history": ("history",),
    "measurements": ("measurements",),
    "scan+history": ("scan", "history"),
    "scan+measurements": ("scan", "measurements"),
    "history+measurements": ("history", "measurements"),
    "scan+history+measurements": ("scan", "history", "measurements"),
    "full": ("scan", "history", "report"),
}
"""What of a case a query shows; ``scan-only`` shows one scan."""

SUBSETS = tuple(SHOWN)
"""Those that an ablation measures."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of one method on one label set."""

    classes: Sequence[str]
    probabilities: NDArray[np.float64]  # (n, classes)
    labels: Sequence[str]  # (n,) right classes


@dataclass(frozen=True)
class Figure:
    """One measured figure; a row of ``medclip evaluate --json``."""

    protocol: str
    label_set: str | None
    method: str  # vote, probe, combined, frozen, majority, retrieval
    metric: str
    value: float
    sd: float | None  # over folds; None for a single measurement
    n: int  # queries
    gallery: int | None = None  # items searched, for retrieval


def retrieval_figures(protocol: str, found: Retrieval) -> list[Figure]:
    """The figures of one direction of retrieval."""
    metrics = {f"recall@{depth}": value for depth, value in found.recall.items()}
    metrics |= {"median_rank": found.median_rank, "ndcg@10": found.ndcg10}
    return [Figure(protocol, None, "retrieval", m, v, None, found.queries, found.gallery) for m, v in metrics.items()]


def classification_figures(protocol: str, label_set: str, method: str, predicted: Predicted) -> list[Figure]:
    """The figures of one method on one label set."""
    measured = measure_classification(predicted.probabilities, predicted.classes, predicted.labels)
    return [Figure(protocol, label_set, method, m, v, None, len(predicted.labels)) for m, v in measured.items()]


def with_families(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, and those of every multi-label set: the means over its members, a macro average over classes."""
    grouped: dict[tuple[str, str, str, str], list[Figure]] = {}
    for figure in figures:
        if figure.label_set is not None and (family := family_of(figure.label_set)) is not None:
            grouped.setdefault((figure.protocol, family, figure.method, figure.metric), []).append(figure)
    means = []
    for (protocol, family, method, metric), members in grouped.items():
        values = np.asarray([figure.value for figure in members])
        known = values[~np.isnan(values)]
        mean = float(known.mean()) if len(known) else float("nan")
        means.append(Figure(protocol, family, method, metric, mean, None, sum(figure.n for figure in members)))
    return [*figures, *means]


def average(folds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Mean and standard deviation (ddof 0) of each figure over folds; `n` is summed, the gallery averaged.

    A figure that a fold could not give (a class missing there) is averaged over the folds that could.
    """
    if len(folds) == 1:
        return list(folds[0])
    grouped: dict[tuple[str, str | None, str, str], list[Figure]] = {}
    for figures in folds:
        for figure in figures:
            grouped.setdefault((figure.protocol, figure.label_set, figure.method, figure.metric), []).append(figure)
    averaged = []
    for (protocol, label_set, method, metric), members in grouped.items():
        values = np.asarray([figure.value for figure in members])
        values = values[~np.isnan(values)]
        galleries = [figure.gallery for figure in members if figure.gallery is not None]
        averaged.append(
            Figure(
                protocol,
                label_set,
                method,
                metric,
                float(values.mean()) if len(values) else float("nan"),
                float(values.std()) if len(values) else None,
                sum(figure.n for figure in members),
                round(float(np.mean(galleries))) if galleries else None,
            )
        )
    return averaged
