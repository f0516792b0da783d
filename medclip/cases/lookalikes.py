"""Scans that look the same: copies that were stored anew, resized, brightened or slightly cropped.

Two pictures are compared by the correlation of their grey values in 32 × 32 fields, which no linear change of brightness
moves, and which compression and resizing hardly do. A crop does: so each picture is also compared in 15 crops of itself.
Global hashes of the DCT or of differences (256 bits) lie as far from a copy that lacks 4 % at each side as from another
patient's scan.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["SAME_LOOK", "Pair", "lookalikes", "thumbnail"]

SAME_LOOK = 0.04
"""Of 1 − correlation, below which two scans look the same. On MedPix (1,850 scans of 602 patients) two pairs across patients
lie below it (0.014, 0.018), both of one patient under two ids when looked at; the next (0.041) are two patients' heads. On
covid-chestxray (556 scans) it is three pairs (0.000 to 0.013), all of them copies, before two patients' chests (0.052).
Of copies of 200 of MedPix's scans (``make bench-copies``) it finds all that were brightened, resized or compressed and all
that lack 2 % at each side or 5 % at two, 188 of those that lack 4 % at each side, 127 that lack 0 to 5 % by chance."""

_KEPT = 96  # pixels on a side of what is kept of a scan: three a field
_FIELDS = 32  # on a side
_AT_ONCE = 512  # scans whose crops are compared with all at a time

_EVEN = [(m, m, m, m) for m in (0.0, 0.015, 0.03, 0.045)]
_CORNERS = [
    crop for m in (0.025, 0.05) for crop in ((m, m, 0.0, 0.0), (0.0, m, m, 0.0), (0.0, 0.0, m, m), (m, 0.0, 0.0, m))
]
_SIDES = [(0.04, 0.0, 0.0, 0.0), (0.0, 0.04, 0.0, 0.0), (0.0, 0.0, 0.04, 0.0), (0.0, 0.0, 0.0, 0.04)]
_CROPS = (*_EVEN, *_CORNERS, *_SIDES)
"""Shares that are cut off at left, top, right and bottom; the first is the whole picture."""


class Pair(NamedTuple):
    """Two scans that look the same, by their numbers."""

    one: int
    other: int  # the greater


def thumbnail(picture: GreyPicture) -> GreyPicture:
    """What is kept of a scan to compare it: (96, 96) uint8, its sides stretched to a square."""
    return np.asarray(Image.fromarray(picture).resize((_KEPT, _KEPT), Image.Resampling.BOX))


def _seen(kept: GreyPicture, crop: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """(1024,) grey values of a crop, with mean 0 and length 1; zeros where all are alike."""
    left, top, right, bottom = crop
    box = (left * _KEPT, top * _KEPT, (1 - right) * _KEPT, (1 - bottom) * _KEPT)
    fields = Image.fromarray(kept).resize((_FIELDS, _FIELDS), Image.Resampling.BOX, box=box)
    values = np.asarray(fields, np.float32).ravel()
    values = values - values.mean()
    return np.asarray(values / (np.linalg.norm(values) or 1), np.float32)


def lookalikes(thumbnails: Sequence[GreyPicture], patients: Sequence[str]) -> Iterator[Pair]:
    """The pairs of scans of two patients that look the same, each once, in order; slices of one patient do not matter.

    Args:
        thumbnails: of n scans, by `thumbnail`.
        patients: (n,) whose they are.
    """
    if not thumbnails:
        return
    whole = np.stack([_seen(kept, _CROPS[0]) for kept in thumbnails])
    owners = np.unique(np.asarray(patients), return_inverse=True)[1]
    found: set[Pair] = set()
    for start in range(0, len(whole), _AT_ONCE):
        block = thumbnails[start : start + _AT_ONCE]
        alike = owners[start : start + _AT_ONCE, None] != owners[None]
        for crop in _CROPS:
            near = np.stack([_seen(kept, crop) for kept in block]) @ whole.T > 1 - SAME_LOOK
            found |= {Pair(*sorted((start + int(i), int(j)))) for i, j in np.argwhere(near & alike)}
    yield from sorted(found)
