"""Stored values of a DICOM frame → a slice for a viewer, and the window to begin with."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medclip.modalities.scan.grey import file_window, own_window, padding_of, rescale_of, rescaled, to_values
from medclip.modalities.scan.header import functional, numbers
from medclip.modalities.scan.pictures import choose_slices
from medclip.modalities.scan.stack import GREY, Slice, quantised
from medclip.modalities.scan.window import Window

__all__ = ["aspect_of", "first_window", "in_hounsfield", "is_inverted", "to_slice"]

_PLAIN = (np.uint8, np.int8, np.uint16, np.int16)
_SEEN = 1 << 18  # pixels of a slice, of which a window is taken; of more, every so many along either side
_AIR = -900  # Hounsfield units, which some of every CT lies below


def to_slice(frame: NDArray[Any], dataset: Dataset, number: int) -> Slice:
    """One frame: its stored values as they are where they have at most 16 bits, colours as grey.

    Where there is no data, the darkest value of the frame stands.
    """
    if frame.ndim == 3 or "PALETTE" in str(dataset.get("PhotometricInterpretation", "")):
        picture = to_values(frame, dataset, number).picture
        assert picture is not None
        return Slice(picture, window=GREY)
    padding = padding_of(frame, dataset)
    if padding is not None:
        inside = frame[~padding]
        frame = np.where(padding, inside.max() if is_inverted(dataset) else inside.min(), frame)
    rescale, window = rescale_of(dataset, number), _asked_for(dataset, number)
    if rescale is None or frame.dtype.newbyteorder("=") not in _PLAIN:
        return quantised(rescaled(frame, dataset, number), window)
    return Slice(frame, rescale.slope, rescale.intercept, window)


def _asked_for(dataset: Dataset, number: int) -> Window | None:
    """The window that a frame's file asks for; of a table (VOI LUT), the range that it maps."""
    table = (dataset.get("VOILUTSequence") or [None])[0]
    descriptor = None if table is None else numbers(table.get("LUTDescriptor"), 3)
    if descriptor is None:
        return file_window(dataset, number)
    entries = descriptor[0] or 65536
    first = descriptor[1] - 65536 * (descriptor[1] > 32767 and dataset.get("PixelRepresentation") == 1)
    return Window(float(first + entries / 2), float(entries), "the range of the file's table", "LINEAR_EXACT")


def is_inverted(dataset: Dataset) -> bool:
    """Whether low values are white."""
    return bool(dataset.get("PhotometricInterpretation") == "MONOCHROME1")


def first_window(slices: Sequence[Slice], header: Dataset) -> Window:
    """The window to begin with: what the middle slice's file asks for, unless that shows nothing of it."""
    middle = slices[len(slices) // 2]
    if middle.window is not None:
        shown = middle.window.apply(_seen(middle))
        if int(shown.max()) - int(shown.min()) >= 2 or not np.ptp(middle.stored):
            return middle.window
    return own_window([_seen(slices[i]) for i in choose_slices(len(slices))], header)


def _seen(slice_: Slice) -> NDArray[np.float64]:
    return slice_.values(max(1, isqrt(slice_.stored.size // _SEEN)))


def in_hounsfield(slices: Sequence[Slice], header: Dataset) -> bool:
    """Whether the values of a stack are Hounsfield units: a CT's that says so, or that knows air."""
    rescale = rescale_of(header, 0)
    if header.get("Modality") != "CT" or rescale is None or slices[0].window is GREY:
        return False
    if rescale.unit:
        return rescale.unit == "HU"
    return min(float(_seen(slices[i]).min()) for i in choose_slices(len(slices))) <= _AIR


def aspect_of(header: Dataset) -> float:
    """The height of a pixel, of its width (PS3.3 10.7.1.3, C.7.6.3.1.7)."""
    measures = functional(header, 0, "PixelMeasuresSequence") or header
    for source, name in ((measures, "PixelSpacing"), (header, "ImagerPixelSpacing"), (header, "PixelAspectRatio")):
        found = numbers(source.get(name), 2)
        if found is not None and min(found) > 0:
            return float(np.clip(found[0] / found[1], 0.1, 10))
    return 1.0
