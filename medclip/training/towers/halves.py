"""What towers are made of: an image half and a text half, each with all that has to travel with it."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from medclip.modalities.scan.prepare import Preprocessing
from medclip.modalities.text.tokens import TextReading

__all__ = ["DualEncoder", "ImageHalf", "Loaded", "Origin", "Recipe", "TextHalf", "Towers"]

Recipe = dict[str, Any]
"""How a half is built again, its weights apart: plain JSON, whose ``made_by`` names the source that can."""


@dataclass(frozen=True)
class Origin:
    """Whose weights these are."""

    name: str  # what the user asked for
    whose: str  # one line for the model card
    licence: str  # as the weights' own files say it


@dataclass(frozen=True)
class ImageHalf:
    """An image tower with its pretrained weights."""

    module: nn.Module  # (n, 3, size, size) float32, normalised → (n, d); in eval mode, float32
    preprocessing: Preprocessing
    recipe: Recipe
    origin: Origin


@dataclass(frozen=True)
class TextHalf:
    """A text tower with its pretrained weights."""

    module: nn.Module  # (n, tokens) int64 → (n, d); in eval mode, float32
    reading: TextReading
    tokenizer_json: str
    recipe: Recipe
    origin: Origin


@dataclass(frozen=True)
class Loaded:
    """What a source has under a name."""

    image: ImageHalf | None  # None where it reads texts alone
    text: TextHalf | None  # None where it reads scans alone


class DualEncoder(nn.Module):
    """Both halves, as one module."""

    def __init__(self, visual: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.visual, self.text = visual, text

    def encode_image(self, pictures: Tensor, normalize: bool = False) -> Tensor:
        """(n, 3, size, size) normalised pictures → (n, d), of unit length where that is asked."""
        seen = cast(Tensor, self.visual(pictures))
        return functional.normalize(seen, dim=-1) if normalize else seen

    def encode_text(self, ids: Tensor) -> Tensor:
        """(n, tokens) int64 → (n, d)."""
        return cast(Tensor, self.text(ids))


@dataclass
class Towers:
    """Two towers and everything that has to travel with them."""

    name: str  # what the user asked for
    model: DualEncoder  # in eval mode, float32
    preprocessing: Preprocessing
    reading: TextReading
    tokenizer_json: str
    recipes: dict[str, Recipe]  # ``image`` and ``text``
    image: Origin
    text: Origin

    @property
    def origin(self) -> str:
        """One line for the model card: whose weights these are."""
        return self.image.whose if self.image == self.text else f"{self.image.whose} and {self.text.whose}"

    @property
    def licence(self) -> str:
        """The weights' licence, or those of both halves where they differ."""
        return " and ".join(dict.fromkeys((self.image.licence, self.text.licence)))
