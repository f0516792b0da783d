"""Probabilities of classes: how numbers become some, and how far they are to be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BINS",
    "FLOOR",
    "Bin",
    "Probabilities",
    "calibration_error",
    "calibration_errors",
    "error_of",
    "interval",
    "reliability",
    "softmax",
    "together",
]

Probabilities = NDArray[np.float64]
Weights = NDArray[np.float64]

FLOOR = 1e-6
"""The least probability whose logarithm is taken: one certain mistake must not outweigh a thousand right answers."""

BINS = 10
"""Equally wide bins of a reliability diagram (Guo et al. 2017, arXiv 1706.04599, section 2)."""


def softmax(logits: NDArray[np.float64]) -> Probabilities:
    """(n, classes) logarithms up to a constant → (n, classes) that sum to 1."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponent / exponent.sum(1, keepdims=True))


def _shares(count: int, weights: Weights | None) -> Weights:
    """(n,) weights that sum to 1."""
    return np.full(count, 1 / max(1, count)) if weights is None else weights / weights.sum()


def _bin_of(stated: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((stated * BINS).astype(np.int64), BINS - 1)


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: the answers whose most probable class is stated with such a probability."""

    number: int  # from 0 to `BINS` − 1
    share: float  # of all weight
    stated: float  # mean probability of the most probable class
    right: float  # share of right answers


def reliability(probabilities: Probabilities, labels: NDArray[np.int64], weights: Weights | None = None) -> list[Bin]:
    """The bins that are not empty (Guo et al. 2017, eq. 1 and 2).

    Args:
        labels: (n,) right class, −1 where it is none of the classes.
        weights: (n,) of the rows; alike where None.
    """
    shares = _shares(len(labels), weights)
    stated, right = probabilities.max(1), probabilities.argmax(1) == labels
    number = _bin_of(stated)
    found = []
    for b in np.unique(number):
        inside = number == b
        if (share := float(shares[inside].sum())) > 0:
            means = [float(np.average(one[inside], weights=shares[inside])) for one in (stated, right)]
            found.append(Bin(int(b), *(min(1.0, one) for one in (share, *means))))  # not 1 and a rounding error
    return found


def together(parts: Sequence[tuple[float, Sequence[Bin]]]) -> list[Bin]:
    """Several reliability diagrams as one.

    Args:
        parts: (weight, bins) of each.
    """
    total = sum(weight for weight, bins in parts if bins)
    found: dict[int, list[tuple[float, Bin]]] = {}
    for weight, bins in parts:
        for one in bins:
            found.setdefault(one.number, []).append((weight * one.share / total, one))
    out = []
    for number, own in sorted(found.items()):
        share = sum(weight for weight, _ in own)
        stated, right = (
            sum(w * value for w, value in pairs) / share
            for pairs in ([(w, one.stated) for w, one in own], [(w, one.right) for w, one in own])
        )
        out.append(Bin(number, share, stated, right))
    return out


def error_of(bins: Sequence[Bin]) -> float:
    """Expected calibration error of a reliability diagram (Guo et al. 2017, eq. 3)."""
    return float(sum(one.share * abs(one.right - one.stated) for one in bins))


def calibration_error(probabilities: Probabilities, labels: NDArray[np.int64], weights: Weights | None = None) -> float:
    """Expected calibration error of the top class.

    Args:
        weights: (n,) of the rows; alike where None.
    """
    return float(calibration_errors(probabilities, labels, _shares(len(labels), weights)[None])[0])


def calibration_errors(probabilities: Probabilities, labels: NDArray[np.int64], weights: Weights) -> Weights:
    """The same under several weightings of the rows at once: (w, n) weights → (w,); NaN where all weights are 0."""
    stated = probabilities.max(1)
    gap = (probabilities.argmax(1) == labels) - stated
    inside = np.eye(BINS)[_bin_of(stated)]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(weights @ (gap[:, None] * inside)).sum(1) / weights.sum(1))


def interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share that was measured on so many (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    z = 1.959964  # the normal distribution's 97.5th percentile
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
