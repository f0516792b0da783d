"""Scans as hospitals have them → 8-bit grey pictures: DICOM, NIfTI, PNG, JPEG, TIFF."""

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from medclip.errors import ScanError
from medclip.modalities.scan.pictures import MOST_PIXELS, GreyPicture, ScanPictures, choose_slices, stretch

__all__ = ["SCAN_FORMATS", "as_tiff", "read_scan", "read_slices", "thumbnail"]

SCAN_FORMATS = "PNG, JPEG, TIFF, DICOM, NIfTI, or a folder that holds one DICOM series"

_LEAST_SIDE = 16  # pixels; anything smaller is an icon, not a scan


def _grey(image: Image.Image) -> GreyPicture:
    if image.mode.startswith(("I", "F")):  # 16- and 32-bit grey: Pillow's own conversion would clip it
        values = np.asarray(image, np.float64)
        return stretch(values, float(values.min()), float(values.max()))
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, opaque).convert("L"))
    return np.asarray(image.convert("L"))


def _from_pillow(path: Path) -> ScanPictures:
    """A picture, or a choice of a TIFF's pages; pages of another size than the first (previews) do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")
            count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            if count == 1:
                return ScanPictures((_grey(image),), 1)
            size, pages = image.size, []
            for page in range(count):
                image.seek(page)
                if image.size == size:
                    pages.append(page)
            pictures = []
            for i in choose_slices(len(pages)):
                image.seek(pages[i])
                pictures.append(_grey(image))
            return ScanPictures(tuple(pictures), len(pages))


def _from_file(path: Path) -> ScanPictures:
    """By the format that the file is in; the libraries of a format are loaded where it is met."""
    with path.open("rb") as handle:
        head = handle.read(132)
    if not head:
        raise ScanError(f"{path}: is empty; copy or export the file again")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        from medclip.modalities.scan.nifti import read_nifti

        return read_nifti(path)
    from medclip.modalities.scan.header import is_dicom

    if not is_dicom(head, path):
        return _from_pillow(path)
    from medclip.modalities.scan.dicom import read_dicom

    return read_dicom(path)


def _from_series(files: Sequence[Path]) -> ScanPictures:
    from medclip.modalities.scan.dicom import read_series

    return read_series(files)


def _named(path: Path, read: Callable[[], ScanPictures]) -> ScanPictures:
    """Turn whatever a library makes of a damaged file into one line about it."""
    try:
        scan = read()
    except ScanError:
        raise
    except UnidentifiedImageError as error:
        raise ScanError(f"{path}: is not an image that medclip reads ({SCAN_FORMATS})") from error
    except PermissionError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:
        detail = " ".join(str(error).split())[:120]
        raise ScanError(f"{path}: is damaged or truncated; copy or export it again ({detail})") from error
    if any(picture.ndim != 2 or min(picture.shape) < _LEAST_SIDE for picture in scan.pictures):
        raise ScanError(f"{path}: is smaller than {_LEAST_SIDE} pixels on a side; that is no scan")
    return scan


def read_scan(path: Path) -> ScanPictures:
    """Read one scan: a picture, a DICOM file, the folder of a DICOM series, or a NIfTI volume.

    Returns:
        One picture, or at most `SLICES` of a series, a volume or a cine loop, all (height, width) uint8.

    Raises:
        ScanError: the file is missing, empty, truncated, not an image, or of a kind that is not supported.
    """
    if not path.exists():
        raise ScanError(f"{path}: not found; check the path")
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        if not files:
            raise ScanError(f"{path}: holds no DICOM image; name the folder of one series")
        return read_slices(files)
    return _named(path, lambda: _from_file(path))


def read_slices(files: Sequence[Path]) -> ScanPictures:
    """Read the files of one DICOM series, as `read_scan` reads the folder that holds them; at least one file.

    Raises:
        ScanError: as `read_scan`.
    """
    return _named(files[0].parent, lambda: _from_series(files))


def as_tiff(pictures: Sequence[GreyPicture]) -> bytes:
    """The pictures of one scan as the pages of a lossless TIFF, which `read_scan` reads back unchanged."""
    first, *others = [Image.fromarray(picture) for picture in pictures]
    out = io.BytesIO()
    first.save(out, format="TIFF", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    return out.getvalue()


def thumbnail(picture: GreyPicture, side: int = 256) -> bytes:
    """The picture, grey or (height, width, 3) in colour, as a JPEG that fits into side × side pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=85)
    return out.getvalue()
