"""How a scan lies: upright, upside down, turned or inverted, told by a linear head on what the frozen image tower knows.

Gidaris et al. 2018 (RotNet, arXiv 1803.07728) learn which way up a picture is from turned copies of it;
`medclip.training.orientation` does so with the scans that a model is trained on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medclip.bundle.layout import ServingLayout, ServingManifest
from medclip.diagnosis.probe import Probe
from medclip.errors import BundleError
from medclip.files.plain import unreadable
from medclip.files.tensors import read_tensors

__all__ = ["UPRIGHT", "Orientation", "read_orientation"]

UPRIGHT = "upright"
"""The first of all orientations: a scan as it is, or its mirror image."""

_REMEDY = "copy the folder again, or train or build it again"


@dataclass(frozen=True)
class Orientation(Probe):
    """How a scan lies: `probabilities` takes (n, w) unit vectors, each the block ``scan`` of `Fuser.blocks` of one scan."""

    names: tuple[str, ...]  # of the columns; the first is `UPRIGHT`


def read_orientation(folder: Path, manifest: ServingManifest) -> Orientation | None:
    """The head of a serving folder; None where its model has none, as those of earlier versions.

    Raises:
        BundleError: the file is missing, has changed, or is not the head of this model.
    """
    names, file = manifest.orientations, ServingLayout(folder).orientation
    if not names:
        return None
    try:
        tensors = read_tensors(file, manifest.sha256.get(file.name, "none"))
    except OSError as error:
        raise BundleError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValueError as error:
        raise BundleError(f"{file}: {error}; {_REMEDY}") from error
    shapes = {"weights": (manifest.make_fuser().width_of("scan"), len(names)), "bias": (len(names),)}
    if (
        names[0] != UPRIGHT
        or {name: value.shape for name, value in tensors.items()} != shapes
        or any(value.dtype != np.float32 or not np.isfinite(value).all() for value in tensors.values())
    ):
        raise BundleError(f"{file}: does not tell how scans of this model lie; {_REMEDY}")
    return Orientation(tensors["weights"], tensors["bias"], names)
