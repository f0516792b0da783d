"""Overlapping square crops of a picture: what a scan looks like in its parts."""

import math
from collections.abc import Sequence

import numpy as np

from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["CROPS", "Box", "crop_boxes", "with_crops"]

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels."""

CROPS = 3
"""Crops along either axis of a picture where a model pools over them (``medclip train --crops``)."""

_SIDE = 0.5  # of the picture's longer side
_DENSITY = 1.5  # crops along an axis, for each that would fit side by side


def crop_boxes(height: int, width: int, steps: int) -> list[Box]:
    """Crops of one size that overlap by a third or more and cover the picture, row by row.

    Args:
        steps: crops along either axis, at least; more along the longer one of an elongated picture.
    """
    pixels = max(1, min(round(_SIDE * max(height, width)), height, width))
    tops, lefts = (
        np.linspace(0, length - pixels, max(steps, math.ceil(_DENSITY * length / pixels)) if length > pixels else 1)
        .round()
        .astype(int)
        for length in (height, width)
    )
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
