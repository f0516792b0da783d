"""How the sample cohort's scans are drawn: radiograph-like and CT-like phantoms with one lesion or none."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["LESIONS", "REGIONS", "Anatomy", "Lesion", "draw"]

Lesion = Literal["nodule", "collection", "cyst", "none"]
LESIONS: tuple[Lesion, ...] = ("nodule", "collection", "cyst", "none")

Region = Literal["chest radiograph", "chest CT", "abdomen CT", "head CT"]
REGIONS: tuple[Region, ...] = ("chest radiograph", "chest CT", "abdomen CT", "head CT")

_SIZE = 256
Picture = NDArray[np.float64]


@dataclass(frozen=True)
class Anatomy:
    """Where a patient's own anatomy lies; the same for all of the patient's scans. Fractions of the picture."""

    width: float
    height: float
    shift: float
    lesion_side: Literal["left", "right"]  # the patient's side: left is drawn on the right, as scans are read
    lesion_height: float  # 0 (top) to 1 (bottom) within the organ
    lesion_radius: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Anatomy":
        """Draw one at random."""
        return cls(
            width=rng.uniform(0.92, 1.06),
            height=rng.uniform(0.93, 1.05),
            shift=rng.uniform(-0.02, 0.02),
            lesion_side="left" if rng.random() < 0.5 else "right",
            lesion_height=rng.uniform(0.2, 0.8),
            lesion_radius=rng.uniform(0.05, 0.075),
        )


class _Canvas:
    """A grey picture in [0, 1] with soft-edged ellipses added to it."""

    def __init__(self, background: float, anatomy: Anatomy) -> None:
        self.picture: Picture = np.full((_SIZE, _SIZE), background)
        self.anatomy = anatomy
        grid = (np.arange(_SIZE) + 0.5) / _SIZE
        self.y, self.x = np.meshgrid(grid, grid, indexing="ij")

    def distance(self, cx: float, cy: float, rx: float, ry: float) -> Picture:
        """Elliptical distance: below 1 inside."""
        a = self.anatomy
        x = (self.x - 0.5 - a.shift) / a.width + 0.5
        y = (self.y - 0.5) / a.height + 0.5
        return np.asarray(np.hypot((x - cx) / rx, (y - cy) / ry))

    def paint(self, mask: Picture, grey: float) -> None:
        self.picture = self.picture * (1 - mask) + grey * mask

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, grey: float, softness: float = 0.04) -> None:
        self.paint(1 / (1 + np.exp((self.distance(cx, cy, rx, ry) - 1) / softness)), grey)

    def ring(self, cx: float, cy: float, rx: float, ry: float, grey: float, thickness: float) -> None:
        d = self.distance(cx, cy, rx, ry)
        self.paint(np.exp(-(((d - 1) / thickness) ** 2)), grey)


@dataclass(frozen=True)
class _Organ:
    """Where a lesion may lie on one side of a region, and how bright the organ is."""

    cx: float
    cy: float
    rx: float
    ry: float
    grey: float


def _chest_radiograph(c: _Canvas) -> None:
    c.ellipse(0.5, 0.58, 0.43, 0.56, 0.62)
    for side in (0.31, 0.69):
        c.ellipse(side, 0.46, 0.155, 0.31, 0.2, 0.07)
    c.ellipse(0.55, 0.6, 0.13, 0.17, 0.75, 0.1)
    c.ellipse(0.5, 0.4, 0.045, 0.5, 0.72, 0.25)
    for rib in range(7):
        for side in (0.31, 0.69):
            c.ring(side, 0.3 + 0.085 * rib, 0.19, 0.09, float(c.picture.mean()) * 0.85, 0.05)


def _chest_ct(c: _Canvas) -> None:
    c.ellipse(0.5, 0.5, 0.45, 0.33, 0.45)
    c.ring(0.5, 0.5, 0.4, 0.29, 0.85, 0.03)
    for side in (0.31, 0.69):
        c.ellipse(side, 0.49, 0.145, 0.225, 0.08)
    c.ellipse(0.53, 0.46, 0.1, 0.13, 0.55)
    c.ellipse(0.5, 0.73, 0.05, 0.055, 0.95)


def _abdomen_ct(c: _Canvas) -> None:
    c.ellipse(0.5, 0.5, 0.45, 0.34, 0.28)
    c.ellipse(0.5, 0.5, 0.42, 0.31, 0.4)
    c.ellipse(0.33, 0.44, 0.19, 0.2, 0.58)
    c.ellipse(0.7, 0.43, 0.11, 0.13, 0.56)
    for side in (0.34, 0.66):
        c.ellipse(side, 0.65, 0.06, 0.075, 0.68)
    c.ellipse(0.5, 0.7, 0.055, 0.06, 0.95)
    c.ellipse(0.56, 0.58, 0.03, 0.03, 0.75)


def _head_ct(c: _Canvas) -> None:
    c.ellipse(0.5, 0.5, 0.345, 0.43, 0.97)
    c.ellipse(0.5, 0.5, 0.315, 0.4, 0.45)
    for side in (0.46, 0.54):
        c.ellipse(side, 0.47, 0.022, 0.12, 0.15)
    c.ellipse(0.5, 0.5, 0.005, 0.38, 0.6, 0.3)


_DRAW = {
    "chest radiograph": (_chest_radiograph, _Organ(0.31, 0.46, 0.13, 0.27, 0.2)),
    "chest CT": (_chest_ct, _Organ(0.31, 0.49, 0.12, 0.19, 0.08)),
    "abdomen CT": (_abdomen_ct, _Organ(0.33, 0.45, 0.13, 0.15, 0.58)),
    "head CT": (_head_ct, _Organ(0.36, 0.5, 0.1, 0.25, 0.45)),
}


def _lesion(c: _Canvas, organ: _Organ, lesion: Lesion) -> None:
    a = c.anatomy
    cx = organ.cx if a.lesion_side == "right" else 1 - organ.cx
    cy = organ.cy + (a.lesion_height - 0.5) * organ.ry
    radius = a.lesion_radius
    if lesion == "nodule":
        c.ellipse(cx, cy, radius, radius, min(1.0, organ.grey + 0.45), 0.12)
    elif lesion == "cyst":
        c.ellipse(cx, cy, radius * 1.15, radius * 1.15, max(0.0, organ.grey - 0.4), 0.05)
        c.ring(cx, cy, radius * 1.25, radius * 1.25, min(1.0, organ.grey + 0.35), 0.12)
    elif lesion == "collection":
        inside = 1 / (1 + np.exp((c.distance(cx, organ.cy, organ.rx * 1.1, organ.ry * 1.1) - 1) / 0.04))
        level = organ.cy + organ.ry * (0.75 - 6 * radius)
        meniscus = level + 0.06 * np.sin((c.x - cx) * 9)
        c.paint(inside / (1 + np.exp(-(c.y - meniscus) / 0.012)), min(1.0, organ.grey + 0.38))


def draw(region: Region, lesion: Lesion, anatomy: Anatomy, rng: np.random.Generator) -> bytes:
    """One phantom as a 256 × 256 8-bit grey PNG, with the word SYNTHETIC burnt into its corner."""
    canvas = _Canvas(0.03, anatomy)
    paint, organ = _DRAW[region]
    paint(canvas)
    _lesion(canvas, organ, lesion)
    exposure = rng.uniform(0.92, 1.08)
    noisy = canvas.picture * exposure + rng.normal(0, 0.035, canvas.picture.shape)
    image = Image.fromarray((np.clip(noisy, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    ImageDraw.Draw(image).text((4, _SIZE - 14), "SYNTHETIC", fill=200)
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
