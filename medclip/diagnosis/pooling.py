"""How several opinions become one probability, and how far it is to be believed; fitted on held-out predictions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import FLOOR, Probabilities, softmax

__all__ = ["MOST_WEIGHT", "fit_pool", "pooled"]

Weights = NDArray[np.float64]

MOST_WEIGHT = 10.0
"""Of one opinion: a probability of 0.6 beside 0.4 would then become 0.98, and nothing that was held out says more."""

_DOUBT = 1.0
"""Patients' worth of pull towards all opinions weighing alike and being taken at their word: it matters where few patients
are held out, and where they are all told apart without a mistake no weight would else be large enough. Not tuned."""


def pooled(opinions: Sequence[Probabilities], weights: Weights) -> Probabilities:
    """(n, classes) of each opinion → (n, classes).

    A logarithmic opinion pool (Genest and Zidek 1986, Statistical Science 1:114) whose weights need not sum to one: their
    sum is the inverse of a temperature (Guo et al. 2017, arXiv 1706.04599), below one it flattens, above it sharpens.

    Args:
        weights: (opinions,) from 0 up.
    """
    logits = sum(w * np.log(np.maximum(one, FLOOR)) for w, one in zip(weights, opinions, strict=True))
    return softmax(np.asarray(logits, np.float64))


def fit_pool(opinions: Sequence[Probabilities], labels: NDArray[np.int64], rows: Weights) -> Weights:
    """The weights of least log loss: stacking (Wolpert 1992, Neural Networks 5:241) of probabilities.

    Args:
        opinions: (n, classes) each, on patients that the opinion has not seen.
        labels: (n,) right classes.
        rows: (n,) weights of the rows, of which those of one patient sum to one.

    Returns:
        (opinions,) from 0 to `MOST_WEIGHT`.
    """
    from scipy.optimize import minimize

    logs = np.stack([np.log(np.maximum(one, FLOOR)) for one in opinions])  # (opinions, n, classes)
    right = logs[:, np.arange(len(labels)), labels]
    start = np.full(len(logs), 1 / len(logs))

    def loss(weights: Weights) -> tuple[float, Weights]:
        probabilities = softmax(np.einsum("m,mnc->nc", weights, logs))
        own = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).tiny)
        expected = np.einsum("nc,mnc->mn", probabilities, logs)
        away = weights - start
        return float(-rows @ np.log(own) + _DOUBT * away @ away), (expected - right) @ rows + 2 * _DOUBT * away

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, MOST_WEIGHT)] * len(start))
    return np.asarray(found.x, np.float64)
