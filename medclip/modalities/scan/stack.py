"""A scan as a viewer wants it: every slice with the values that are stored, to be windowed by who looks at it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.modalities.scan.pictures import ScanPictures, choose_slices
from medclip.modalities.scan.window import Window

__all__ = ["GREY", "Slice", "Stack", "as_stack", "from_pictures", "kept", "quantised", "slices_that_fit"]

_TOP = 65535  # of 16 bits
GREY = Window(128, 256, "grey")
"""Of pictures that were grey already: 0 is black and 255 is white."""


@dataclass(frozen=True)
class Slice:
    """One slice: a value is ``slope · stored + intercept``, in the units of the modality."""

    stored: NDArray[Any]  # (height, width) uint8, int16 or uint16
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None = None  # that its file asks for

    def values(self, step: int = 1) -> NDArray[np.float64]:
        """(height, width) values; of every so many rows and columns alone where they are but looked at."""
        return np.asarray(self.stored[::step, ::step] * float(self.slope) + self.intercept, np.float64)


@dataclass(frozen=True)
class Stack:
    """What a viewer is given of one scan."""

    slices: tuple[Slice, ...]  # in geometric order, of one shape and kind; never empty
    total: int  # slices or frames there were
    window: Window  # to begin with
    inverted: bool = False  # whether low values are white (MONOCHROME1)
    hounsfield: bool = False  # whether values are Hounsfield units
    aspect: float = 1.0  # height of a pixel, of its width
    shrunk: int = 1  # how many of the file's pixels are one here, along either side
    notes: tuple[str, ...] = ()  # what was left out or had to be assumed

    @property
    def pictures(self) -> tuple[NDArray[Any], ...]:
        """The stored values of all slices."""
        return tuple(one.stored for one in self.slices)

    @property
    def nbytes(self) -> int:
        """Bytes of all slices."""
        return sum(one.stored.nbytes for one in self.slices)


def slices_that_fit(total: int, shape: tuple[int, int], item: int, most: int) -> tuple[list[int], int]:
    """Which of `total` slices fit into `most` bytes, evenly chosen, and by how much each is shrunk for one to fit.

    Args:
        shape: of a slice.
        item: bytes of a value while it is read.
    """
    size = max(1, shape[0] * shape[1] * item)
    shrunk = max(1, ceil(sqrt(size / max(1, most))))
    kept = max(1, shape[0] // shrunk) * max(1, shape[1] // shrunk) * item
    return choose_slices(total, max(1, most // kept)), shrunk


def _reduced(stored: NDArray[Any], by: int) -> NDArray[Any]:
    """The mean of by × by values, in their own type; what is over at the right and bottom is cut off."""
    if by == 1:
        return stored
    height, width = (side // by for side in stored.shape)
    mean = np.empty((height, width), stored.dtype)
    for row in range(height):  # a row at a time, in little memory
        block = stored[row * by : (row + 1) * by, : width * by].reshape(by, width, by)
        mean[row] = np.round(block.mean((0, 2)))
    return mean


def quantised(values: NDArray[np.floating], window: Window | None = None) -> Slice:
    """Values of any range as 16 bits; as whole numbers where they are."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if high - low <= _TOP and low == round(low) and np.array_equal(values, np.round(values)):
        return Slice((values - low).astype(np.uint16), 1.0, low, window)
    slope = (high - low) / _TOP or 1.0
    return Slice(np.round((values - low) / slope).astype(np.uint16), slope, low, window)


def kept(slice_: Slice, shrunk: int) -> Slice:
    """A slice as it is kept: contiguous, little-endian, of a kind that a viewer knows."""
    stored = slice_.stored
    if stored.dtype == np.int8:
        stored = stored.astype(np.int16)
    return replace(slice_, stored=np.ascontiguousarray(_reduced(stored, shrunk), stored.dtype.newbyteorder("<")))


def as_stack(slices: Sequence[Slice], total: int, window: Window, **about: Any) -> Stack:
    """A stack of slices, all as one kind: of several, as unsigned 16 bits, which holds all of them."""
    if len({one.stored.dtype for one in slices}) > 1:
        slices = [_unsigned(one) for one in slices]
    return Stack(tuple(slices), total, window, **about)


def _unsigned(slice_: Slice) -> Slice:
    if slice_.stored.dtype != np.int16:
        return replace(slice_, stored=slice_.stored.astype(np.uint16))
    moved = (slice_.stored.astype(np.int32) + 32768).astype(np.uint16)
    return replace(slice_, stored=moved, intercept=slice_.intercept - 32768 * slice_.slope)


def from_pictures(scan: ScanPictures, note: str) -> Stack:
    """The 8-bit pictures of a scan, where its values are not to be had, and why."""
    return Stack(tuple(Slice(picture) for picture in scan.pictures), scan.total, GREY, notes=(note, *scan.notes))
