"""Where a scan looks like something else: the similarity of its overlapping crops to a vector.

Crops rather than gradients, since the serving path runs exported graphs alone; each crop is embedded as a scan is.
"""

import numpy as np
from numpy.typing import NDArray

from medclip.embedding.embedder import Embedder
from medclip.fusion.case_vector import unit
from medclip.modalities.scan.crops import crop_boxes
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import prepare_scan

__all__ = ["relevance"]

Array = NDArray[np.float32]

SIDE, STEPS = 0.4, 6
"""Side of a crop, of the picture's longer side, and crops along either axis. Not tuned: a crop must hold an organ, or the
tower has nothing to tell, and time grows with their number."""

FAINTEST = 0.01
"""What a crop weighs at its very edge, beside 1 at its middle, so that every place is covered."""


def relevance(embedder: Embedder, picture: GreyPicture, target: Array) -> Array:
    """How much each place of a picture resembles a vector.

    Args:
        picture: (height, width).
        target: (base,) vector of a scan or a text, or (width,) of a view of the index.

    Returns:
        (height, width), 0 at the place of least similarity and 1 at that of most: the mean over the crops there,
        which weigh most at their middle.
    """
    height, width = picture.shape
    boxes = crop_boxes(height, width, STEPS, SIDE)
    how = embedder.model.manifest.preprocessing
    crops = [[prepare_scan(picture[t:b, left:right], how)] for t, left, b, right in boxes]
    similarities = embedder.model.embed_scans(crops) @ unit(target[: embedder.fuser.base])
    side = boxes[0][2] - boxes[0][0]
    across = np.hanning(side + 2)[1:-1].astype(np.float32) + FAINTEST
    bell = np.outer(across, across)
    total, weight = np.zeros((2, height, width), np.float32)
    for (top, left, bottom, right), similarity in zip(boxes, similarities, strict=True):
        total[top:bottom, left:right] += similarity * bell
        weight[top:bottom, left:right] += bell
    mean = total / weight
    low, high = float(mean.min()), float(mean.max())
    return np.asarray((mean - low) / max(high - low, 1e-9), np.float32)
