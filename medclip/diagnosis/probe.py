"""The linear probe: multinomial logistic regression on what the towers know of each part of a case."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities, softmax

__all__ = ["Probe", "Rotated", "fit_probe"]

_MOST_STEPS = 200  # of L-BFGS; it ends long before
_TOLERANCE = 1e-3  # of its gradient: smaller changes no probability by 0.01
_NEVER = -30.0  # bias of a class without rows: e^-30 of the others' probability


@dataclass(frozen=True)
class Probe:
    """A fitted probe; applying it needs numpy alone."""

    weights: NDArray[np.float32]  # (d, classes)
    bias: NDArray[np.float32]  # (classes,)

    def probabilities(self, vectors: NDArray[np.float32]) -> Probabilities:
        """(n, d) → (n, classes) probabilities."""
        return softmax((vectors @ self.weights + self.bias).astype(np.float64))


class Rotated:
    """Rows of which several probes are fitted, turned so that they have no more columns than rows.

    A probe with an L2 penalty does not depend on how its space is turned, so it is fitted where fitting is cheap, and
    turned back.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Of (n, d) rows."""
        self._width = vectors.shape[1]
        used = np.flatnonzero(vectors.any(0))  # the others tell nothing
        self._used = used if len(used) else np.arange(min(1, self._width))
        self._axes: NDArray[np.float32] | None = None  # (columns, used)
        self.rows = vectors[:, self._used]
        if len(vectors) < len(self._used):
            left, singular, self._axes = np.linalg.svd(self.rows, full_matrices=False)
            self.rows = left * singular

    def back(self, probe: Probe) -> Probe:
        """A probe that was fitted on `rows`, for vectors as they were given."""
        weights = np.zeros((self._width, probe.weights.shape[1]), np.float32)
        weights[self._used] = probe.weights if self._axes is None else self._axes.T @ probe.weights
        return Probe(weights, probe.bias)


def fit_probe(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    classes: int,
    strength: float,
    balance: float,
) -> Probe:
    """Fit by L-BFGS with an L2 penalty (scikit-learn's `LogisticRegression`).

    A class that no row has keeps a very low bias, so that it is never predicted.

    Args:
        vectors: (n, d).
        labels: (n,) class numbers, of at least two classes.
        weights: (n,) weights of the rows.
        strength: scikit-learn's ``C``: larger trusts the data more.
        balance: 0 where every patient counts the same, 1 where every class does, however rare.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(labels)
    totals = np.bincount(labels, weights=weights, minlength=classes)
    balanced = weights / totals[labels] ** balance
    model = LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=_TOLERANCE)
    with threadpool_limits(1, user_api="blas"):  # the fits are small: threads would wait for each other
        model.fit(vectors, labels, sample_weight=balanced * (len(labels) / balanced.sum()))
    coefficients = np.zeros((classes, vectors.shape[1]))
    bias = np.full(classes, _NEVER)
    if len(present) == 2:  # scikit-learn gives one row for two classes
        coefficients[present[0]], coefficients[present[1]] = -model.coef_[0] / 2, model.coef_[0] / 2
        bias[present[0]], bias[present[1]] = -model.intercept_[0] / 2, model.intercept_[0] / 2
    else:
        coefficients[present], bias[present] = model.coef_, model.intercept_
    return Probe(coefficients.T.astype(np.float32), bias.astype(np.float32))
