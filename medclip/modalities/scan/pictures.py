"""A scan as pictures: one for a radiograph, a choice of slices or frames for a series, a volume or a cine loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MOST_PIXELS",
    "SLICES",
    "GreyPicture",
    "ScanPictures",
    "attend",
    "choose_slices",
    "picture_features",
    "stretch",
]

GreyPicture = NDArray[np.uint8]
"""(height, width) uint8, 0 black to 255 white."""

SLICES = 12
"""How many slices of a volume are read."""

MOST_PIXELS = 100_000_000
"""Of one picture; a larger one is a bomb or a slide, not a scan."""

_AT_ONCE = 8
_BLOCK = 1 << 20  # values


@dataclass(frozen=True)
class ScanPictures:
    """What was read of one scan."""

    pictures: tuple[GreyPicture, ...]  # in geometric order; never empty
    total: int  # slices or frames there were to choose from
    window: str | None = None  # how stored values became grey, such as "C 40 W 400 (file)"; None where they were grey
    notes: tuple[str, ...] = ()  # what was left out or had to be assumed

    @property
    def middle(self) -> GreyPicture:
        """The picture that stands for the scan where one is shown."""
        return self.pictures[len(self.pictures) // 2]

    @property
    def summary(self) -> str:
        """One line about how it was read; empty where there is nothing to say."""
        chosen = f"{len(self.pictures)} of {self.total} slices" if self.total > 1 else ""
        window = f"window {self.window}" if self.window else ""
        return "; ".join(part for part in (chosen, window, *self.notes) if part)


def choose_slices(total: int, most: int = SLICES) -> list[int]:
    """At most so many of `total` slices: the middles of as many equal parts, so that both ends weigh little."""
    if total <= most:
        return list(range(total))
    return [int((i + 0.5) * total / most) for i in range(most)]


def stretch(values: NDArray[Any], low: float, high: float) -> GreyPicture:
    """Map low..high onto 0..255 and clip what lies outside; all black where there is no range.

    Rows at a time, so that a large picture needs little more memory than itself.
    """
    shown = np.zeros(values.shape, np.uint8)
    if not high > low:
        return shown
    step = max(1, _BLOCK // max(1, values[:1].size))
    for start in range(0, len(values), step):
        block = values[start : start + step].astype(np.float64)
        block -= low
        block /= high - low
        np.clip(block, 0, 1, out=block)
        block *= 255
        shown[start : start + step] = np.round(block)
    return shown


def picture_features(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], scans: Sequence[Sequence[GreyPicture]]
) -> NDArray[np.float32]:
    """Features of all prepared pictures of n scans, in order: (p, d); of a tower that gives k rows a picture, (k * p, d).

    Args:
        run: (m, size, size) uint8 → (m, d) or (m, k, d).
    """
    flat = [picture for pictures in scans for picture in pictures]
    found = np.concatenate([run(np.stack(flat[i : i + _AT_ONCE])) for i in range(0, len(flat), _AT_ONCE)])
    return found.reshape(-1, found.shape[-1])


def attend(
    features: NDArray[np.float32], counts: Sequence[int] | NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Features of n scans, each the mean of its pictures' weighted by exp(score): (p, d) → (n, d).

    Args:
        counts: (n,) pictures of each scan, in order; a scan of one picture is that picture.
        scores: (p,) of each picture (`medclip.training.attention`).
    """
    sizes = np.asarray(counts, np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    weights = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    weights /= np.repeat(np.add.reduceat(weights, starts), sizes)
    return np.asarray(np.add.reduceat(features * weights[:, None], starts, axis=0), np.float32)
