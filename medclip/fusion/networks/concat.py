"""The reference fuser: the modalities side by side, absent ones as zeros beside a mask, through an MLP."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.fusion.base import FuserShape
from medclip.fusion.inputs import Inputs

__all__ = ["Network"]


class Network(nn.Module):
    """Each modality through its own layer, then one MLP over all of them and the mask."""

    def __init__(self, shape: FuserShape) -> None:
        super().__init__()
        self.inputs = Inputs(shape)
        self.mlp = nn.Sequential(
            nn.GELU(),
            nn.Dropout(shape.drop),
            nn.Linear(shape.tokens * (shape.hidden + 1), shape.hidden),
            nn.GELU(),
            nn.Dropout(shape.drop),
            nn.Linear(shape.hidden, shape.joint),
        )

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        seen = self.inputs(tokens, present)
        return functional.normalize(self.mlp(torch.cat([*seen, present], 1)), dim=-1)
