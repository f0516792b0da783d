"""What is known of a case → one vector.

A vector has four or five blocks, ``[aligned | scan | text | measurements | joint]``. The first four are a sum: every
modality's unit vector counts the same (measurements by half), absent ones not at all. The last is what a trained fuser
makes of the modalities together; the ``sum`` fuser has none.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medclip.fusion.composition import MODALITIES, PARTS, Composition, Part, composed

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
    history: Array  # (0 or 1, base)
    report: Array  # (0 or 1, base)
    measurements: Array  # (c,); zeros where none is known

    @property
    def texts(self) -> Array:
        """(0 to 2, base): report and history."""
        return np.concatenate([self.report, self.history])

    @property
    def there(self) -> tuple[Part, ...]:
        """Which parts there are."""
        sizes = (len(self.scans), len(self.history), len(self.report), np.any(self.measurements))
        return tuple(part for part, size in zip(PARTS, sizes, strict=True) if size)

    @property
    def composition(self) -> Composition:
        """What they make up.

        Raises:
            LookupError: there is none.
        """
        return composed(self.there)

    def scan(self, position: int) -> "Parts":
        """One scan alone."""
        return replace(self.only(["scan"]), scans=self.scans[position : position + 1])

    def only(self, wanted: Collection[str]) -> "Parts":
        """The same, less what is not wanted."""
        return Parts(
            self.scans if "scan" in wanted else self.scans[:0],
            self.history if "history" in wanted else self.history[:0],
            self.report if "report" in wanted else self.report[:0],
            self.measurements if "measurements" in wanted else np.zeros_like(self.measurements),
        )


@dataclass(frozen=True)
class Fuser:
    """Fuses the parts of cases, archived or asked with alike."""

    base: int  # width of a scan's or text's vector
    measurements: int  # width of the measurements' block
    joint: int = 0  # width of the joint block
    joint_share: float = 0.0  # its squared length, of 1
    run: Callable[[Array], Array] | None = None  # (n, tokens, token + 1) as of `tokens` → (n, joint) unit vectors
    aligned: int = 0  # width of the block, at the beginning of `base`, that was trained on cases
    adds_texts: bool = False  # as models of medclip 0.1 do: several texts weigh more than all scans
    gauge: int = 0  # width of the block at the end of `base` that says how unlike the training cases the features are

    def __post_init__(self) -> None:
        if self.aligned == self.base:  # a model that keeps nothing of its towers: what is trained is all there is
            object.__setattr__(self, "aligned", 0)

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
            if len(texts := parts.texts):
                row[: self.base] += texts.sum(0) if self.adds_texts else unit(texts.mean(0))
            row[self.base :] += _MEASUREMENTS * parts.measurements
        summed = unit(summed)
        if self.run is None:
            return summed
        tokens = self.tokens(cases)
        joint = np.concatenate([self.run(tokens[i : i + _AT_ONCE]) for i in range(0, len(tokens), _AT_ONCE)])
        share = self.joint_share
        return np.concatenate([summed * np.float32((1 - share) ** 0.5), joint * np.float32(share**0.5)], axis=1)

    def untrained(self, vectors: Array) -> Array:
        """(n, width) fused vectors as unit vectors of what the frozen towers know alone: trained blocks are zero.

        What was trained on a case knows its report, so an archived case that is asked as if it were new would be found
        too well by it; what was not trained finds it as it finds a new patient.
        """
        out = vectors.copy()
        out[:, : self.aligned] = 0
        out[:, self.base + self.measurements :] = 0
        return unit(out)

    def blocks(self, parts: Parts) -> dict[Part, Array]:
        """What the frozen towers know of each part that is there, as unit vectors: a linear probe's input."""
        means: dict[Part, Array] = {
            "scan": parts.scans[:, self.aligned :], "history": parts.history[:, self.aligned :],
            "report": parts.report[:, self.aligned :], "measurements": parts.measurements[None],
        }  # fmt: skip
        return {part: unit(means[part].mean(0)) for part in parts.there}

    def width_of(self, part: Part) -> int:
        """Of a block of `blocks`."""
        return self.measurements if part == "measurements" else self.base - self.aligned
