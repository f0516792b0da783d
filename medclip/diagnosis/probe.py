"""The linear probe: multinomial logistic regression on what the towers know of each part of a case."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities, softmax

__all__ = ["Probe", "Rotated", "fit_probe"]

_MOST_STEPS = 200  # of L-BFGS; it ends long before
_TOLERANCE = 1e-3  # of its gradient: smaller changes no probability by 0.01
_LEAST_LENGTH = 1e-9  # of a block whose columns are all alike
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
    """Rows of which several probes are fitted, scaled, and turned so that they have no more columns than rows.

    A model keeps of its towers principal axes that are half whitened, so that search hears the small ones, too. A probe with
    an L2 penalty would learn as readily from axes that hardly tell cases apart as from those that do, so each column is
    scaled by its spread again, and each block to a mean square length of one. Such a probe does not depend on how its space
    is turned: it is fitted where fitting is cheap, and turned and scaled back.
    """

    def __init__(self, vectors: NDArray[np.float32], widths: Sequence[int]) -> None:
        """Of (n, d) rows.

        Args:
            widths: of the blocks that a row is made of, which sum to d.
        """
        self._scale = vectors.std(0)
        rows = vectors * self._scale
        for block in np.split(np.arange(len(self._scale)), np.cumsum(widths)[:-1]):
            length = np.sqrt((rows[:, block] ** 2).sum(1).mean())
            self._scale[block] /= max(float(length), _LEAST_LENGTH)
        used = np.flatnonzero(self._scale)  # the others tell nothing
        self._used = used if len(used) else np.arange(1)
        self._axes: NDArray[np.float32] | None = None  # (columns, used)
        self.rows = (vectors * self._scale)[:, self._used]
        if len(vectors) < len(self._used):
            axes, turned = np.linalg.qr(self.rows.T)  # any axes that span the rows will do; these are found soonest
            self.rows, self._axes = np.ascontiguousarray(turned.T), axes.T

    def back(self, probe: Probe) -> Probe:
        """A probe that was fitted on `rows`, for vectors as they were given."""
        weights = np.zeros((len(self._scale), probe.weights.shape[1]), np.float32)
        weights[self._used] = probe.weights if self._axes is None else self._axes.T @ probe.weights
        return Probe(weights * self._scale[:, None], probe.bias)


@cache
def _blas() -> Any:
    """The linear algebra of this process, looked for once: that takes as long as a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


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
        weights: (n,) weights of the rows; their sum is what the penalty is weighed against, a patient a unit.
        strength: scikit-learn's ``C``: larger trusts the data more.
        balance: 0 where every patient counts the same, 1 where every class does, however rare.
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    totals = np.bincount(labels, weights=weights, minlength=classes)
    balanced = weights / totals[labels] ** balance
    model = LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=_TOLERANCE)
    with (
        _blas().limit(limits=1),  # the fits are small: threads would wait for each other
        config_context(assume_finite=True, skip_parameter_validation=True),  # of hundreds of fits, all made here
    ):
        model.fit(vectors, labels, sample_weight=balanced * (weights.sum() / balanced.sum()))
    coefficients = np.zeros((classes, vectors.shape[1]))
    bias = np.full(classes, _NEVER)
    if len(present) == 2:  # scikit-learn gives one row for two classes
        coefficients[present[0]], coefficients[present[1]] = -model.coef_[0] / 2, model.coef_[0] / 2
        bias[present[0]], bias[present[1]] = -model.intercept_[0] / 2, model.intercept_[0] / 2
    else:
        coefficients[present], bias[present] = model.coef_, model.intercept_
    return Probe(coefficients.T.astype(np.float32), bias.astype(np.float32))
