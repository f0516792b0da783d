"""PNG, JPEG, TIFF and BMP files → pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.scan.pictures import MOST_PIXELS, GreyPicture, ScanPictures, choose_slices, stretch

__all__ = ["PICTURES", "is_raster", "read_raster"]

PICTURES = ("PNG", "JPEG", "TIFF", "BMP")
"""The formats that Pillow may try, by its names: those of others reach other programs (EPS, Ghostscript)."""
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_MOST_PAGES = 5000  # of a TIFF


def is_raster(head: bytes) -> bool:
    """Whether a file is a picture of a format that is read here, by its first bytes."""
    return head.startswith(_STARTS)


def _grey(image: Image.Image) -> GreyPicture:
    if image.mode.startswith(("I", "F")):  # 16- and 32-bit grey: Pillow's own conversion would clip it
        values = np.asarray(image)
        return stretch(values, float(values.min()), float(values.max()))
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
        if image.size == size:
            pages.append(page)
    raise ScanError(f"{path}: has over {_MOST_PAGES} pages; give one series of slices")


def read_raster(path: Path) -> ScanPictures:
    """Read a picture, or a choice of a TIFF's pages.

    Raises:
        ScanError: it has more pixels or pages than a scan.
        Exception: whatever Pillow makes of a damaged file.
    """
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many, of every page, before it allocates
    try:
        with open_regular(path) as handle, Image.open(handle, formats=PICTURES) as image:
            if image.format != "TIFF":
                return ScanPictures((_grey(image),), 1)
            pages = _pages(image, path)
            pictures = []
            for i in choose_slices(len(pages)):
                image.seek(pages[i])
                pictures.append(_grey(image))
            return ScanPictures(tuple(pictures), len(pages))
    except Image.DecompressionBombError as error:
        raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller") from error
