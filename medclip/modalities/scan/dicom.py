"""DICOM files and series → pictures."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from medclip.errors import ScanError
from medclip.modalities.scan.decoding import decode
from medclip.modalities.scan.geometry import Frame, frames_of, in_order
from medclip.modalities.scan.grey import Decoded, to_grey, to_values
from medclip.modalities.scan.header import integer, is_dicom, read_header
from medclip.modalities.scan.pictures import MOST_PIXELS, ScanPictures, choose_slices

__all__ = ["read_dicom", "read_series"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LEAST_FRAME = 16  # bytes of a compressed frame with its item's header
_NO_SCAN = {"SEG": "a segmentation", "RTSTRUCT": "a structure set", "SR": "a structured report", "PR": "a presentation"}


def _check(dataset: FileDataset, path: Path) -> None:
    """Refuse what holds no scan, or none that can be decoded here."""
    if not any(name in dataset for name in _PIXELS):
        raise ScanError(f"{path}: holds no image (no pixel data); export the image itself")
    kind = _NO_SCAN.get(str(dataset.get("Modality", "")))
    if kind or integer(dataset.get("BitsAllocated"), 8) == 1:
        raise ScanError(f"{path}: is {kind or 'a mask of one bit'}, not a scan; give the images that it was made of")
    rows, columns = integer(dataset.get("Rows"), 0), integer(dataset.get("Columns"), 0)
    if rows * columns > MOST_PIXELS:
        raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian:
        return
    try:
        decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    twelve = syntax == JPEGExtended12Bit and integer(dataset.get("BitsStored"), 8) > 8
    if twelve and find_spec("libjpeg") is None:
        raise ScanError(f"{path}: is 12-bit JPEG; to read it:  pip install 'medclip-assistant[jpeg]'")
    if integer(dataset.get("NumberOfFrames"), 1) * _LEAST_FRAME > len(dataset.get("PixelData") or b""):
        raise ScanError(f"{path}: holds fewer frames than it says; copy or export it again")
    if not decodable:
        raise ScanError(f"{path}: is compressed as {syntax.name}, which medclip cannot decode; export it uncompressed")


def _stored(dataset: FileDataset, file: Path, numbers: Sequence[int]) -> list[NDArray[Any]]:
    if UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated:
        return decode(file, numbers)
    return list(iter_pixels(dataset, indices=list(numbers)))


def _read(frames: Sequence[Frame]) -> ScanPictures:
    """The pictures of a volume; a damaged file of several is left out and counted."""
    ordered, notes = in_order(frames)
    by_file: dict[Path, list[int]] = defaultdict(list)
    chosen = [ordered[i] for i in choose_slices(len(ordered))]
    for frame in chosen:
        by_file[frame.file].append(frame.number)
    found: dict[tuple[Path, int], Decoded] = {}
    header: FileDataset | None = None
    failed: Exception | None = None
    for file, numbers in by_file.items():
        try:
            dataset = read_header(file, pixels=True)
            _check(dataset, file)
            for number, pixels in zip(sorted(numbers), _stored(dataset, file, sorted(numbers)), strict=True):
                found[file, number] = to_values(pixels, dataset, number)
            header = header or dataset
        except Exception as error:  # noqa: BLE001 (the others may do)
            failed = failed or error
    if header is None:
        raise failed or ScanError("no frame")
    readable = [found[frame.file, frame.number] for frame in chosen if (frame.file, frame.number) in found]
    if len(readable) < len(chosen):
        notes.append(f"{len(chosen) - len(readable)} left out: damaged")
    pictures, how = to_grey(readable, header)
    return ScanPictures(tuple(pictures), len(ordered), how, tuple(notes))


def read_dicom(path: Path) -> ScanPictures:
    """Read one DICOM file: one picture, or a choice of its frames.

    Raises:
        ScanError: it holds no scan, or one that cannot be decoded here.
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = read_header(path, pixels=True)
        _check(header, path)
        return _read(list(frames_of(header, path)))


def read_series(files: Sequence[Path]) -> ScanPictures:
    """Read the files of one DICOM series: a choice of its slices, in geometric order.

    Files that are not DICOM images are left out and counted in the notes.

    Raises:
        ScanError: they hold no series or several.
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    frames: list[Frame] = []
    series: Counter[str] = Counter()
    left_out = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            try:
                with file.open("rb") as handle:
                    known = is_dicom(handle.read(132), file)
                header = read_header(file) if known else None
            except Exception:  # noqa: BLE001 (counted; a series is more than its damaged file)
                header = None
            if header is None or "Rows" not in header:
                left_out += 1
                continue
            series[str(header.get("SeriesInstanceUID", ""))] += 1
            frames += frames_of(header, file)
        folder = files[0].parent
        if not frames:
            raise ScanError(f"{folder}: holds no DICOM image; name the folder of one series")
        if len(series) > 1:
            raise ScanError(
                f"{folder}: holds {len(series)} series; name the folder of one, or use  medclip cases import dicom"
            )
        read = _read(frames)
    notes = (*read.notes, f"{left_out} left out: no DICOM image") if left_out else read.notes
    return ScanPictures(read.pictures, read.total, read.window, notes)
