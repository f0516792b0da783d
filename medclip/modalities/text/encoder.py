"""The text tower as a torch module that ends in features, before any projection."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from medclip.modalities.text.tokens import TextReading

__all__ = ["TextTower"]


class TextTower(nn.Module):
    """(n, tokens) int64 ids → (n, width) features, the open_clip text tower's own pooled output."""

    def __init__(self, model: nn.Module, reading: TextReading) -> None:
        super().__init__()
        self.model = model
        with torch.inference_mode():
            self.eval()
            sample = torch.full((1, reading.context_length), reading.pad, dtype=torch.int64)
            framed = torch.tensor([*reading.prefix, *reading.suffix], dtype=torch.int64)
            sample[0, : len(framed)] = framed
            self.width = int(self(sample).shape[1])

    def forward(self, ids: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.model).encode_text(ids)).float()
