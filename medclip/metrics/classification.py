"""Classification figures."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import calibration_error

__all__ = ["measure_classification"]


def measure_classification(
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    labels: Sequence[str],
    weights: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro one-against-rest AUROC and expected calibration error.

    A label that is not among `classes` counts as wrong. Balanced accuracy and AUROC are over the classes that occur
    among `labels`; AUROC leaves out classes that the answer does not know.

    Args:
        probabilities: (n, classes).
        weights: (n,) of the queries; alike where None.
    """
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    position = {label: i for i, label in enumerate(classes)}
    right = np.asarray([position.get(label, -1) for label in labels])
    predicted = probabilities.argmax(1)
    names = np.asarray([*classes])[predicted]
    areas = []
    for number in range(len(classes)):
        truth = right == number
        if 0 < truth.sum() < len(truth):
            areas.append(float(roc_auc_score(truth, probabilities[:, number], sample_weight=weights)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predicted class that occurs nowhere
        balanced = float(balanced_accuracy_score(list(labels), names, sample_weight=weights))
    return {
        "accuracy": float(np.average(predicted == right, weights=weights)),
        "balanced_accuracy": balanced,
        "macro_auroc": float(np.mean(areas)) if areas else float("nan"),
        "calibration_error": calibration_error(probabilities, right, weights),
    }
