"""Classification figures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities, calibration_errors

__all__ = ["class_numbers", "macro_auroc", "measure_classification"]

Weights = NDArray[np.float64]


def class_numbers(classes: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """(n,) positions of the labels among the classes, −1 where one is none of them."""
    position = {label: i for i, label in enumerate(classes)}
    return np.asarray([position.get(label, -1) for label in labels], np.int64)


def measure_classification(
    probabilities: Probabilities, classes: Sequence[str], labels: Sequence[str], weights: Weights
) -> dict[str, Weights]:
    """Accuracy, balanced accuracy and expected calibration error, under several weightings of the queries at once.

    A label that is not among `classes` counts as wrong. Balanced accuracy is over the classes that occur among `labels`
    with some weight.

    Args:
        probabilities: (n, classes).
        weights: (w, n), such as the times that each resample of a bootstrap drew each query.

    Returns:
        Metric → (w,); NaN where all weights are 0.
    """
    numbers = class_numbers(classes, labels)
    right = (probabilities.argmax(1) == numbers).astype(np.float64)
    names, name = np.unique(np.asarray(labels), return_inverse=True)
    of_class = np.eye(len(names))[name]
    there = weights @ of_class
    with np.errstate(invalid="ignore"):
        accuracy = weights @ right / weights.sum(1)
        recalls = np.nan_to_num(weights @ (of_class * right[:, None]) / there)
        balanced = recalls.sum(1) / (there > 0).sum(1)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "calibration_error": calibration_errors(probabilities, numbers, weights),
    }


def macro_auroc(
    probabilities: Probabilities, classes: Sequence[str], labels: Sequence[str], weights: Weights | None = None
) -> float:
    """Macro one-against-rest AUROC over the classes that occur among `labels` and that the answer knows; NaN where none.

    Args:
        probabilities: (n, classes).
        weights: (n,) of the queries; alike where None.
    """
    from sklearn.metrics import roc_auc_score

    numbers = class_numbers(classes, labels)
    areas = []
    for number in range(len(classes)):
        truth = numbers == number
        if 0 < truth.sum() < len(truth):
            areas.append(float(roc_auc_score(truth, probabilities[:, number], sample_weight=weights)))
    return float(np.mean(areas)) if areas else float("nan")
