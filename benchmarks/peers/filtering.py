"""What the users of a library write themselves: the column to filter by, and the cores to build with."""

import os
from collections.abc import Callable, Iterable

import numpy as np

from peers.data import row

__all__ = ["post_filtered", "shown", "threads"]

MOST = 20_000  # asked for at most before what does not pass is thrown away


def post_filtered(near: Callable[[int], np.ndarray], ages: np.ndarray, k: int, below: float, count: int) -> list[int]:
    """Ask for more, by how rare it is that a case passes, and throw away what does not; fewer than k may be left.

    Args:
        near: how many → the numbers of so many nearest, the nearest first.
    """
    passing = max(1.0, float((ages < below).sum())) / len(ages)
    want = min(count, MOST, int(np.ceil(1.5 * k / passing)))
    found = np.asarray(near(want), np.int64)
    found = found[(found >= 0) & (found < len(ages))]
    return [int(n) for n in found[ages[found] < below][:k]]


def shown(numbers: Iterable[int]) -> list[tuple[str]]:
    """Numbers as an answer without a record."""
    return [(row_id(int(n)),) for n in numbers if n >= 0]


def row_id(number: int) -> str:
    return row(number).case_id


def threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
