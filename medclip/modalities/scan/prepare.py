"""A grey picture as a tower was trained to see it. Part of the model: a bundle stores its `Preprocessing`."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["Preprocessing", "prepare_scan"]


class Preprocessing(BaseModel):
    """How a picture becomes a tower's input. Training, export and serving all go through `prepare_scan`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=4096)]  # pixels on a side; towers take some hundreds
    resize: Literal["pad", "crop", "squash"]  # to a square: black borders, centre crop of the short side, or distort
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]  # of each channel, on the 0..1 scale; the exported graph subtracts it
    std: tuple[float, float, float]
    crops: Annotated[int, Field(ge=0, le=16)] = 0  # along either axis, pooled with the picture (`...scan.crops`)
    short: Annotated[int, Field(ge=1, le=4096)] | None = (
        None  # with crop: pixels of the short side before it; None: `size`
    )

    crops_of_map: bool = False  # they are taken from what the tower saw of the whole picture, in one forward

    @model_validator(mode="after")
    def _fits(self) -> "Preprocessing":
        if self.short is not None and (self.resize != "crop" or self.short < self.size):
            raise ValueError("short: is for crop alone, and at least size")
        return self

    @property
    def cut(self) -> int:
        """Crops along either axis that are read as pictures of their own."""
        return 0 if self.crops_of_map else self.crops

    @model_serializer(mode="wrap")
    def _written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What earlier models lack is left out where it says nothing, so that they are the models that they were."""
        found: dict[str, Any] = written(self)
        return {name: value for name, value in found.items() if name not in ("short", "crops_of_map") or value}


def prepare_scan(picture: GreyPicture, how: Preprocessing) -> GreyPicture:
    """Resize a (height, width) picture to (size, size) uint8; mean and std are the graph's work."""
    from PIL import Image  # after the towers, which load meanwhile, have begun to

    image = Image.fromarray(picture)
    width, height = image.size
    if how.resize == "pad":
        side = max(width, height)
        square = Image.new("L", (side, side), 0)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image = square
    elif how.resize == "crop" and how.short is None:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[how.interpolation]
    if (
        how.resize == "crop" and how.short is not None
    ):  # the whole, then its middle: as the library rounds, to the pixel
        sides = [
            how.short if side == min(width, height) else how.short * side // min(width, height) for side in image.size
        ]
        left, top = ((side - how.size) // 2 for side in sides)
        return np.asarray(image.resize((sides[0], sides[1]), resampling))[
            top : top + how.size, left : left + how.size
        ].copy()
    return np.asarray(image.resize((how.size, how.size), resampling))
