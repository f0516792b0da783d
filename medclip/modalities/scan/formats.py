"""A file → pictures, or a stack for a viewer, by the format that it is in; what the decoding process does.

Formats are named, and told apart by content: no library is left to try all that it knows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.decoder import Progress
from medclip.modalities.scan.decoding import needs_memory
from medclip.modalities.scan.pictures import ScanPictures
from medclip.modalities.scan.stack import Stack

__all__ = ["SCAN_FORMATS", "from_file", "from_series", "stack_from_file", "stack_from_series"]

T = TypeVar("T", ScanPictures, Stack)

SCAN_FORMATS = "PNG, JPEG, TIFF, BMP, DICOM, NIfTI, or a folder that holds one DICOM series"

_LEAST_SIDE = 16  # pixels; anything smaller is an icon, not a scan
_HEAD = 132  # bytes by which a format is known


def _format(path: Path) -> Literal["nifti", "raster", "dicom"]:
    with open_regular(path) as handle:
        head = handle.read(_HEAD)
    if not head:
        raise ScanError(f"{path}: is empty; copy or export the file again")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return "nifti"
    from medclip.modalities.scan.raster import is_raster

    if is_raster(head) and head[128:] != b"DICM":  # a DICOM file's preamble may pretend to be a TIFF
        return "raster"
    from medclip.modalities.scan.header import is_dicom

    if is_dicom(head, path):
        return "dicom"
    raise ScanError(f"{path}: is not an image that medclip reads ({SCAN_FORMATS})")


def _pictures(path: Path) -> ScanPictures:
    """The libraries of a format are loaded where it is met."""
    found = _format(path)
    if found == "nifti":
        from medclip.modalities.scan.nifti import read_nifti

        return read_nifti(path)
    if found == "raster":
        from medclip.modalities.scan.raster import read_raster

        return read_raster(path)
    from medclip.modalities.scan.dicom import read_dicom

    return read_dicom(path)


def _stack(path: Path, most: int) -> Stack:
    found = _format(path)
    if found == "nifti":
        from medclip.modalities.scan.nifti import nifti_stack

        return nifti_stack(path, most)
    if found == "raster":
        from medclip.modalities.scan.raster import raster_stack

        return raster_stack(path, most)
    from medclip.modalities.scan.dicom import dicom_stack

    return dicom_stack(path, most)


def _named(path: Path, read: Callable[[], T]) -> T:
    """Turn whatever a library makes of a damaged file into one line about it."""
    try:
        scan = read()
    except ScanError:
        raise
    except MemoryError as error:
        raise ScanError(f"{path}: {needs_memory()}") from error
    except PermissionError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:
        kind = type(error).__name__  # its words may quote the file, and a patient's name with it
        raise ScanError(f"{path}: is damaged or truncated; copy or export it again ({kind})") from error
    if any(picture.ndim != 2 or min(picture.shape) < _LEAST_SIDE for picture in scan.pictures):
        raise ScanError(f"{path}: is smaller than {_LEAST_SIDE} pixels on a side; that is no scan")
    return scan


def from_file(path: Path) -> ScanPictures:
    """Read one file.

    Raises:
        ScanError: it is empty, damaged, no scan, or too large.
    """
    return _named(path, lambda: _pictures(path))


def stack_from_file(path: Path, most: int) -> Stack:
    """Read one file for a viewer, as many of its slices as fit into `most` bytes.

    Raises:
        ScanError: as `from_file`.
    """
    return _named(path, lambda: _stack(path, most))


def from_series(files: Sequence[Path], harmful: set[int], progress: Progress) -> ScanPictures:
    """Read the files of one DICOM series.

    Args:
        harmful: positions of files that are not to be opened.
        progress: is told the position of each file before it is opened.

    Raises:
        ScanError: they hold no series or several, or none that can be read.
    """
    from medclip.modalities.scan.dicom import read_series

    return _named(files[0].parent, lambda: read_series(files, harmful, progress))


def stack_from_series(files: Sequence[Path], most: int, harmful: set[int], progress: Progress) -> Stack:
    """Read the files of one DICOM series for a viewer, as many of its slices as fit into `most` bytes.

    Args:
        harmful, progress: as of `from_series`.

    Raises:
        ScanError: as `from_series`.
    """
    from medclip.modalities.scan.dicom import series_stack

    return _named(files[0].parent, lambda: series_stack(files, most, harmful, progress))
