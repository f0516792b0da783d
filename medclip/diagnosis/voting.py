"""The vote of the most similar cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.metrics.probabilities import Probabilities

__all__ = ["FALL_OFF", "PRIOR_VOTES", "Ballot", "Vote", "vote"]

FALL_OFF = 0.15
"""Of a vote's weight, in units of cosine; smaller listens to the nearest case more. Of 0.04, 0.08 and 0.15 the best or nearly
so on folds of MedPix."""

PRIOR_VOTES = 1.0
"""The archive's class frequencies take part with the weight of one vote as similar as the most similar case: a class that
none of ten similar cases has is rare, not impossible."""


@dataclass(frozen=True)
class Ballot:
    """One similar case as a voter."""

    case_id: str
    similarity: float  # cosine
    label: str | None  # None: unknown, so it does not vote


@dataclass(frozen=True)
class Vote:
    """The outcome of a vote."""

    probabilities: Probabilities  # (classes,), sums to 1
    weights: NDArray[np.float64]  # (ballots,) share of each ballot in the whole; 0 for ballots of unknown label
    archive: float  # share of the archive's frequencies; all shares sum to 1


def vote(ballots: Sequence[Ballot], classes: Sequence[str], prior: Probabilities) -> Vote:
    """Similarity-weighted vote: a ballot weighs exp((similarity − highest similarity) / `FALL_OFF`).

    Args:
        ballots: one a patient, most similar first.
        prior: (classes,) class frequencies in the archive.
    """
    position = {label: i for i, label in enumerate(classes)}
    numbers = np.asarray([-1 if one.label is None else position.get(one.label, -1) for one in ballots], np.int64)
    known = numbers >= 0
    weights = np.zeros(len(ballots))
    if known.any():
        similarity = np.asarray([ballot.similarity for ballot in ballots])[known]
        weights[known] = np.exp((similarity - similarity.max()) / FALL_OFF)
    total = weights.sum() + PRIOR_VOTES
    votes = np.bincount(numbers[known], weights[known], len(classes))
    probabilities = (prior * PRIOR_VOTES + votes) / total
    return Vote(probabilities, weights / total, PRIOR_VOTES / total)
