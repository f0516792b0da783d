"""Stored values of DICOM frames → grey, in the order of PS3.4 N.2.

Modality LUT or rescale (PS3.3 C.11.1), VOI LUT or window (C.11.2), then the inversion of MONOCHROME1 (C.7.6.3.1.2). An
enhanced multi-frame file has both per frame (C.7.6.16.2.9 and .10), which pydicom leaves to its caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from medclip.modalities.scan.header import functional, integer, numbers
from medclip.modalities.scan.pictures import GreyPicture, stretch
from medclip.modalities.scan.window import Window, ct_preset, from_percentiles, sampled

__all__ = [
    "Decoded",
    "Rescale",
    "file_window",
    "own_window",
    "padding_of",
    "rescale_of",
    "rescaled",
    "to_grey",
    "to_values",
]

LEAST_SPREAD = 4
"""Standard deviation, in grey levels of 256, below which a preset shows next to nothing and the file's own range is taken.
Not tuned: noise alone has a few levels, anything of a body dozens."""

_LARGE = 1 << 22  # pixels; the values of larger frames wait for those of a dozen others in single precision
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True)
class Rescale:
    """How a stored value becomes one of the modality."""

    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""  # Rescale Type (PS3.3 C.11.1.1.2), such as HU; empty where it is not said


def rescale_of(dataset: Dataset, frame: int) -> Rescale | None:
    """A frame's rescale; None where the file has a table instead."""
    own = functional(dataset, frame, "PixelValueTransformationSequence")
    with_rescale = own if own is not None else dataset
    if own is None and dataset.get("ModalityLUTSequence"):
        return None
    slope = numbers([with_rescale.get("RescaleSlope", 1)], 1)
    intercept = numbers([with_rescale.get("RescaleIntercept", 0)], 1)
    if slope is None or intercept is None or slope[0] == 0:
        return Rescale()
    unit = str(with_rescale.get("RescaleType") or "").strip().upper()
    return Rescale(float(slope[0]), float(intercept[0]), unit)


def rescaled(stored: NDArray[Any], dataset: Dataset, frame: int) -> NDArray[np.float64]:
    """Stored values → values of the modality."""
    rescale = rescale_of(dataset, frame)
    if rescale is None:
        return np.asarray(apply_modality_lut(stored, dataset), np.float64)
    return np.asarray(stored * rescale.slope + rescale.intercept, np.float64)


def file_window(dataset: Dataset, frame: int) -> Window | None:
    """The window that the file asks for: the frame's own, else the file's; the first where it names several."""
    source = functional(dataset, frame, "FrameVOILUTSequence") or dataset

    def first(name: str) -> float | None:
        value = source.get(name)
        if isinstance(value, pydicom.multival.MultiValue):
            value = value[0] if len(value) else None
        number = numbers([value], 1)
        return None if number is None else float(number[0])

    centre, width = first("WindowCenter"), first("WindowWidth")
    if centre is None or width is None:
        return None
    function = str(source.get("VOILUTFunction") or "LINEAR").upper()
    known = function if function in ("LINEAR", "LINEAR_EXACT", "SIGMOID") else "LINEAR"
    window = Window(centre, width, "file", known)  # type: ignore[arg-type]
    return window if window.usable else None


def _by_voi_lut(values: NDArray[np.float64], dataset: Dataset) -> GreyPicture | None:
    """Through the file's first VOI LUT; None where it has none that works."""
    if not dataset.get("VOILUTSequence"):
        return None
    try:
        table = dataset.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2])
        mapped = apply_voi(np.round(values).astype(np.int64), dataset)
    except Exception:  # noqa: BLE001 (a broken table: the window, or the values' range, will do)
        return None
    return stretch(mapped.astype(np.float64), 0, 2 ** min(max(bits, 1), 16) - 1)


@dataclass
class Decoded:
    """One decoded frame."""

    picture: GreyPicture | None  # where the file itself says how it becomes grey
    values: NDArray[np.floating] | None  # of the modality; where the picture is there, nobody needs them
    how: str | None
    padding: NDArray[np.bool_] | None  # true where there is no data


def padding_of(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Where a frame has no data; None where it has some everywhere."""
    value = dataset.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return None
    one, other = integer(value, 0), integer(dataset.get("PixelPaddingRangeLimit", value), 0)
    found = (stored >= min(one, other)) & (stored <= max(one, other))
    return found if found.any() and not found.all() else None


def to_values(frame: NDArray[Any], dataset: Dataset, number: int) -> Decoded:
    if "PALETTE" in str(dataset.get("PhotometricInterpretation", "")):
        frame = apply_color_lut(frame, dataset)
        top = 255 if int(frame.max()) <= 255 else 2**16 - 1  # tables of 16 bits may hold 8-bit colours
    else:
        top = 2 ** integer(dataset.get("BitsStored"), 8) - 1
    if frame.ndim == 3:
        grey = stretch(frame[..., :3].astype(np.float64) @ _LUMINANCE, 0, top)
        return Decoded(grey, None, None, None)
    values = rescaled(frame, dataset, number)
    padding = padding_of(frame, dataset)
    picture, how = _by_voi_lut(values, dataset), "VOI LUT (file)"
    if picture is None and (window := file_window(dataset, number)) is not None:
        picture, how = window.apply(values), str(window)
    inside = picture if picture is None or padding is None else picture[~padding]
    if inside is not None and int(inside.max()) - int(inside.min()) < 2 and np.ptp(values) > 0:
        picture = None  # the file's own window would show nothing
    if picture is None:
        return Decoded(None, values if values.size <= _LARGE else values.astype(np.float32), None, padding)
    return Decoded(picture, None, how, padding)


def own_window(values: Sequence[NDArray[np.floating]], header: Dataset) -> Window:
    """The window for slices whose file names none."""
    window = from_percentiles(values)
    if header.get("Modality") == "CT":
        preset = ct_preset(str(header.get("BodyPartExamined", "")))
        window = preset if preset.apply(sampled(values)).std() > LEAST_SPREAD else window
    return window


def to_grey(decoded: Sequence[Decoded], header: Dataset) -> tuple[list[GreyPicture], str | None]:
    """Give a window to those frames whose file names none, and invert what is stored white on black."""
    bare = [(d, d.values) for d in decoded if d.picture is None and d.values is not None]
    how = next((d.how for d in decoded if d.how), None)
    if bare:
        inner = [values if d.padding is None else values[~d.padding] for d, values in bare]
        window = own_window(inner, header)
        for d, values in bare:
            d.picture = window.apply(values)
            d.values = None
        how = how or str(window)
    pictures = []
    for d in decoded:
        assert d.picture is not None
        picture = 255 - d.picture if header.get("PhotometricInterpretation") == "MONOCHROME1" else d.picture
        pictures.append(picture if d.padding is None else np.where(d.padding, np.uint8(0), picture))
    return pictures, how
