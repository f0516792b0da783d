"""NIfTI volumes → pictures.

The volume is turned to the nearest anatomical axes; slices are cut across its coarsest one (axial where there is none)
and shown as radiologists see them: the patient's right on the left of the picture, front or head at the top. The file
is read plane by plane, and of each plane is kept and scaled what the chosen slices show: what a volume of any size takes
is what is shown of it.
Source: NIfTI-1 and -2 (nifti.nimh.nih.gov); headers, orientation and scaling by nibabel.
"""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.scan.pictures import MOST_PIXELS, GreyPicture, ScanPictures, choose_slices
from medclip.modalities.scan.window import ct_preset, from_percentiles, looks_like_hounsfield

__all__ = ["read_nifti"]

_MOST_BYTES = 1 << 30  # of the volume as it is stored, uncompressed
_COARSER = 1.5  # times the finest axis; then slices are cut across the coarsest
_AXIAL = 2
_ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
_LENGTHS = (348, 540)  # bytes of a header of version 1 and 2, which it begins with


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The file, uncompressed."""
    with open_regular(path) as handle:
        if path.suffix.lower() != ".gz":
            yield handle
            return
        with gzip.GzipFile(fileobj=handle) as content:
            yield content


def _header(content: io.BufferedIOBase, path: Path) -> Any:
    """The header of a single file, by its version."""
    import nibabel

    block = content.read(_LENGTHS[1])
    sizes = {int.from_bytes(block[:4], order) for order in _ORDERS}
    kinds = zip(_LENGTHS, (nibabel.Nifti1Header, nibabel.Nifti2Header), strict=True)
    for length, kind in kinds:
        if length in sizes and len(block) >= length:
            return kind(block[:length])
    raise ScanError(f"{path}: is no NIfTI volume in a single file; export it as .nii or .nii.gz")


def _slice_axis(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> int:
    """Which of the three axes (left-right, back-front, foot-head) the slices are cut across."""
    flat = [axis for axis in range(3) if shape[axis] == 1]
    if flat:
        return flat[-1]
    if np.isfinite(spacing).all() and spacing.min() > 0 and spacing.max() >= _COARSER * spacing.min():
        return int(spacing.argmax())
    return _AXIAL


def _cut(
    content: io.BufferedIOBase, header: Any, shape: tuple[int, ...], axis: int, chosen: list[int]
) -> list[NDArray[Any]]:
    """Slices across one axis of the file, each with the two other axes in the file's order, as they are stored."""
    kind = header.get_data_dtype()
    columns, rows, planes = shape
    content.seek(header.get_data_offset())
    if axis == 2:
        last = -1
        found: dict[int, NDArray[Any]] = {}
        for number in sorted(chosen):
            content.seek((number - last - 1) * columns * rows * kind.itemsize, 1)
            found[number], last = _plane(content, kind, columns, rows), number
        return [found[number] for number in chosen]
    cut = [np.empty((rows if axis == 0 else columns, planes), kind) for _ in chosen]
    for place in range(planes):
        plane = _plane(content, kind, columns, rows)
        for slice_, number in zip(cut, chosen, strict=True):
            slice_[:, place] = plane[number] if axis == 0 else plane[:, number]
    return cut


def _plane(content: io.BufferedIOBase, kind: np.dtype[Any], columns: int, rows: int) -> NDArray[Any]:
    """The next plane of the file: (columns, rows)."""
    size = columns * rows * kind.itemsize
    stored = content.read(size)
    if len(stored) < size:
        raise EOFError("shorter than its header says")
    return np.frombuffer(stored, kind).reshape(columns, rows, order="F")


def _scaled(stored: NDArray[Any], header: Any) -> NDArray[np.float64]:
    if stored.dtype.fields:  # RGB
        return np.stack([stored[name] for name in ("R", "G", "B")], -1).astype(np.float64) @ (0.299, 0.587, 0.114)
    values = stored.astype(np.complex128 if np.iscomplexobj(stored) else np.float64)
    slope, intercept = header.get_slope_inter()
    if slope is not None:
        values *= slope
        values += intercept
    return np.nan_to_num(np.abs(values) if np.iscomplexobj(values) else values, copy=False, posinf=0, neginf=0)


def _checked_shape(header: Any, path: Path) -> tuple[tuple[int, ...], list[str]]:
    """The three axes of what is read, and what is not."""
    shape = tuple(int(n) for n in header.get_data_shape())
    full = len(shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise ScanError(f"{path}: has {full} dimensions; give a volume of two to four")
    notes = [] if len(shape) < 4 else [f"the first of {shape[3]} volumes"]
    space = (*shape[:3], 1)[:3]
    size = space[0] * space[1] * space[2] * header.get_data_dtype().itemsize
    if not header.get_data_offset() >= 0 or header.get_data_offset() + size > _MOST_BYTES:
        raise ScanError(f"{path}: its volume takes over {_MOST_BYTES >> 30} GiB; export it smaller")
    return space, notes


def read_nifti(path: Path) -> ScanPictures:
    """Read a choice of slices; of a volume over time, its first moment.

    Raises:
        ScanError: it is no volume, or too large.
        Exception: whatever nibabel makes of a damaged file.
    """
    import nibabel

    with _opened(path) as content:
        header = _header(content, path)
        shape, notes = _checked_shape(header, path)
        try:
            turn = np.asarray(nibabel.io_orientation(header.get_best_affine()))
            places = turn[:, 0].astype(int)  # the anatomical axis of each of the file's
            if sorted(places) != [0, 1, 2]:
                raise ValueError("two axes that run the same way")
            spacing = np.abs(np.asarray(header.get_zooms()[:3], np.float64))
            spacing = np.pad(spacing, (0, 3 - len(spacing)), constant_values=1)[np.argsort(places)]
        except Exception:  # noqa: BLE001 (no usable orientation: the volume as it lies)
            turn, places, spacing = np.asarray([[0, 1], [1, 1], [2, 1]]), np.arange(3), np.ones(3)
            notes.append("its orientation is not known")
        order = np.argsort(places)  # the file's axis of each anatomical one
        axis = _slice_axis(tuple(shape[i] for i in order), spacing)
        across = int(order[axis])
        total = shape[across]
        if np.prod(shape, dtype=object) // total > MOST_PIXELS:
            raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")
        chosen = choose_slices(total)
        if turn[across, 1] < 0:
            chosen = [total - 1 - number for number in chosen]
        stored = _cut(content, header, shape, across, chosen)
    along = [i for i in range(3) if i != across]
    flips = tuple(slice(None, None, -1 if turn[i, 1] < 0 else 1) for i in along)
    slices = [_scaled(one, header)[flips] for one in stored]
    if places[along[0]] > places[along[1]]:
        slices = [one.T for one in slices]
    slices = [one[::-1, ::-1].T for one in slices]  # right on the left, or front on the left; front or head at the top
    window = ct_preset("") if looks_like_hounsfield(slices) else from_percentiles(slices)
    pictures: list[GreyPicture] = [window.apply(values) for values in slices]
    return ScanPictures(tuple(pictures), total, str(window), tuple(notes))
