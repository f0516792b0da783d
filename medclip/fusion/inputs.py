"""What every trained fuser begins with."""

from torch import Tensor, nn

from medclip.fusion.base import FuserShape

__all__ = ["Inputs"]


class Inputs(nn.Module):
    """Each modality through its own layer: (n, modalities, token) → one (n, hidden) a modality, zeros where it is absent."""

    def __init__(self, shape: FuserShape) -> None:
        super().__init__()
        self.drop = nn.Dropout(shape.drop)
        self.layers = nn.ModuleList(nn.Linear(shape.token, shape.hidden) for _ in range(shape.tokens))

    def forward(self, tokens: Tensor, present: Tensor) -> list[Tensor]:
        return [layer(self.drop(tokens[:, m])) * present[:, m, None] for m, layer in enumerate(self.layers)]
