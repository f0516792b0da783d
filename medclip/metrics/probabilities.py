"""Probabilities of classes: how numbers become some, and how far they are to be believed."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "Probabilities", "calibration_error", "log_loss", "softmax"]

Probabilities = NDArray[np.float64]

FLOOR = 1e-6
"""The least probability whose logarithm is taken: one certain mistake must not outweigh a thousand right answers."""


def softmax(logits: NDArray[np.float64]) -> Probabilities:
    """(n, classes) logarithms up to a constant → (n, classes) that sum to 1."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponent / exponent.sum(1, keepdims=True))


def log_loss(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the right class, floored at `FLOOR`."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], FLOOR)).mean())


def calibration_error(probabilities: Probabilities, labels: NDArray[np.int64], bins: int = 10) -> float:
    """Expected calibration error of the top class, over equally wide bins (Guo et al. 2017, eq. 3)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        inside = number == b
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)
