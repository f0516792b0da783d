"""Gated multimodal units (Arevalo et al. 2017, arXiv 1702.01992): every modality's share is decided by all of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.fusion.base import FuserShape
from medclip.fusion.inputs import Inputs

__all__ = ["Network"]


class Network(nn.Module):
    """Sigmoid gates over the modalities' own layers, then an MLP over the gated sum."""

    def __init__(self, shape: FuserShape) -> None:
        super().__init__()
        self.inputs = Inputs(shape)
        self.gates = nn.ModuleList(
            nn.Linear(shape.tokens * (shape.hidden + 1), shape.hidden) for _ in range(shape.tokens)
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(shape.hidden),
            nn.Dropout(shape.drop),
            nn.Linear(shape.hidden, shape.hidden),
            nn.GELU(),
            nn.Dropout(shape.drop),
            nn.Linear(shape.hidden, shape.joint),
        )

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        own = [torch.tanh(part) for part in self.inputs(tokens, present)]
        context = torch.cat([*own, present], 1)
        gated = [torch.sigmoid(gate(context)) * part for gate, part in zip(self.gates, own, strict=True)]
        return functional.normalize(self.mlp(torch.stack(gated).sum(0)), dim=-1)
