"""A scan as another scanner, window or positioning could have shown it."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import Preprocessing
from medclip.training.settings import Augmentation

__all__ = ["augment"]


def augment(
    picture: GreyPicture, how: Preprocessing, rng: np.random.Generator, ranges: Augmentation | None = None
) -> GreyPicture:
    """A scan as another scanner, window or positioning could have shown it.

    Rotation, zoom, shift, gamma, contrast, brightness and noise. Never a left-right flip: the side is part of the
    finding, and the heart and liver have theirs.
    """
    by = ranges or Augmentation()
    square = picture
    if how.resize != "squash":
        height, width = picture.shape
        side = max(height, width) if how.resize == "pad" else min(height, width)
        canvas = Image.new("L", (side, side), 0)
        canvas.paste(Image.fromarray(picture), ((side - width) // 2, (side - height) // 2))
        square = np.asarray(canvas)
    height, width = square.shape
    angle, zoom = (
        math.radians(rng.uniform(-by.rotation, by.rotation)),
        math.exp(rng.uniform(math.log(by.zoom[0]), math.log(by.zoom[1]))),
    )
    stretch = math.exp(rng.uniform(-by.stretch, by.stretch))
    cos, sin, middle = math.cos(angle) / zoom, math.sin(angle) / zoom, how.size / 2
    sx, sy = width / how.size, height / how.size
    dx, dy = rng.uniform(-by.shift, by.shift, 2)
    matrix = (
        cos * stretch * sx,
        sin * sx,
        width * (0.5 + dx) - (cos * stretch + sin) * middle * sx,
        -sin * stretch * sy,
        cos * sy,
        height * (0.5 + dy) - (cos - sin * stretch) * middle * sy,
    )
    moved = Image.fromarray(square).transform(
        (how.size, how.size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    tone = np.arange(256, dtype=np.float32) / 255  # a grey value at a time: a picture has three hundred times as many
    tone = tone ** math.exp(rng.uniform(-by.gamma, by.gamma))
    tone = (tone - 0.5) * rng.uniform(*by.contrast) + 0.5 + rng.uniform(-by.brightness, by.brightness)
    if rng.random() < by.noisy:
        x = tone[np.asarray(moved)]
        return _stored(x + rng.normal(0, by.noise, x.shape))
    return np.asarray(_stored(tone)[np.asarray(moved)], np.uint8)


def _stored(x: NDArray[np.floating]) -> NDArray[np.uint8]:
    """0..1 → 0..255, what lies outside clipped."""
    return np.asarray(np.clip(x, 0, 1) * 255, np.uint8)
