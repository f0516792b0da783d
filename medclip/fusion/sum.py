"""The simplest fuser: each modality's mean vector counts the same, absent ones not at all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fuse_sum", "unit"]

Array = NDArray[np.float32]


def unit(vectors: Array) -> Array:
    """(..., d) scaled to unit length along the last axis; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def fuse_sum(modalities: Sequence[Array]) -> Array:
    """Fuse modalities, each (views, d) unit vectors, at least one of them not empty → (d,) unit vector."""
    return unit(np.sum([unit(views.mean(0)) for views in modalities if len(views)], axis=0))
