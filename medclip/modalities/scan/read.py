"""Image files → 8-bit grey pictures."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medclip.errors import ScanError

__all__ = ["GreyPicture", "read_scan", "thumbnail"]

GreyPicture = NDArray[np.uint8]
"""(height, width) uint8, 0 black to 255 white."""

_LEAST_SIDE = 16  # pixels; anything smaller is an icon, not a scan
_MOST_PIXELS = 100_000_000
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}


def _is_dicom(head: bytes, path: Path) -> bool:
    return head[128:132] == b"DICM" or path.suffix.lower() in _DICOM_SUFFIXES


def _stretch(values: NDArray[np.floating]) -> GreyPicture:
    """Map the values' range onto 0..255."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.round((values - low) * (255.0 / (high - low))), np.uint8)


def _from_pillow(path: Path) -> GreyPicture:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ScanError(f"{path}: has over {_MOST_PIXELS // 10**6} million pixels; export it smaller")
            if image.mode.startswith(("I", "F")):  # 16- and 32-bit grey: Pillow's own conversion would clip it
                return _stretch(np.asarray(image, np.float64))
            if "A" in image.getbands() or "transparency" in image.info:
                opaque = image.convert("RGBA")
                black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
                return np.asarray(Image.alpha_composite(black, opaque).convert("L"))
            return np.asarray(image.convert("L"))


def _from_dicom(path: Path) -> GreyPicture:
    """One single-frame grey DICOM image: modality rescale or LUT, VOI LUT or window, then MONOCHROME1 inversion.

    Source: DICOM PS3.3 C.11.1, C.11.2 and C.7.6.3.1.2, in the order of PS3.4 N.2.
    """
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise ScanError(f"{path}: holds no image (no pixel data); export the image itself")
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            raise ScanError(f"{path}: has several frames; export one frame or slice a file")
        if int(dataset.get("SamplesPerPixel", 1)) != 1 or "PALETTE" in str(dataset.get("PhotometricInterpretation")):
            raise ScanError(f"{path}: is a colour DICOM image; export it in grey, or as PNG")
        stored = dataset.pixel_array
        values = np.asarray(apply_voi_lut(apply_modality_lut(stored, dataset), dataset), np.float64)
    grey = _stretch(values)
    return 255 - grey if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else grey


def read_scan(path: Path) -> GreyPicture:
    """Read one scan: PNG, JPEG or TIFF at 8 or 16 bits, or a single-frame grey DICOM file.

    Returns:
        (height, width) uint8.

    Raises:
        ScanError: the file is missing, empty, truncated, not an image, or of a kind that is not supported.
    """
    if not path.is_file():
        raise ScanError(f"{path}: not found; check the path")
    try:
        with path.open("rb") as handle:
            head = handle.read(132)
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not head:
        raise ScanError(f"{path}: is empty; copy or export the file again")
    decode: Callable[[Path], GreyPicture] = _from_dicom if _is_dicom(head, path) else _from_pillow
    try:
        picture = decode(path)
    except ScanError:
        raise
    except UnidentifiedImageError as error:
        raise ScanError(f"{path}: is not an image that medclip reads (PNG, JPEG, TIFF or DICOM)") from error
    except Exception as error:
        detail = " ".join(str(error).split())[:120]
        raise ScanError(f"{path}: is damaged or truncated; copy or export it again ({detail})") from error
    if picture.ndim != 2 or min(picture.shape) < _LEAST_SIDE:
        raise ScanError(f"{path}: is smaller than {_LEAST_SIDE} pixels on a side; that is no scan")
    return picture


def thumbnail(picture: GreyPicture, side: int = 256) -> bytes:
    """The picture as a grey JPEG that fits into side × side pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=85)
    return out.getvalue()
