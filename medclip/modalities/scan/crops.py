"""Overlapping square crops of a picture: what a scan looks like in its parts."""

from collections.abc import Sequence

import numpy as np

from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["CROPS", "Box", "crop_boxes", "with_crops"]

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels."""

CROPS = 3
"""Crops along either axis of a picture where a model pools over them (``medclip train --crops``)."""

_SIDE = 0.5  # of the picture's longer side


def crop_boxes(height: int, width: int, steps: int, side: float = _SIDE) -> list[Box]:
    """Crops of one size that overlap and cover the picture, row by row.

    Args:
        steps: crops along either axis.
        side: of a crop, as a share of the picture's longer side.
    """
    pixels = max(1, min(round(side * max(height, width)), height, width))
    tops, lefts = (np.linspace(0, length - pixels, steps).round().astype(int) for length in (height, width))
    return [(int(t), int(left), int(t) + pixels, int(left) + pixels) for t in tops for left in lefts]


def with_crops(pictures: Sequence[GreyPicture], steps: int) -> list[GreyPicture]:
    """Each picture, followed by its crops; without any where `steps` is 0."""
    found: list[GreyPicture] = []
    for picture in pictures:
        found.append(picture)
        if steps:
            height, width = picture.shape
            found += [picture[t:b, left:right] for t, left, b, right in crop_boxes(height, width, steps)]
    return found
