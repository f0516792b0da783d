"""How vote and probe are combined, and how far the result is to be believed; chosen on held-out predictions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Combination", "calibration_error", "choose_combination", "log_loss"]

Probabilities = NDArray[np.float64]

_FLOOR = 1e-6


@dataclass(frozen=True)
class Combination:
    """The weight of the vote against the probe, and the temperature of the pool.

    A logarithmic opinion pool (Genest and Zidek 1986, Statistical Science 1:114), which the temperature calibrates
    (Guo et al. 2017, arXiv 1706.04599). A linear pool lets the part with the sharper probabilities overrule the other.
    """

    vote_weight: float  # 0 the probe alone, 1 the vote alone
    temperature: float  # above 1 flattens the pool, below 1 sharpens it

    def combine(self, vote: Probabilities, probe: Probabilities) -> Probabilities:
        """(n, classes) of each part → (n, classes) calibrated."""
        parts = [np.log(np.maximum(part, _FLOOR)) for part in (vote, probe)]
        logits = (self.vote_weight * parts[0] + (1 - self.vote_weight) * parts[1]) / self.temperature
        logits -= logits.max(1, keepdims=True)
        exponent = np.exp(logits)
        return np.asarray(exponent / exponent.sum(1, keepdims=True))


def log_loss(probabilities: Probabilities, labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the right class, floored at 1e-6."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _FLOOR)).mean())


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


def choose_combination(vote: Probabilities, probe: Probabilities, labels: NDArray[np.int64]) -> Combination:
    """The weight and temperature of least log loss on held-out predictions, (n, classes) each."""
    grid = [
        Combination(float(weight), float(temperature))
        for weight in np.linspace(0, 1, 11)
        for temperature in np.geomspace(0.3, 2.5, 22)
    ]
    return min(grid, key=lambda combination: log_loss(combination.combine(vote, probe), labels))
