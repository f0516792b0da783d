"""The losses."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["contrastive_loss", "supervised_contrastive_loss"]


def contrastive_loss(scans: Tensor, texts: Tensor, cases: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE in which every scan and text of one case are positives of each other.

    With one positive a row this is CLIP's loss (Radford et al. 2021, arXiv 2103.00020); with several, the target is
    spread evenly over them, so that no two of a case are ever negatives (as in SupCon, Khosla et al. 2020, eq. 2).

    Args:
        scans: (n, d) unit vectors.
        texts: (n, d) unit vectors; row i stands beside scan i.
        cases: (n,) case of each row.
        scale: () inverse temperature.
    """
    logits = scans @ texts.T * scale
    same = (cases[:, None] == cases[None]).to(logits.dtype)
    target = same / same.sum(1, keepdim=True)
    by_scan = -(target * functional.log_softmax(logits, 1)).sum(1).mean()
    by_text = -(target * functional.log_softmax(logits.T, 1)).sum(1).mean()
    return torch.add(by_scan, by_text) / 2


def supervised_contrastive_loss(vectors: Tensor, labels: Tensor, scale: float) -> Tensor:
    """SupCon (Khosla et al. 2020, arXiv 2004.11362, eq. 2) over the rows whose label is known; 0 where there is no pair.

    Args:
        vectors: (n, d) unit vectors.
        labels: (n,) class of each row, −1 where unknown.
        scale: inverse temperature.
    """
    known = labels >= 0
    vectors, labels = vectors[known], labels[known]
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    same = ((labels[:, None] == labels[None]) & ~own).to(vectors.dtype)
    pairs = same.sum(1)
    if not bool((pairs > 0).any()):
        return vectors.sum() * 0
    logits = (vectors @ vectors.T * scale).masked_fill(own, -1e4)
    likelihood = (same * functional.log_softmax(logits, 1)).sum(1) / pairs.clamp(min=1)
    return -likelihood[pairs > 0].mean()
