"""How vote and probe are combined, and how far the result is to be believed; chosen on held-out predictions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import FLOOR, Probabilities, log_loss, softmax

__all__ = ["Combination", "choose_combination"]


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
        parts = [np.log(np.maximum(part, FLOOR)) for part in (vote, probe)]
        logits = (self.vote_weight * parts[0] + (1 - self.vote_weight) * parts[1]) / self.temperature
        return softmax(logits)


def choose_combination(vote: Probabilities, probe: Probabilities, labels: NDArray[np.int64]) -> Combination:
    """The weight and temperature of least log loss on held-out predictions, (n, classes) each."""
    grid = [  # vote weights by tenths; temperatures from a third to two and a half, a tenth apart
        Combination(float(weight), float(temperature))
        for weight in np.linspace(0, 1, 11)
        for temperature in np.geomspace(0.3, 2.5, 22)
    ]
    return min(grid, key=lambda combination: log_loss(combination.combine(vote, probe), labels))
