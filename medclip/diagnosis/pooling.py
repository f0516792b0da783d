"""How several opinions become one probability, and how far it is to be believed; fitted on held-out predictions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import FLOOR, Probabilities, softmax

__all__ = ["MOST_WEIGHT", "fit_pool", "fit_pools", "pooled"]

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
    """One pool as of `fit_pools`: (n,) weights of the rows → (opinions,)."""
    return np.asarray(fit_pools(opinions, labels, rows[None])[0])


def fit_pools(opinions: Sequence[Probabilities], labels: NDArray[np.int64], rows: Weights) -> Weights:
    """The weights of least log loss: stacking (Wolpert 1992, Neural Networks 5:241) of probabilities.

    Several pools of the same opinions are fitted as one problem, which takes little longer than one of them: their losses
    add up, and no two of them share a weight.

    Args:
        opinions: (n, classes) each, on patients that the opinion has not seen.
        labels: (n,) right classes.
        rows: (pools, n) weights of the rows in each pool, of which those of one patient sum to one, or are all 0.

    Returns:
        (pools, opinions) from 0 to `MOST_WEIGHT`.
    """
    from scipy.optimize import minimize

    logs = np.stack([np.log(np.maximum(one, FLOOR)) for one in opinions])  # (opinions, n, classes)
    flat, places = logs.reshape(len(logs), -1), np.arange(len(labels))
    right = rows @ logs[:, places, labels].T  # (pools, opinions)
    start = np.full(right.shape, 1 / len(logs))

    def loss(given: Weights) -> tuple[float, Weights]:
        weights = given.reshape(right.shape)
        logits = (weights @ flat).reshape(len(weights), *logs.shape[1:])  # (pools, n, classes)
        logits -= logits.max(2, keepdims=True)
        probabilities = np.exp(logits)
        total = probabilities.sum(2)
        own = np.log(total) - logits[:, places, labels]
        probabilities *= (rows / total)[..., None]
        away = weights - start
        slope = probabilities.reshape(len(weights), -1) @ flat.T - right + 2 * _DOUBT * away
        return float((rows * own).sum() + _DOUBT * (away**2).sum()), slope.ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=[(0.0, MOST_WEIGHT)] * start.size)
    return np.asarray(found.x, np.float64).reshape(right.shape)
