"""The linear probe: multinomial logistic regression on embeddings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities, softmax

__all__ = ["Probe", "fit_probe"]


@dataclass(frozen=True)
class Probe:
    """A fitted probe; applying it needs numpy alone."""

    weights: NDArray[np.float32]  # (d, classes)
    bias: NDArray[np.float32]  # (classes,)

    def probabilities(self, vectors: NDArray[np.float32]) -> Probabilities:
        """(n, d) unit vectors → (n, classes) probabilities."""
        logits = (vectors @ self.weights + self.bias).astype(np.float64)
        return softmax(logits)


def fit_probe(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    classes: int,
    strength: float,
) -> Probe:
    """Fit by L-BFGS with an L2 penalty (scikit-learn's `LogisticRegression`).

    Every class counts the same, however rare: a family of diseases with few cases would else never be named. A class
    that no row has keeps a very low bias, so that it is never predicted.

    Args:
        vectors: (n, d) unit vectors.
        labels: (n,) class numbers, of at least two classes.
        weights: (n,) weights of the rows.
        strength: scikit-learn's ``C``: larger trusts the data more.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(labels)
    totals = np.bincount(labels, weights=weights, minlength=classes)
    balanced = weights * (totals[present].mean() / totals[labels])
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    with threadpool_limits(1, user_api="blas"):  # the fits are small: threads would wait for each other
        model.fit(vectors, labels, sample_weight=balanced)
    coefficients = np.zeros((classes, vectors.shape[1]))
    bias = np.full(classes, -30.0)
    if len(present) == 2:  # scikit-learn gives one row for two classes
        coefficients[present[0]], coefficients[present[1]] = -model.coef_[0] / 2, model.coef_[0] / 2
        bias[present[0]], bias[present[1]] = -model.intercept_[0] / 2, model.intercept_[0] / 2
    else:
        coefficients[present], bias[present] = model.coef_, model.intercept_
    return Probe(coefficients.T.astype(np.float32), bias.astype(np.float32))
