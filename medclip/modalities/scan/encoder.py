"""The image tower as a torch module that ends in features, before any projection."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.modalities.scan.prepare import Preprocessing

__all__ = ["ScanTower"]


def _grid_means(x: Tensor) -> Tensor:
    """(n, c, h, w) → (n, 4c): the mean of each quadrant, so that where something lies is kept."""
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    quadrants = (x[..., :h, :w], x[..., :h, w:], x[..., h:, :w], x[..., h:, w:])
    return torch.cat([q.mean((2, 3)) for q in quadrants], 1)


class ScanTower(nn.Module):
    """(n, size, size) uint8 grey pictures → (n, width) features.

    A convolutional timm trunk gives a pyramid: the mean of its head and of every late stage, and the quadrant means
    of the last two, each of unit length. A frozen ImageNet trunk says more about a scan's modality and region in its
    middle stages than in its head, and fine texture is what tells CT from MR. Any other open_clip image tower gives
    its own embedding. Normalisation by mean and std is part of the module, and so of the exported graph.

    Where all channels are normalised alike, a trunk would be given one grey channel three times: its first convolution
    reads one, with the sum of their weights, which gives the same numbers with a third of the work.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, visual: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.visual = visual
        self.size = preprocessing.size
        trunk = cast(Any, getattr(visual, "trunk", None))
        self.pyramid = all(hasattr(trunk, name) for name in ("blocks", "conv_stem", "conv_head", "forward_head"))
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.grey = self.pyramid and bool((mean == mean[0]).all() and (std == std[0]).all())
        channels = 1 if self.grey else 3
        self.register_buffer("scale", (1 / (255 * std[:channels])).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std)[:channels].view(1, -1, 1, 1), persistent=False)
        with torch.inference_mode():
            self.eval()
            self.width = int(self(torch.zeros(1, self.size, self.size, dtype=torch.uint8)).shape[1])

    def _stem(self, x: Tensor) -> Tensor:
        stem = cast(Any, self.visual).trunk.conv_stem
        if not self.grey:
            return cast(Tensor, stem(x))
        weights = {"weight": stem.weight.sum(1, keepdim=True)}  # as they are now: they may be tuned
        return cast(Tensor, torch.func.functional_call(stem, weights, (x,)))

    def _levels(self, x: Tensor) -> list[Tensor]:
        trunk = cast(Any, self.visual).trunk
        x = trunk.bn1(self._stem(x))
        levels: list[Tensor] = []
        late = len(trunk.blocks) - 4
        for number, block in enumerate(trunk.blocks):
            x = block(x)
            if number >= late:
                levels.append(x.mean((2, 3)))
            if number in (late + 1, late + 3):
                levels.append(_grid_means(x))
        levels.append(trunk.bn2(trunk.conv_head(x)).mean((2, 3)))
        return levels

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.to(self.scale.dtype).unsqueeze(1) * self.scale + self.shift
        if not self.pyramid:
            return functional.normalize(self.visual(x).float(), dim=-1)
        return torch.cat([functional.normalize(level, dim=-1) for level in self._levels(x)], 1)
