"""A transformer over the modalities (Vaswani et al. 2017, arXiv 1706.03762) whose first token asks all of them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.fusion.base import FuserShape
from medclip.fusion.inputs import Inputs

__all__ = ["Network"]

_HEADS, _LAYERS = 4, 2
_ABSENT = -1e4  # added to the score of a token that is not there


class _Layer(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(drop), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, tokens, width = x.shape
        parts = self.asked(self.before(x)).reshape(n, tokens, 3, _HEADS, width // _HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * (width // _HEADS) ** -0.5 + bias
        attended = (scores.softmax(-1) @ value).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.drop(self.out(attended))
        result: Tensor = x + self.drop(self.mlp(self.between(x)))
        return result


class Network(nn.Module):
    """Modalities as tokens, each through its own layer, with a mask for those that are absent."""

    def __init__(self, shape: FuserShape) -> None:
        super().__init__()
        self.inputs = Inputs(shape)
        self.first = nn.Parameter(torch.randn(1, 1, shape.hidden) * 0.02)
        self.layers = nn.ModuleList(_Layer(shape.hidden, shape.drop) for _ in range(_LAYERS))
        self.out = nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, shape.joint))

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        own = self.inputs(tokens, present)
        x = torch.cat([self.first.expand(len(tokens), -1, -1), torch.stack(own, 1)], 1)
        there = torch.cat([torch.ones_like(present[:, :1]), present], 1)
        bias = ((1 - there) * _ABSENT)[:, None, None]
        for layer in self.layers:
            x = layer(x, bias)
        return functional.normalize(self.out(x[:, 0]), dim=-1)
