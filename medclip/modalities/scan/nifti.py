"""NIfTI volumes → pictures, or stacks for a viewer.

The volume is turned to the nearest anatomical axes; slices are cut across its coarsest one (axial where there is none)
and shown as radiologists see them: the patient's right on the left of the picture, front or head at the top. The file
is read plane by plane, and of each plane is kept and scaled what the chosen slices show: what a volume of any size takes
is what is shown of it.
Source: NIfTI-1 and -2 (nifti.nimh.nih.gov); headers, orientation and scaling by nibabel.
"""

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.scan.pictures import MOST_PIXELS, GreyPicture, ScanPictures, choose_slices
from medclip.modalities.scan.stack import Slice, Stack, as_stack, kept, quantised, slices_that_fit
from medclip.modalities.scan.window import Window, ct_preset, from_percentiles, looks_like_hounsfield

__all__ = ["nifti_stack", "read_nifti"]

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


@dataclass(frozen=True)
class _Volume:
    """How a volume lies in its file, and which of its axes the slices are cut across."""

    header: Any
    shape: tuple[int, ...]  # along the file's three axes
    turn: NDArray[np.float64]  # (3, 2) of each of them: its anatomical axis, and which way it runs
    across: int  # the file's axis that the slices are cut across
    spacing: NDArray[np.float64]  # (3,) along the file's axes
    notes: list[str]

    @property
    def total(self) -> int:
        """How many slices there are."""
        return self.shape[self.across]

    @property
    def along(self) -> list[int]:
        """The file's axes that a slice lies along: those of its columns and rows, as it is shown."""
        rest = [i for i in range(3) if i != self.across]
        return sorted(rest, key=lambda i: self.turn[i, 0])

    def cut(self, content: io.BufferedIOBase, chosen: list[int]) -> list[NDArray[Any]]:
        """Slices as they are stored, turned as radiologists see them; counted in anatomical order."""
        if self.turn[self.across, 1] < 0:
            chosen = [self.total - 1 - number for number in chosen]
        stored = _cut(content, self.header, self.shape, self.across, chosen)
        rest = [i for i in range(3) if i != self.across]
        flips = tuple(slice(None, None, -1 if self.turn[i, 1] < 0 else 1) for i in rest)
        turned = [one[flips] if rest == self.along else one[flips].T for one in stored]
        return [
            one[::-1, ::-1].T for one in turned
        ]  # right on the left, or front on the left; front or head at the top


def _volume(content: io.BufferedIOBase, path: Path) -> _Volume:
    """What a file's header says.

    Raises:
        ScanError: it is no volume, or too large.
    """
    import nibabel

    header = _header(content, path)
    shape, notes = _checked_shape(header, path)
    try:
        turn = np.asarray(nibabel.io_orientation(header.get_best_affine()))
        places = turn[:, 0].astype(int)  # the anatomical axis of each of the file's
        if sorted(places) != [0, 1, 2]:
            raise ValueError("two axes that run the same way")
        spacing = np.abs(np.asarray(header.get_zooms()[:3], np.float64))
        spacing = np.pad(spacing, (0, 3 - len(spacing)), constant_values=1)
    except Exception:  # noqa: BLE001 (no usable orientation: the volume as it lies)
        turn, places, spacing = np.asarray([[0, 1], [1, 1], [2, 1]]), np.arange(3), np.ones(3)
        notes.append("its orientation is not known")
    order = np.argsort(places)  # the file's axis of each anatomical one
    across = int(order[_slice_axis(tuple(shape[i] for i in order), spacing[order])])
    if np.prod(shape, dtype=object) // shape[across] > MOST_PIXELS:
        raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")
    return _Volume(header, shape, turn, across, spacing, notes)


def read_nifti(path: Path) -> ScanPictures:
    """Read a choice of slices; of a volume over time, its first moment.

    Raises:
        ScanError: it is no volume, or too large.
        Exception: whatever nibabel makes of a damaged file.
    """
    with _opened(path) as content:
        volume = _volume(content, path)
        slices = [_scaled(one, volume.header) for one in volume.cut(content, choose_slices(volume.total))]
    window = _first_window(slices)
    pictures: list[GreyPicture] = [window.apply(values) for values in slices]
    return ScanPictures(tuple(pictures), volume.total, str(window), tuple(volume.notes))


def _first_window(slices: Sequence[NDArray[np.float64]]) -> Window:
    return ct_preset("") if looks_like_hounsfield(slices) else from_percentiles(slices)


def nifti_stack(path: Path, most: int) -> Stack:
    """Read a volume for a viewer: all of its slices, or as many as fit into `most` bytes.

    Raises:
        ScanError, Exception: as `read_nifti`.
    """
    with _opened(path) as content:
        volume = _volume(content, path)
        columns, rows = volume.along
        item = max(2, volume.header.get_data_dtype().itemsize)
        shape = volume.shape[rows], volume.shape[columns]
        chosen, shrunk = slices_that_fit(volume.total, shape, item, most)
        stored = volume.cut(content, chosen)
    slices = []
    while stored:  # each let go as it is done with
        slices.append(kept(_slice(stored.pop(0), volume.header), shrunk))
    seen = [slices[i].values() for i in choose_slices(len(slices))]
    aspect = float(np.clip(volume.spacing[rows] / volume.spacing[columns], 0.1, 10)) if min(volume.spacing) > 0 else 1.0
    return as_stack(
        slices,
        volume.total,
        _first_window(seen),
        hounsfield=looks_like_hounsfield(seen),
        aspect=aspect,
        shrunk=shrunk,
        notes=tuple(volume.notes),
    )


def _slice(stored: NDArray[Any], header: Any) -> Slice:
    if stored.dtype.fields is None and stored.dtype.newbyteorder("=") in (np.uint8, np.int8, np.uint16, np.int16):
        slope, intercept = header.get_slope_inter()
        return Slice(stored, *(1.0, 0.0) if slope is None else (float(slope), float(intercept)))
    return quantised(_scaled(stored, header))
