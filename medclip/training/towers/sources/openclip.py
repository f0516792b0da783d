"""Models of open_clip, both towers or either.

- ``hf-hub:ORG/REPO``: a repository of the hub in open_clip's layout, as BiomedCLIP's.
- ``local-dir:FOLDER``: such a repository's files, brought; no connection is ever opened.
- ``NAME:TAG``: a built-in architecture with pretrained weights (a tag that open_clip knows, or a weights file).
"""

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from torch import nn

from medclip.errors import BundleError
from medclip.modalities.scan.prepare import Preprocessing
from medclip.training.towers.files import read_json, require_layout
from medclip.training.towers.halves import ImageHalf, Loaded, Origin, Recipe, TextHalf
from medclip.training.towers.hub import snapshot
from medclip.training.towers.licence import UNKNOWN, licence_of, title_of
from medclip.training.towers.tokenizers import Cleaning, clip_tokenizer, hugging_face_tokenizer

FORMS = ("hf-hub:ORG/REPO", "local-dir:FOLDER", "an open_clip NAME:TAG as in ViT-B-32:openai")
FILES = ("*.json", "*model*.safetensors", "*pytorch_model*.bin", "*.txt", "README.md", "LICENSE*")

TEXT_CONFIG = "text_config"
"""Folder with the configuration of a Hugging Face text tower, which open_clip otherwise asks the hub for."""

_CONFIG = "open_clip_config.json"
_CLEANING: dict[str, Cleaning] = {"whitespace": "none", "lower": "lower", "canonicalize": "canonical"}
_HUB, _LOCAL = "hf-hub:", "local-dir:"
WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "model.safetensors", "pytorch_model.bin",
)  # fmt: skip
"""Files of its weights, the first that is there: the last two may be another library's of the same model."""
_TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language"})  # open_clip's own; others go to transformers


def knows(name: str) -> bool:
    """Whether it begins as these do, or is one of open_clip's own names."""
    if name.startswith((_HUB, _LOCAL)):
        return True
    identifier, package = name.partition(":")[0], find_spec("open_clip")
    if not identifier or "/" in identifier or package is None:
        return False
    places = package.submodule_search_locations or ()  # to import it takes seconds, and most names are not its own
    return any((Path(place) / "model_configs" / f"{identifier}.json").is_file() for place in places)


def load(name: str) -> Loaded:
    """Both towers of that name.

    Raises:
        BundleError: they cannot be loaded, or are of a kind that cannot be served.
    """
    if name.startswith(_HUB):
        folder = snapshot(
            name.removeprefix(_HUB), FILES, lambda folder: any((folder / file).is_file() for file in WEIGHTS[:2])
        )
        return open_clip_halves(folder, name, connected=True)
    if name.startswith(_LOCAL):
        folder = Path(name.removeprefix(_LOCAL)).expanduser()
        require_layout(folder, _LOCAL)
        return open_clip_halves(folder, name, connected=False)
    return _built_in(name)


def rebuild(recipe: Recipe) -> nn.Module:
    """One half of the model that a recipe describes."""
    model = _model(recipe["model_cfg"], recipe.get("text_config"))
    return cast(nn.Module, model.visual if recipe["half"] == "image" else model.text)


def open_clip_halves(folder: Path, name: str, *, connected: bool) -> Loaded:
    """Both towers of a folder in the hub's layout of open_clip.

    Args:
        connected: whether what the folder lacks may be fetched from the hub.

    Raises:
        BundleError: it is incomplete, or of a kind that cannot be served.
    """
    said = read_json(folder, _CONFIG)
    try:
        config = dict(said["model_cfg"])
        text = dict(config["text_cfg"])
        vision = dict(config["vision_cfg"])
    except (LookupError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / _CONFIG}: is damaged; fetch the model again") from error
    text_config = text_configuration(folder, text, connected=connected) if text.get("hf_model_name") else None
    weights = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if weights is None:
        raise BundleError(f"{folder}: has no weights ({WEIGHTS[0]}); fetch the model whole, with  medclip model fetch")
    if weights.suffix == ".bin" and not connected:
        raise BundleError(
            f"{weights}: is a pickle, and only safetensors are read; convert the folder with  medclip model fetch {name}"
        )
    model = _model({**config, "vision_cfg": vision, "text_cfg": text}, text_config)
    _fill(model, weights, folder)
    tokenizer = _tokenizer(folder, text, connected=connected)
    return _halves(
        model, config, text_config, said.get("preprocess_cfg", {}), tokenizer,
        Origin(name, title_of(folder), licence_of(folder)),
    )  # fmt: skip


def text_configuration(folder: Path, text: dict[str, Any], *, connected: bool) -> dict[str, Any]:
    """The configuration of a Hugging Face text tower: from the folder; else from the hub's cache, or the hub.

    Raises:
        BundleError: it is nowhere.
    """
    if (folder / TEXT_CONFIG).is_dir():
        return cast(dict[str, Any], read_json(folder / TEXT_CONFIG, "config.json"))
    name = str(text["hf_model_name"])
    if connected:
        return cast(dict[str, Any], read_json(snapshot(name, ("config.json",)), "config.json"))
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json") if "/" in name else None
    if isinstance(cached, str):
        return cast(dict[str, Any], json.loads(Path(cached).read_text(encoding="utf-8")))
    raise BundleError(
        f"{folder}: the configuration of its text tower ({name}) is not in it; put that model's config.json into "
        f"{folder / TEXT_CONFIG}, or fetch the model whole, with  medclip model fetch"
    )


def _model(config: dict[str, Any], text_config: dict[str, Any] | None) -> Any:
    """open_clip's model with random weights, both towers apart.

    Raises:
        BundleError: open_clip cannot build it.
    """
    import open_clip

    if "multimodal_cfg" in config:
        raise BundleError("towers that write captions (CoCa) are not read; choose a model of two towers")
    if ":" in str(config["vision_cfg"].get("timm_model_name", "")) or "auto_map" in (text_config or {}):
        raise BundleError(f"{_CONFIG}: names an image tower of the hub, or code of its own; choose another model")
    config = {key: value for key, value in config.items() if key != "custom_text"}
    vision, text = dict(config.pop("vision_cfg")), dict(config.pop("text_cfg"))
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    with tempfile.TemporaryDirectory() as scratch:
        if text_config is not None:
            (Path(scratch) / "config.json").write_text(json.dumps(text_config), encoding="utf-8")
            text |= {"hf_model_name": scratch, "hf_model_pretrained": False}
        try:
            return open_clip.CustomTextCLIP(vision_cfg=vision, text_cfg=text, **config)
        except Exception as error:  # of many kinds
            detail = " ".join(str(error).split())[:150]
            raise BundleError(
                f"{_CONFIG}: open_clip cannot build such towers; choose another model ({type(error).__name__}: {detail})"
            ) from error


def _fill(model: Any, weights: Path, where: Path) -> None:
    from open_clip.factory import load_checkpoint

    try:
        load_checkpoint(model, str(weights), strict=True, weights_only=True)
    except Exception as error:  # of many kinds
        detail = " ".join(str(error).split())[:150]
        raise BundleError(
            f"{weights}: its weights do not fit {where / _CONFIG}; fetch the model again ({type(error).__name__}: {detail})"
        ) from error


def _tokenizer(folder: Path, text: dict[str, Any], *, connected: bool) -> Any:
    import open_clip

    name, context = text.get("hf_tokenizer_name"), int(text.get("context_length", 77))
    if not name:
        return open_clip.tokenizer.SimpleTokenizer(context_length=context)
    own = (folder / "tokenizer.json").is_file() or (folder / "vocab.txt").is_file()
    if not own and not connected:
        raise BundleError(f"{folder}: has no tokenizer.json; fetch the model whole, with  medclip model fetch")
    options = dict(text.get("tokenizer_kwargs", {}))
    if strange := set(options) - _TOKENIZER_OPTIONS:
        raise BundleError(
            f"{folder / _CONFIG}: asks its tokenizer for {', '.join(sorted(strange))}; choose another model"
        )
    source = folder if own else snapshot(str(name), ("*.json", "*.txt", "*.model"))
    try:
        return open_clip.tokenizer.HFTokenizer(
            str(source), context_length=context, tokenizer_mode=text.get("tokenizer_mode"), trust_remote_code=False,
            local_files_only=True, **options,
        )  # fmt: skip
    except Exception as error:  # of many kinds
        raise BundleError(
            f"{folder}: its tokenizer cannot be read; fetch the model again ({type(error).__name__})"
        ) from error


def _built_in(name: str) -> Loaded:
    """An architecture that open_clip knows, with weights that it knows or that lie in a file."""
    import open_clip

    identifier, _, tag = name.partition(":")
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(identifier)) or "a weights file"
        raise BundleError(f"towers {name!r} name no pretrained weights: use {identifier}:TAG (TAG: {tags})")
    config = open_clip.get_model_config(identifier)
    text_config = None
    if config["text_cfg"].get("hf_model_name"):
        text_config = text_configuration(Path(), config["text_cfg"], connected=True)
    try:
        # A wrong path only warns unless require_pretrained is set (open_clip's own default).
        model = open_clip.create_model(identifier, pretrained=tag, require_pretrained=True, force_custom_text=True)
        tokenizer = open_clip.get_tokenizer(identifier)
    except Exception as error:  # of many kinds
        detail = " ".join(str(error).split())[:200]
        raise BundleError(
            f"towers {name}: cannot be loaded; check the name, the file and the network ({detail})"
        ) from error
    return _halves(
        model, config, text_config, model.visual.preprocess_cfg, tokenizer, Origin(name, f"open_clip {name}", UNKNOWN)
    )


def _halves(
    model: Any,
    config: dict[str, Any],
    text_config: dict[str, Any] | None,
    preprocessing: dict[str, Any],
    tokenizer: Any,
    origin: Origin,
) -> Loaded:
    recipe: Recipe = {"made_by": "openclip", "model_cfg": config, "text_config": text_config}
    context = int(config["text_cfg"].get("context_length") or tokenizer.context_length)
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        tokenizer_json, reading = clip_tokenizer(tokenizer, context=context)
    elif getattr(tokenizer, "tokenizer_mode", ""):
        raise BundleError("text towers with the 'clips' tokenizer mode cannot be served; choose another model")
    else:
        tokenizer_json, reading = hugging_face_tokenizer(
            inner,
            context=context,
            fixed=not config["text_cfg"].get("hf_model_name"),  # open_clip's own text towers are shown their padding
            clean=_CLEANING[config["text_cfg"].get("tokenizer_kwargs", {}).get("clean", "whitespace")],
            expected=lambda sample: tokenizer([sample])[0].tolist(),
        )
    image = {**recipe, "half": "image"}
    how = _preprocessing({"size": model.visual.image_size, **preprocessing})
    return Loaded(
        ImageHalf(model.visual.float().eval(), how, image, origin),
        TextHalf(model.text.float().eval(), reading, tokenizer_json, {**recipe, "half": "text"}, origin),
    )


def _preprocessing(cfg: dict[str, Any]) -> Preprocessing:
    """open_clip's preprocessing in our terms.

    Raises:
        BundleError: it is of a kind that we do not reproduce.
    """
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    cfg = merge_preprocess_dict(PreprocessCfg(), {key: value for key, value in cfg.items() if key != "size"}) | {
        "size": cfg["size"]
    }
    size = cfg["size"] if isinstance(cfg["size"], int) else cfg["size"][0]
    resize = {"shortest": "crop", "longest": "pad", "squash": "squash"}.get(cfg["resize_mode"])
    if resize is None or (not isinstance(cfg["size"], int) and len(set(cfg["size"])) > 1) or cfg.get("fill_color", 0):
        raise BundleError("the towers' preprocessing (not square, or with a fill colour) is not supported")
    return Preprocessing.model_validate(
        {
            "size": size,
            "resize": resize,
            "interpolation": cfg["interpolation"],
            "mean": tuple(cfg["mean"]),
            "std": tuple(cfg["std"]),
        }
    )
