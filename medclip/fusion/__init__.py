"""Fusion: the vectors of the modalities that are present → one vector. One file a trained fuser; see `base`."""

from medclip.fusion.base import fuser_names
from medclip.fusion.case_vector import Fuser, Parts
from medclip.fusion.composition import MODALITIES

__all__ = ["MODALITIES", "Fuser", "Parts", "fuser_names"]
