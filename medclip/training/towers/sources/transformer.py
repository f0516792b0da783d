"""Models of transformers: ``transformers:FOLDER`` and ``transformers:ORG/NAME``.

- Dual encoders (SigLIP, SigLIP 2 of one resolution, MedSigLIP, CLIP and their like): both towers, or either.
- Image towers alone (DINOv2 and its like, RAD-DINO, ViT): scans, beside any text tower.

Preprocessing is read from the model's own ``preprocessor_config.json``. No code of a repository is ever run.
"""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medclip.errors import BundleError
from medclip.modalities.scan.prepare import Preprocessing
from medclip.training.towers.files import PoolerError, pretrained, read_json, require_layout
from medclip.training.towers.halves import ImageHalf, Loaded, Origin, Recipe, TextHalf
from medclip.training.towers.hub import folder_of
from medclip.training.towers.licence import licence_of, title_of
from medclip.training.towers.tokenizers import hugging_face_tokenizer, sentencepiece_tokenizer

FORMS = ("transformers:FOLDER", "transformers:ORG/NAME")
FILES = ("*.json", "*model*.safetensors", "*.txt", "*.model", "README.md", "LICENSE*")

_PREFIX = "transformers:"
_IMAGE_PARTS, _TEXT_PARTS = ("vision_model", "visual_projection"), ("text_model", "text_projection")
_OWN = ("logit_scale", "logit_bias")
_NO_MASK = frozenset({"siglip", "clip", "metaclip_2"})
"""Text towers that are shown their padding: SigLIP attends to it, CLIP reads up to its first end sign and looks no further."""
_POOLLESS = {"add_pooling_layer": False}
_LAST_NORMS = ("post_layernorm", "layernorm", "norm")
_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_UNREAD = {
    "siglip2": "takes patches of any shape (NaFlex); choose a SigLIP 2 of one resolution, as in siglip2-base-patch16-224"
}


def _output(found: Any) -> Tensor:
    """What `get_image_features` gives: a tensor, or (since transformers 5) an output that holds it."""
    pooled = found if isinstance(found, Tensor) else getattr(found, "pooler_output", None)
    if pooled is None:
        pooled = found.last_hidden_state[:, 0]
    return cast(Tensor, pooled.flatten(1))  # a convolutional one's is (n, d, 1, 1)


class ImageTower(nn.Module):
    """(n, 3, size, size) → (n, d): a model's own pooled features, those that it lays beside texts where it has any."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pictures: Tensor) -> Tensor:
        if hasattr(self.model, "get_image_features"):
            return _output(self.model.get_image_features(pixel_values=pictures))
        return _output(self.model(pixel_values=pictures))


class VisionTransformer(ImageTower):
    """The same of a model that sees patches, and gives what it saw at each."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        config: Any = getattr(self.model.config, "vision_config", self.model.config)
        self.depth = int(config.num_hidden_layers)
        self.patch = int(config.patch_size)

    def forward_intermediates(
        self, pictures: Tensor, indices: list[int], normalize_intermediates: bool = True
    ) -> dict[str, Any]:
        """What open_clip's image towers give: ``image_features``, (n, d), and ``image_intermediates``, (n, c, h, w) each.

        Args:
            indices: layers, from 0.
            normalize_intermediates: by the layer norm that ends the tower.
        """
        own = getattr(self.model, "vision_model", self.model)
        found = own(pixel_values=pictures, output_hidden_states=True)
        norm = next(part for name, part in own.named_children() if name in _LAST_NORMS)
        side = pictures.shape[-1] // self.patch
        maps = []
        for index in indices:
            tokens = found.hidden_states[index + 1]
            tokens = (norm(tokens) if normalize_intermediates else tokens)[:, tokens.shape[1] - side * side :]
            maps.append(tokens.transpose(1, 2).unflatten(2, (side, side)))
        pooled = _output(found)
        if hasattr(self.model, "visual_projection"):
            pooled = self.model.visual_projection(pooled)
        return {"image_features": pooled, "image_intermediates": maps}


class TextTower(nn.Module):
    """(n, tokens) int64 ids, padded → (n, d): the features that a dual encoder lays beside scans."""

    def __init__(self, model: nn.Module, pad: int, masked: bool) -> None:
        super().__init__()
        self.model: Any = model
        self.pad, self.masked = pad, masked

    def forward(self, ids: Tensor) -> Tensor:
        mask = {"attention_mask": (ids != self.pad).long()} if self.masked else {}
        return _output(self.model.get_text_features(input_ids=ids, **mask))


def knows(name: str) -> bool:
    """Whether it begins as these do."""
    return name.startswith(_PREFIX)


def load(name: str) -> Loaded:
    """The towers of that name.

    Raises:
        BundleError: there are none, they are incomplete, or of a kind that is not read.
    """
    folder = folder_of(name.removeprefix(_PREFIX), FILES)
    require_layout(folder, _PREFIX)
    config = read_json(folder, "config.json")
    _check(folder, config)
    origin = Origin(name, title_of(folder), licence_of(folder))
    image = _image_half(folder, config, origin)
    return Loaded(image, _text_half(folder, config, origin) if _is_dual(config) else None)


def rebuild(recipe: Recipe) -> nn.Module:
    """One half of the model that a recipe describes."""
    if recipe["half"] == "image":
        model = _model(recipe["config"], without=_TEXT_PARTS, **(_POOLLESS if recipe["poolless"] else {}))
        return (VisionTransformer if recipe["patches"] else ImageTower)(model)
    return TextTower(_model(recipe["config"], without=_IMAGE_PARTS), recipe["pad"], recipe["masked"])


def _is_dual(config: dict[str, Any]) -> bool:
    return "text_config" in config and "vision_config" in config


def _check(folder: Path, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind in _UNREAD:
        raise BundleError(f"{folder}: a {kind} model {_UNREAD[kind]}")
    if config.get("auto_map"):
        raise BundleError(
            f"{folder}: brings code of its own, which is never run; choose a model that transformers knows"
        )


def _model(config: dict[str, Any], without: tuple[str, ...], **how: Any) -> nn.Module:
    """A model with random weights, without some of its parts."""
    from transformers import AutoConfig, AutoModel

    model: nn.Module = AutoModel.from_config(AutoConfig.for_model(**config), trust_remote_code=False, **how)
    for name in (*without, *_OWN):
        if hasattr(model, name):
            delattr(model, name)
    return model


def _built(folder: Path, without: tuple[str, ...], **how: Any) -> nn.Module:
    """A model with its pretrained weights, without some of its parts."""
    model = pretrained(folder, **how)
    for name in (*without, *_OWN):
        if hasattr(model, name):
            delattr(model, name)
    return model


def _image_half(folder: Path, config: dict[str, Any], origin: Origin) -> ImageHalf:
    how, poolless = _preprocessing(folder), False
    try:
        model = _built(folder, _TEXT_PARTS)
    except PoolerError:  # saved of a classifier: its first token is what it was trained by
        model, poolless = _built(folder, _TEXT_PARTS, **_POOLLESS), True
    blank = torch.zeros(1, 3, how.size, how.size)
    try:
        with torch.inference_mode():
            seen = ImageTower(model).eval()(blank)
    except Exception as error:  # of many kinds
        kind = config.get("model_type")
        raise BundleError(
            f"{folder}: a {kind} model gives no features of a picture of {how.size} pixels ({type(error).__name__}); "
            "name an image tower or a dual encoder"
        ) from error
    patches = _sees_patches(model, blank, seen)
    recipe = {"made_by": "transformer", "half": "image", "config": config, "patches": patches, "poolless": poolless}
    return ImageHalf((VisionTransformer if patches else ImageTower)(model).eval(), how, recipe, origin)


def _sees_patches(model: nn.Module, blank: Tensor, seen: Tensor) -> bool:
    """Whether a model is a ViT as `VisionTransformer` takes it to be, which gives the same features on that way."""
    try:
        tower = VisionTransformer(model).eval()
        with torch.inference_mode():
            found = tower.forward_intermediates(blank, [tower.depth - 1])
    except (AttributeError, TypeError, ValueError, LookupError, StopIteration, RuntimeError):
        return False  # a convolutional one, or of stages
    return torch.allclose(found["image_features"], seen, rtol=1e-4, atol=1e-5)


def _text_half(folder: Path, config: dict[str, Any], origin: Origin) -> TextHalf:
    context = int(config["text_config"].get("max_position_embeddings") or _context(config))
    tokenizer_json, reading = _tokenizer(folder, context)
    masked = config["model_type"] not in _NO_MASK
    model = _built(folder, _IMAGE_PARTS)
    recipe = {
        "made_by": "transformer", "half": "text", "config": config, "pad": reading.pad, "masked": masked,
    }  # fmt: skip
    return TextHalf(TextTower(model, reading.pad, masked).eval(), reading, tokenizer_json, recipe, origin)


def _context(config: dict[str, Any]) -> int:
    """Of a text tower whose configuration leaves out what its kind takes for granted."""
    from transformers import AutoConfig

    return int(AutoConfig.for_model(**config).text_config.max_position_embeddings)


def _tokenizer(folder: Path, context: int) -> tuple[str, Any]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many kinds
        there = any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model", "vocab.json", "vocab.txt"))
        fault = f"its tokenizer cannot be read ({type(error).__name__})" if there else "has no tokenizer"
        raise BundleError(f"{folder}: {fault}; fetch the model whole, with  medclip model fetch") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return sentencepiece_tokenizer(tokenizer, context=context)
    # SigLIP 2 was trained on lower case and leaves the lowering to its processor, as big_vision does.
    if type(tokenizer).__name__.startswith("Gemma"):
        return hugging_face_tokenizer(
            tokenizer,
            context=context,
            fixed=True,
            clean="lower",
            expected=lambda said: tokenizer(said.lower()).input_ids,
        )
    return hugging_face_tokenizer(tokenizer, context=context, fixed=True)


def _preprocessing(folder: Path) -> Preprocessing:
    """The model's own preprocessing in our terms.

    Raises:
        BundleError: it is not there, or of a kind that is not reproduced.
    """
    names = ("preprocessor_config.json", "processor_config.json")  # the second since transformers 5
    file = next((name for name in names if (folder / name).is_file()), None)
    if file is None:
        text = "; a text tower is named sentence-transformers:FOLDER" if (folder / "modules.json").is_file() else ""
        raise BundleError(
            f"{folder}: has no preprocessor_config.json, which says how an image tower is shown a picture; "
            f"fetch the model whole, with  medclip model fetch{text}"
        )
    said = read_json(folder, file)
    said = said.get("image_processor", said)

    def side(value: Any) -> int | None:
        """Of a square, written in any of the library's ways; None where it is none."""
        if isinstance(value, int):
            return value
        sides = {value[key] for key in ("height", "width", "shortest_edge") if key in value} if value else set()
        return int(sides.pop()) if len(sides) == 1 else None

    size, cut = said.get("size"), said.get("crop_size")
    cropped = bool(said.get("do_center_crop", cut is not None)) and cut is not None
    whole, kept = side(size), side(cut)
    by_short = (isinstance(size, int) and cropped) or (isinstance(size, dict) and "shortest_edge" in size)
    mean, std = said.get("image_mean"), said.get("image_std")
    fair = (
        all(said.get(switch, True) for switch in ("do_resize", "do_normalize", "do_rescale"))
        and not said.get("do_pad")
        and abs(float(said.get("rescale_factor", 1 / 255)) - 1 / 255) < 1e-6
        and said.get("resample") in _FILTERS
        and all(isinstance(part, list) and len(part) == 3 for part in (mean, std))
        and min(std) > 0
        and whole is not None
        and (kept is not None or not cropped)
        and (by_short or not cropped or kept == whole)
        and (cropped or not by_short)
        and (not by_short or whole >= (kept or 0))
    )
    if not fair:
        raise BundleError(
            f"{folder}: its preprocessor_config.json asks for what is not reproduced here; choose another model"
        )
    return Preprocessing.model_validate(
        {
            "size": kept if cropped else whole,
            "resize": "crop" if by_short else "squash",
            "short": whole if by_short else None,
            "interpolation": _FILTERS[said["resample"]],
            "mean": tuple(mean),
            "std": tuple(std),
        }
    )
