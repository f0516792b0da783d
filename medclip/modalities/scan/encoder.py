"""The image tower as a torch module that ends in features, before any projection."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.modalities.scan.crops import crop_boxes
from medclip.modalities.scan.prepare import Preprocessing

__all__ = ["ScanTower", "has_map"]


def _means(x: Tensor, quadrants: bool) -> list[Tensor]:
    """(n, c, h, w) → the mean, (n, c); and those of the quadrants, (n, 4c), so that where something lies is kept."""
    found = [x.mean((2, 3))]
    if quadrants:
        h, w = x.shape[-2] // 2, x.shape[-1] // 2
        top, left = max(1, h), max(1, w)  # of a region that is one cell wide, both halves are that cell
        parts = (x[..., :top, :left], x[..., :top, w:], x[..., h:, :left], x[..., h:, w:])
        found.append(torch.cat([part.mean((2, 3)) for part in parts], 1))
    return found


def _is_pyramid(visual: nn.Module) -> bool:
    """Whether it is a convolutional trunk of timm, of which every late stage is read."""
    trunk = getattr(visual, "trunk", None)
    return all(hasattr(trunk, name) for name in ("blocks", "conv_stem", "conv_head", "forward_head"))


def has_map(visual: nn.Module) -> bool:
    """Whether it gives what it saw at each place of a picture, beside one embedding: a ViT's patch tokens."""
    return not _is_pyramid(visual) and hasattr(visual, "forward_intermediates") and _depth(visual) > 0


def _depth(visual: nn.Module) -> int:
    """Layers of a ViT of open_clip, timm or transformers; 0 of what is none."""
    own = cast(Any, visual)
    if hasattr(own, "depth"):
        return int(own.depth)
    if hasattr(own, "trunk"):
        return len(own.trunk.blocks) if hasattr(own.trunk, "patch_embed") and hasattr(own.trunk, "blocks") else 0
    return len(getattr(getattr(own, "transformer", None), "resblocks", ()))


class ScanTower(nn.Module):
    """(n, size, size) uint8 grey pictures → (n, width) features; (n, 1 + crops, width) where crops are cut from the map.

    A convolutional timm trunk gives a pyramid: the mean of its head and of every late stage, and the quadrant means
    of the last two, each of unit length. A frozen ImageNet trunk says more about a scan's modality and region in its
    middle stages than in its head, and fine texture is what tells CT from MR. A ViT gives its own embedding first, then the
    same of its patch tokens: the mean and the quadrant means of the last layer's, and the mean of those at half its depth
    (class token and mean of patch tokens together are what DINOv2's authors classify by, Oquab et al. 2023, arXiv
    2304.07193). Any other image tower gives its own embedding. Normalisation by mean and std is part of the module, and so of
    the exported graph.

    Where all channels are normalised alike, a trunk would be given one grey channel three times: its first convolution
    reads one, with the sum of their weights, which gives the same numbers with a third of the work.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, visual: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.visual = visual
        self.size = preprocessing.size
        self.pyramid, self.map = _is_pyramid(visual), has_map(visual)
        cut = preprocessing.crops if preprocessing.crops_of_map else 0
        self.boxes = [(0, 0, self.size, self.size), *(crop_boxes(self.size, self.size, cut) if cut else [])]
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.grey = self.pyramid and bool((mean == mean[0]).all() and (std == std[0]).all())
        channels = 1 if self.grey else 3
        self.register_buffer("scale", (1 / (255 * std[:channels])).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std)[:channels].view(1, -1, 1, 1), persistent=False)
        with torch.inference_mode():
            self.eval()
            self.width = int(self(torch.zeros(1, self.size, self.size, dtype=torch.uint8)).shape[-1])

    def _stem(self, x: Tensor) -> Tensor:
        stem = cast(Any, self.visual).trunk.conv_stem
        if not self.grey:
            return cast(Tensor, stem(x))
        weights = {"weight": stem.weight.sum(1, keepdim=True)}  # as they are now: they may be tuned
        return cast(Tensor, torch.func.functional_call(stem, weights, (x,)))

    def _pyramid(self, x: Tensor) -> list[tuple[Tensor, bool]]:
        """Maps (n, c, h, w) of the late stages and the head, and whether their quadrants are read."""
        trunk = cast(Any, self.visual).trunk
        x = trunk.bn1(self._stem(x))
        maps: list[tuple[Tensor, bool]] = []
        late = len(trunk.blocks) - 4
        for number, block in enumerate(trunk.blocks):
            x = block(x)
            if number >= late:
                maps.append((x, number in (late + 1, late + 3)))
        maps.append((trunk.bn2(trunk.conv_head(x)), False))
        return maps

    def _tokens(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, bool]]]:
        """The embedding, (n, d), and maps of patch tokens: at half the depth, and of the last layer."""
        last = _depth(self.visual) - 1
        looked = cast(Any, self.visual).forward_intermediates(
            x, indices=[last // 2, last], normalize_intermediates=True
        )
        halfway, whole = looked["image_intermediates"]
        return looked["image_features"], [(whole, True), (halfway, False)]

    def _region(self, maps: list[tuple[Tensor, bool]], box: tuple[int, int, int, int]) -> list[Tensor]:
        """What the maps say of one box of the picture."""
        found: list[Tensor] = []
        for x, quadrants in maps:
            (top, bottom), (left, right) = (
                _places(box[axis], box[axis + 2], self.size, x.shape[2 + axis]) for axis in (0, 1)
            )
            found += _means(x[..., top:bottom, left:right], quadrants)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.to(self.scale.dtype).unsqueeze(1) * self.scale + self.shift
        if self.pyramid:
            own, maps = [], self._pyramid(x)
        elif self.map:
            embedded, maps = self._tokens(x)
            own = [embedded.float()]
        else:
            return functional.normalize(self.visual(x).float(), dim=-1)
        regions = [[*own, *self._region(maps, box)] for box in self.boxes]
        rows = [torch.cat([functional.normalize(part.float(), dim=-1) for part in parts], 1) for parts in regions]
        return rows[0] if len(rows) == 1 else torch.stack(rows, 1)


def _places(start: int, end: int, size: int, cells: int) -> tuple[int, int]:
    """Pixels from `start` to `end` of `size` → the cells of a map that they fall into, at least one."""
    first = min(cells - 1, round(start * cells / size))
    return first, max(first + 1, round(end * cells / size))
