"""From tower features to embeddings: a trained block that aligns scans with texts, and blocks that keep what the towers know.

An embedding is a unit vector of blocks, ``[aligned | scan | text | gauge]``:

- *aligned*: linear + MLP of the tower's features, trained by the contrastive loss, shared by scans and texts;
- *scan*: the image tower's features, rotated onto their principal axes (zero for a text);
- *text*: the text tower's features (zero for a scan);
- *gauge*: how far the features as the tower gives them point away from the mean of the training cases' (of scans; of
  histories and of reports). The blocks before it are centred and scaled to fixed lengths and forget it, and nothing tells
  better what a tower has never seen. It is too small to move a cosine.

The squared lengths of the blocks are fixed (`Shape.aligned_share`), so that the cosine of a scan and a text is that
of their aligned blocks up to a constant, the cosine of two scans also sees what the frozen tower saw, and the sum of
a case's vectors compares like with like. A projection trained alone forgets: modality fell from 0.965 to 0.93.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medclip.training.settings import FIRST_SCALE, HIDDEN_DROPOUT, SCAN_DROPOUT, TEXT_DROPOUT

__all__ = ["GAUGED", "Projection", "Shape"]

_GAUGE = 0.05
"""What the gauge may come to at most, of a vector of length 1: two of them change a cosine by less than 0.003, those of
training cases by some 0.0001, and float32 still tells a thousandth of their spread."""

_HALFWAY = 8.0
"""Standard deviations of training cases at which the gauge is half of that."""

GAUGED = ("history", "report")
"""Kinds of text that have a centre of their own, in the order of the gauge; scans have the first place."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """Widths of everything in a projection."""

    scan_features: int
    text_features: int
    aligned: int
    hidden: int
    scan_kept: int
    text_kept: int
    aligned_share: float  # squared length of the aligned block, of 1
    gauge: int = 0  # as many as `GAUGED`; models of medclip 0.1 have none

    @property
    def width(self) -> int:
        return self.aligned + self.scan_kept + self.text_kept + self.gauge


class _Head(nn.Module):
    """Linear + MLP, summed."""

    def __init__(self, features: int, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.drop_in = nn.Dropout(dropout)
        self.linear = nn.Linear(features, shape.aligned)
        self.mlp = nn.Sequential(
            nn.Linear(features, shape.hidden),
            nn.GELU(),
            nn.Dropout(HIDDEN_DROPOUT),
            nn.Linear(shape.hidden, shape.aligned),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop_in(x)
        return functional.normalize(self.linear(x) + self.mlp(x), dim=-1)


class _Side(nn.Module):
    """One tower's half of the projection: standardise, then align and keep."""

    mean: Tensor
    scale: Tensor
    basis: Tensor
    centres: Tensor
    usual: Tensor

    def __init__(self, features: int, kept: int, shape: Shape, dropout: float, centres: int) -> None:
        super().__init__()
        if shape.gauge:
            self.register_buffer("centres", torch.zeros(centres, features))  # unit vectors
            self.register_buffer("usual", torch.tensor([[0.0] * centres, [1.0] * centres]))  # mean, standard deviation
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("basis", torch.zeros(features, kept))
        self.head = _Head(features, shape, dropout)

    def standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale

    def kept(self, features: Tensor) -> Tensor:
        return functional.normalize(self.standardise(features) @ self.basis, dim=-1)

    def fit_gauge(self, groups: Sequence[Tensor]) -> None:
        """Set the centres, each from the (n, features) of its group."""
        self.centres.copy_(functional.normalize(torch.stack([group.mean(0) for group in groups]), dim=-1))
        away = [self._away(group)[:, i] for i, group in enumerate(groups)]
        self.usual[0] = torch.stack([one.mean() for one in away])
        self.usual[1] = torch.stack([one.std(correction=0).clamp(min=1e-3) for one in away])

    def _away(self, features: Tensor) -> Tensor:
        """(n, centres) logarithm of 1 - cosine to each centre."""
        return (1 - functional.normalize(features, dim=-1) @ self.centres.T).clamp(min=1e-6).log()

    def gauge(self, features: Tensor) -> Tensor:
        """(n, centres) from -`_GAUGE` to `_GAUGE`, 0 where as far from a centre as the training cases are on average."""
        deviation = (self._away(features) - self.usual[0]) / self.usual[1]
        return _GAUGE * deviation / (_HALFWAY + deviation.abs())


class Projection(nn.Module):
    """(n, scan_features) or (n, text_features) → (n, width) unit vectors."""

    attention: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("attention", torch.zeros(shape.scan_features))
        self.scan = _Side(shape.scan_features, shape.scan_kept, shape, SCAN_DROPOUT, 1)
        self.text = _Side(shape.text_features, shape.text_kept, shape, TEXT_DROPOUT, shape.gauge)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(FIRST_SCALE))))

    def attend(self, features: Tensor) -> Tensor:
        """(n, 1) logarithm of what each picture weighs among those of its scan."""
        return (features @ self.attention)[:, None]

    def fit_statistics(self, scans: Array, texts: Array, kinds: NDArray[np.str_]) -> None:
        """Set mean, scale, principal axes and centres from the training cases' features.

        Scan features are scaled one by one; text features share one scale, since a sentence encoder's own axes
        carry meaning in their variance.

        Args:
            kinds: (t,) of the texts; for a kind of `GAUGED` that no case has, all stand in.
        """
        with torch.no_grad():
            self.scan.mean.copy_(torch.from_numpy(scans.mean(0)))
            self.scan.scale.copy_(torch.from_numpy(scans.std(0) + 1e-6))
            self.text.mean.copy_(torch.from_numpy(texts.mean(0)))
            self.text.scale.fill_(float(texts.std(0).mean()) + 1e-6)
            for side, features in ((self.scan, scans), (self.text, texts)):
                side.basis.copy_(_principal_axes(side.standardise(torch.from_numpy(features)), side.basis.shape[1]))
            if self.shape.gauge:
                self.scan.fit_gauge([torch.from_numpy(scans)])
                own = [texts[kinds == kind] for kind in GAUGED]
                self.text.fit_gauge([torch.from_numpy(one if len(one) else texts) for one in own])

    def aligned_scan(self, features: Tensor) -> Tensor:
        """(n, aligned) unit vectors of scans."""
        aligned: Tensor = self.scan.head(self.scan.standardise(features))
        return aligned

    def aligned_text(self, features: Tensor) -> Tensor:
        """(n, aligned) unit vectors of texts."""
        aligned: Tensor = self.text.head(self.text.standardise(features))
        return aligned

    def embed_scan(self, features: Tensor) -> Tensor:
        """(n, width) unit vectors of scans."""
        aligned, kept = self.aligned_scan(features), self.scan.kept(features)
        nothing = torch.zeros_like(aligned[:, :1]).expand(-1, self.shape.text_kept)
        return self._join(aligned, kept, nothing, self._gauge(self.scan, features))

    def embed_text(self, features: Tensor) -> Tensor:
        """(n, width) unit vectors of texts."""
        aligned, kept = self.aligned_text(features), self.text.kept(features)
        nothing = torch.zeros_like(aligned[:, :1]).expand(-1, self.shape.scan_kept)
        return self._join(aligned, nothing, kept, self._gauge(self.text, features))

    def _gauge(self, side: _Side, features: Tensor) -> Tensor | None:
        """(n, gauge), the places that a side does not use zero."""
        if not self.shape.gauge:
            return None
        found = side.gauge(features)
        return functional.pad(found, (0, self.shape.gauge - found.shape[1]))

    def _join(self, aligned: Tensor, scan: Tensor, text: Tensor, gauge: Tensor | None) -> Tensor:
        share = self.shape.aligned_share
        joined = torch.cat([aligned * share**0.5, scan * (1 - share) ** 0.5, text * (1 - share) ** 0.5], 1)
        return joined if gauge is None else torch.cat([joined * (1 - (gauge**2).sum(1, keepdim=True)).sqrt(), gauge], 1)


def _principal_axes(x: Tensor, count: int) -> Tensor:
    """(d, count) leading principal axes of (n, d) rows; zero columns where there are fewer.

    Each axis is divided by the fourth root of its variance, half-way to whitening: small directions are heard too.
    """
    centred = (x - x.mean(0)).double()
    tall = len(centred) > centred.shape[1]
    # The eigenvectors of the smaller of both products give what a singular value decomposition does, four times sooner.
    values, vectors = torch.linalg.eigh(centred.T @ centred if tall else centred @ centred.T)
    singular, vectors = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
    found = min(count, int((singular > singular[0] * 1e-5).sum()))
    rows = vectors[:, :found].T if tall else vectors[:, :found].T @ centred / singular[:found, None]
    spread = (singular[:found] ** 2 / len(x)).clamp(min=1e-12)
    # The sign of a singular vector is arbitrary: fix it, so that one seed gives one model.
    sign = torch.sign(rows.gather(1, rows.abs().argmax(1, keepdim=True)))
    basis = torch.zeros(x.shape[1], count, dtype=torch.float32)
    basis[:, :found] = (rows * sign / spread[:, None] ** 0.25).T.float()
    return basis
