"""NIfTI volumes → pictures.

The volume is turned to the nearest anatomical axes; slices are cut across its coarsest one (axial where there is none)
and shown as radiologists see them: the patient's right on the left of the picture, front or head at the top.
Source: NIfTI-1 (nifti.nimh.nih.gov), orientation by nibabel.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ScanError
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures, choose_slices
from medclip.modalities.scan.window import ct_preset, from_percentiles, looks_like_hounsfield

__all__ = ["read_nifti"]

_MOST_BYTES = 1 << 30
_COARSER = 1.5  # times the finest axis; then slices are cut across the coarsest
_AXIAL = 2


def _slice_axis(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> int:
    """Which of the three axes (left-right, back-front, foot-head) the slices are cut across."""
    flat = [axis for axis in range(3) if shape[axis] == 1]
    if flat:
        return flat[-1]
    if np.isfinite(spacing).all() and spacing.min() > 0 and spacing.max() >= _COARSER * spacing.min():
        return int(spacing.argmax())
    return _AXIAL


def _as_seen(volume: NDArray[Any], axis: int, number: int) -> NDArray[Any]:
    """One slice of a volume whose axes run to the right, the front and the head."""
    cut = np.take(volume, number, axis=axis)
    return np.asarray(cut[::-1, ::-1].T)  # right on the left, or front on the left; front or head at the top


def read_nifti(path: Path) -> ScanPictures:
    """Read a choice of slices; of a volume over time, its first moment.

    Raises:
        ScanError: it is no volume, or too large.
        Exception: whatever nibabel makes of a damaged file.
    """
    import nibabel

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(path)
        shape = tuple(image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3, 4) or min(shape) < 1:
            raise ScanError(f"{path}: has {len(image.shape)} dimensions; give a volume of two to four")
        size = int(np.prod([int(n) for n in shape[:3]], dtype=object)) * max(image.get_data_dtype().itemsize, 2)
        if size > _MOST_BYTES:
            raise ScanError(f"{path}: its volume takes over {_MOST_BYTES >> 30} GiB; export it smaller")
        notes = [] if len(shape) < 4 else [f"the first of {shape[3]} volumes"]
        first = (*(slice(None) for _ in shape[:3]), *(0 for _ in image.shape[3:]))
        volume = np.asanyarray(image.dataobj[first])
    if volume.dtype.fields:  # RGB
        volume = np.stack([volume[name] for name in ("R", "G", "B")], -1).astype(np.float32) @ (0.299, 0.587, 0.114)
    if np.iscomplexobj(volume):
        volume = np.abs(volume)
    volume = volume.reshape(*volume.shape, *(1 for _ in range(3 - volume.ndim)))
    try:
        turn = nibabel.io_orientation(image.affine)
        volume = nibabel.apply_orientation(volume, turn)
        spacing = np.abs(np.asarray(image.header.get_zooms()[:3], np.float64))
        spacing = np.pad(spacing, (0, 3 - len(spacing)), constant_values=1)[np.argsort(turn[:, 0])]
    except Exception:  # noqa: BLE001 (no usable orientation: the volume as it lies)
        spacing = np.ones(3)
        notes.append("its orientation is not known")
    axis = _slice_axis(volume.shape, spacing)
    slices = [
        np.nan_to_num(_as_seen(volume, axis, number).astype(np.float64), posinf=0, neginf=0)
        for number in choose_slices(volume.shape[axis])
    ]
    window = ct_preset("") if looks_like_hounsfield(slices) else from_percentiles(slices)
    pictures: list[GreyPicture] = [window.apply(values) for values in slices]
    return ScanPictures(tuple(pictures), volume.shape[axis], str(window), tuple(notes))
