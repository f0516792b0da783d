"""PNG, JPEG, TIFF and BMP files → pictures, or stacks for a viewer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.scan.pictures import MOST_PIXELS, GreyPicture, ScanPictures, choose_slices, stretch
from medclip.modalities.scan.stack import GREY, Slice, Stack, as_stack, kept, quantised, slices_that_fit
from medclip.modalities.scan.window import Window

__all__ = ["OversizeError", "is_raster", "opened_picture", "raster_stack", "read_raster"]

_PICTURES = ("PNG", "JPEG", "TIFF", "BMP")
"""The formats that Pillow may try, by its names: those of others reach other programs (EPS, Ghostscript)."""
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_MOST_PAGES = 5000  # of a TIFF
_DEEP = ("I", "F")  # how Pillow's names of 16- and 32-bit grey begin; its own conversion to 8 bits would clip them

_limit_lifted = threading.Lock()


class OversizeError(ScanError):
    """A picture has more than `MOST_PIXELS`."""


def is_raster(head: bytes) -> bool:
    """Whether a file is a picture of a format that is read here, by its first bytes."""
    return head.startswith(_STARTS)


@contextmanager
def opened_picture(path: Path) -> Iterator[Image.Image]:
    """A picture of at most `MOST_PIXELS`, its pixels not yet decoded.

    Pillow's own limit, which is of the whole process, is lifted meanwhile: it warns from 89 million pixels on (an error
    where warnings are), and what is thrown then looks like a damaged file.

    Raises:
        OversizeError: it has more pixels than a scan.
        OSError: it is no plain file.
        Exception: whatever Pillow makes of a damaged file.
    """
    with _limit_lifted:
        pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with open_regular(path) as handle, Image.open(handle, formats=_PICTURES) as image:
                _require_size(image, path)
                yield image
        finally:
            Image.MAX_IMAGE_PIXELS = pillows


def _require_size(image: Image.Image, path: Path) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise OversizeError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")


@dataclass(frozen=True)
class _Scale:
    """Which values of 16- or 32-bit grey become black and white."""

    low: float
    high: float


def _scale(image: Image.Image, pages: list[int]) -> _Scale:
    """One scale for all these pages, from the least to the greatest of their values, so that they can be compared.

    Each is decoded for it and let go: a dozen large ones would not fit into the decoder together.
    """
    low, high = np.inf, -np.inf
    for page in pages:
        image.seek(page)
        if image.mode.startswith(_DEEP):
            values = np.asarray(image)
            low, high = np.minimum(low, values.min()), np.maximum(high, values.max())
    return _Scale(float(low), float(high))


def _grey(image: Image.Image, scale: _Scale) -> GreyPicture:
    if image.mode.startswith(_DEEP):
        return stretch(np.asarray(image), scale.low, scale.high)
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, opaque).convert("L"))
    return np.asarray(image.convert("L"))


def _pages(image: Image.Image, path: Path) -> list[int]:
    """Those of a TIFF that are as large as the first; others are previews."""
    size = image.size
    pages: list[int] = []
    for page in range(_MOST_PAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            return pages
        _require_size(image, path)
        if image.size == size:
            pages.append(page)
    raise ScanError(f"{path}: has over {_MOST_PAGES} pages; give one series of slices")


def read_raster(path: Path) -> ScanPictures:
    """Read a picture, or a choice of a TIFF's pages, those of 16 or 32 bits on one grey scale.

    Raises:
        ScanError: it has more pixels or pages than a scan.
        Exception: whatever Pillow makes of a damaged file.
    """
    with opened_picture(path) as image:
        pages = _pages(image, path) if image.format == "TIFF" else [0]
        chosen = [pages[i] for i in choose_slices(len(pages))]
        scale = _scale(image, chosen)
        pictures = []
        for page in chosen:
            image.seek(page)
            pictures.append(_grey(image, scale))
        return ScanPictures(tuple(pictures), len(pages))


def raster_stack(path: Path, most: int) -> Stack:
    """Read a picture for a viewer, or as many of a TIFF's pages as fit into `most` bytes; colours as grey.

    Raises:
        ScanError, Exception: as `read_raster`.
    """
    with opened_picture(path) as image:
        pages = _pages(image, path) if image.format == "TIFF" else [0]
        image.seek(pages[0])
        deep = image.mode.startswith(_DEEP)
        chosen, shrunk = slices_that_fit(len(pages), (image.height, image.width), 2 if deep else 1, most)
        slices = []
        for number in chosen:
            image.seek(pages[number])
            slices.append(kept(_slice(image), shrunk))
        window = GREY
        if deep:
            scale = _scale(image, [pages[number] for number in chosen])
            window = Window((scale.low + scale.high) / 2, scale.high - scale.low, "all values", "LINEAR_EXACT")
        return as_stack(slices, len(pages), window, shrunk=shrunk)


def _slice(image: Image.Image) -> Slice:
    if not image.mode.startswith(_DEEP):
        return Slice(_grey(image, _Scale(0, 255)))
    values = np.asarray(image)
    return Slice(values) if values.dtype.newbyteorder("=") == np.uint16 else quantised(values.astype(np.float64))
