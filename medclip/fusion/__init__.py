"""Fusion: the vectors of the modalities that are present → one vector."""

from medclip.fusion.sum import fuse_sum

__all__ = ["fuse_sum"]
