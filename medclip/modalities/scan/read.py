"""Scans as hospitals have them → 8-bit grey pictures, or stacks for a viewer: DICOM, NIfTI, PNG, JPEG, TIFF, BMP."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from medclip.errors import ScanError
from medclip.modalities.scan.decoding import decode, decode_series, decode_stack, decode_stack_series
from medclip.modalities.scan.formats import SCAN_FORMATS
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.stack import Stack

__all__ = ["SCAN_FORMATS", "as_tiff", "read_scan", "read_slices", "read_stack", "thumbnail"]

_MOST_FILES = 10_000  # of a series


def read_scan(path: Path) -> ScanPictures:
    """Read one scan: a picture, a DICOM file, the folder of a DICOM series, or a NIfTI volume.

    Every file is decoded in a process of its own, within limits of time and memory (`medclip.modalities.scan.decoding`).
    A link is followed wherever it leads, since a cases folder may link to an archive's share; a FIFO, socket or device
    is never opened.

    Returns:
        One picture, or at most `SLICES` of a series, a volume or a cine loop, all (height, width) uint8.

    Raises:
        ScanError: the file is missing, empty, truncated, no plain file, not an image, of a kind that is not supported,
            or takes more time or memory than a scan should.
    """
    files = _series(path)
    return decode(path) if files is None else read_slices(files)


def read_stack(path: Path, most: int) -> Stack:
    """Read one scan for a viewer: all of its slices with the values that are stored, as many as fit into `most` bytes.

    Raises:
        ScanError: as `read_scan`.
    """
    files = _series(path)
    if files is None:
        return decode_stack(path, most)
    _require_few(files)
    return decode_stack_series(files, most)


def _series(path: Path) -> list[Path] | None:
    """The files of a folder; None of a plain file."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
            if not files:
                raise ScanError(f"{path}: holds no DICOM image; name the folder of one series")
            return files
        if not path.exists():
            raise ScanError(f"{path}: not found; check the path")
        if not path.is_file():
            raise ScanError(f"{path}: is no plain file (a pipe or device?); give the scan itself")
    except (OSError, ValueError) as error:  # no permission, or no name that a file can have
        raise ScanError(f"{path}: cannot be read; check the path and its permissions") from error
    return None


def read_slices(files: Sequence[Path]) -> ScanPictures:
    """Read the files of one DICOM series, as `read_scan` reads the folder that holds them; at least one file.

    Raises:
        ScanError: as `read_scan`.
    """
    _require_few(files)
    return decode_series(files)


def _require_few(files: Sequence[Path]) -> None:
    if len(files) > _MOST_FILES:
        raise ScanError(f"{files[0].parent}: holds over {_MOST_FILES} files; name the folder of one series")


def as_tiff(pictures: Sequence[GreyPicture]) -> bytes:
    """The pictures of one scan as the pages of a lossless TIFF, which `read_scan` reads back unchanged."""
    first, *others = [Image.fromarray(picture) for picture in pictures]
    out = io.BytesIO()
    first.save(out, format="TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return out.getvalue()


def thumbnail(picture: GreyPicture, side: int = 256) -> bytes:
    """The picture as a JPEG that fits into side × side pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=85)
    return out.getvalue()
