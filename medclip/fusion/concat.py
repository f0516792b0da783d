"""The reference fuser: the modalities side by side, absent ones as zeros beside a mask, through an MLP."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.fusion.base import FuserShape

__all__ = ["Network"]


class Network(nn.Module):
    """Each modality through its own layer, then one MLP over all of them and the mask."""

    def __init__(self, shape: FuserShape) -> None:
        super().__init__()
        self.drop = nn.Dropout(shape.drop)
        self.inputs = nn.ModuleList(nn.Linear(shape.token, shape.hidden) for _ in range(shape.tokens))
        self.mlp = nn.Sequential(
            nn.GELU(),
            nn.Dropout(shape.drop),
            nn.Linear(shape.tokens * (shape.hidden + 1), shape.hidden),
            nn.GELU(),
            nn.Dropout(shape.drop),
            nn.Linear(shape.hidden, shape.joint),
        )

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        seen = [layer(self.drop(tokens[:, m])) * present[:, m, None] for m, layer in enumerate(self.inputs)]
        return functional.normalize(self.mlp(torch.cat([*seen, present], 1)), dim=-1)
