"""What is known of a case → one vector.

A vector has four or five blocks, ``[aligned | scan | text | measurements | joint]``. The first four are a sum: every
modality's unit vector counts the same (measurements by half), absent ones not at all. The last is what a trained fuser
makes of the modalities together; the ``sum`` fuser has none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.fusion.composition import MODALITIES, Composition, composition_of

__all__ = ["Fuser", "Parts", "unit"]

Array = NDArray[np.float32]

_MEASUREMENTS = 0.5
"""Weight of the measurements' unit vector in the sum. Not tuned: a few values of which most are
missing say less than a scan or a text, and alone they reach 0.61 where those reach 0.80 and 0.74 (docs/figures.md)."""

_AT_ONCE = 256


def unit(vectors: Array) -> Array:
    """(..., d) scaled to unit length along the last axis; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


@dataclass(frozen=True)
class Parts:
    """What is known of a case, as unit vectors; at least one of them is there."""

    scans: Array  # (n, base)
    texts: Array  # (m, base)
    measurements: Array  # (c,); zeros where none is known

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return bool(len(self.scans) or len(self.texts) or np.any(self.measurements))

    @property
    def composition(self) -> Composition:
        """The modalities that are there.

        Raises:
            LookupError: none is.
        """
        return composition_of(
            scan=len(self.scans) > 0, text=len(self.texts) > 0, measurements=bool(np.any(self.measurements))
        )

    def without(self, modality: str) -> "Parts":
        """The same, less one modality."""
        return Parts(
            self.scans[:0] if modality == "scan" else self.scans,
            self.texts[:0] if modality == "text" else self.texts,
            np.zeros_like(self.measurements) if modality == "measurements" else self.measurements,
        )


@dataclass(frozen=True)
class Fuser:
    """Fuses the parts of cases, archived or asked with alike."""

    base: int  # width of a scan's or text's vector
    measurements: int  # width of the measurements' block
    joint: int = 0  # width of the joint block
    joint_share: float = 0.0  # its squared length, of 1
    run: Callable[[Array], Array] | None = None  # (n, tokens, token + 1) as of `tokens` → (n, joint) unit vectors

    @property
    def width(self) -> int:
        """Of a fused vector."""
        return self.base + self.measurements + self.joint

    def tokens(self, cases: Sequence[Parts]) -> Array:
        """(n, modalities, base + measurements + 1): unit vectors, and 1 in the last column where one is there."""
        out = np.zeros((len(cases), len(MODALITIES), self.base + self.measurements + 1), np.float32)
        for row, parts in zip(out, cases, strict=True):
            for token, vectors in zip(row, (parts.scans, parts.texts), strict=False):
                if len(vectors):
                    token[: self.base], token[-1] = unit(vectors.mean(0)), 1
            if np.any(parts.measurements):
                row[2, self.base : -1], row[2, -1] = parts.measurements, 1
        return out

    def fuse(self, cases: Sequence[Parts]) -> Array:
        """(n, width) unit vectors."""
        summed = np.zeros((len(cases), self.base + self.measurements), np.float32)
        for row, parts in zip(summed, cases, strict=True):
            if len(parts.scans):
                row[: self.base] += unit(parts.scans.mean(0))
            row[: self.base] += parts.texts.sum(0)
            row[self.base :] += _MEASUREMENTS * parts.measurements
        summed = unit(summed)
        if self.run is None:
            return summed
        tokens = self.tokens(cases)
        joint = np.concatenate([self.run(tokens[i : i + _AT_ONCE]) for i in range(0, len(tokens), _AT_ONCE)])
        share = self.joint_share
        return np.concatenate([summed * np.float32((1 - share) ** 0.5), joint * np.float32(share**0.5)], axis=1)
