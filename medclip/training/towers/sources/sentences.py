"""``sentence-transformers:FOLDER`` and ``sentence-transformers:ORG/NAME``: any text tower in that library's layout.

Read are ``modules.json`` and what it names: a transformer, a pooling (mean, first token, or maximum) and dense layers. A
last normalisation is left out: a long text's windows are averaged before, and what follows takes no notice of length.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from medclip.errors import BundleError
from medclip.training.towers.files import inside, pretrained, read_json, require_layout, tensors_in
from medclip.training.towers.halves import Loaded, Origin, Recipe, TextHalf
from medclip.training.towers.hub import folder_of
from medclip.training.towers.licence import licence_of, title_of
from medclip.training.towers.tokenizers import hugging_face_tokenizer

FORMS = ("sentence-transformers:FOLDER", "sentence-transformers:ORG/NAME")
FILES = ("*.json", "*model*.safetensors", "*.txt", "*.model", "README.md", "LICENSE*")

_PREFIX = "sentence-transformers:"
_FROM_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})
"""Kinds that number their places from the one after the padding's."""
_LEAST_CONTEXT = 8  # tokens
_POOLINGS = {"mean_tokens": "mean", "cls_token": "first", "max_tokens": "maximum"}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "Identity": lambda x: x,
    "ReLU": torch.relu,
    "GELU": nn.functional.gelu,
}


class SentenceTower(nn.Module):
    """(n, tokens) int64 ids, padded → (n, d)."""

    def __init__(self, recipe: Recipe, transformer: nn.Module) -> None:
        super().__init__()
        self.pad, self.pooling = int(recipe["pad"]), str(recipe["pooling"])
        self.transformer = transformer
        self.dense = nn.ModuleList(nn.Linear(one["in"], one["out"], bias=one["bias"]) for one in recipe["dense"])
        self.activations = [str(one["activation"]) for one in recipe["dense"]]

    def forward(self, ids: Tensor) -> Tensor:
        there = ids != self.pad
        x = cast(Tensor, self.transformer(input_ids=ids, attention_mask=there.long()).last_hidden_state)
        weights = there.to(x.dtype).unsqueeze(2)
        if self.pooling == "first":
            x = x[:, 0]
        elif self.pooling == "maximum":
            x = x.masked_fill(weights == 0, -1e9).amax(1)
        else:
            x = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        for layer, activation in zip(self.dense, self.activations, strict=True):
            x = _ACTIVATIONS[activation](layer(x))
        return x


def knows(name: str) -> bool:
    """Whether it begins as these do."""
    return name.startswith(_PREFIX)


def load(name: str) -> Loaded:
    """The text tower of that name.

    Raises:
        BundleError: there is none, it is incomplete, or of a kind that is not read.
    """
    folder = folder_of(name.removeprefix(_PREFIX), FILES)
    require_layout(folder, _PREFIX)
    return Loaded(None, sentence_half(folder, name))


def rebuild(recipe: Recipe) -> nn.Module:
    """A transformer, its pooling and its dense layers."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(**recipe["config"])
    how = {"add_pooling_layer": False} if recipe["poolless"] else {}
    return SentenceTower(recipe, AutoModel.from_config(config, trust_remote_code=False, **how))


def modules_of(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of each module, in their order.

    Raises:
        BundleError: ``modules.json`` is missing or damaged, or names a place outside the folder.
    """
    return [
        (str(one["type"]).rsplit(".", 1)[-1], inside(folder, one["path"]))
        for one in read_json(folder, "modules.json", list)
    ]


def sentence_half(folder: Path, name: str) -> TextHalf:
    """The text tower of a folder in the layout of sentence-transformers.

    Raises:
        BundleError: it is incomplete, or of a kind that is not read.
    """
    listed = modules_of(folder)
    parts = dict(listed)
    dense = [place for kind, place in listed if kind == "Dense"]
    if (strange := set(parts) - {"Transformer", "Pooling", "Dense", "Normalize"}) or "Transformer" not in parts:
        raise BundleError(
            f"{folder}: is made of {', '.join(sorted(strange or parts))}, of which no text tower can be made; "
            "choose one of a transformer, a pooling and dense layers"
        )
    transformer = parts["Transformer"]
    config: dict[str, Any] = read_json(transformer, "config.json")
    tokenizer = _tokenizer(transformer)
    prompt, lower = _prompt(folder), bool(_of_transformer(transformer).get("do_lower_case"))
    context = _context(transformer, tokenizer, config)
    tokenizer_json, reading = hugging_face_tokenizer(
        tokenizer,
        context=context,
        fixed=False,
        clean="lower" if lower else "none",
        prompt=prompt,
        expected=lambda said: tokenizer((prompt + said).lower() if lower else prompt + said).input_ids,
    )
    recipe: Recipe = {
        "made_by": "sentences",
        "config": config,
        "pad": reading.pad,
        "pooling": _pooling(folder, parts.get("Pooling")),
        "dense": [_dense(folder, place) for place in dense],
        "poolless": True,
    }
    try:  # its own pooler is never asked
        tower = SentenceTower(recipe, pretrained(transformer, add_pooling_layer=False))
    except BundleError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        recipe["poolless"] = False  # an architecture that never has one
        tower = SentenceTower(recipe, pretrained(transformer))
    for layer, place in zip(tower.dense, dense, strict=True):
        stored = tensors_in(place / "model.safetensors")
        try:
            layer.load_state_dict({key.removeprefix("linear."): tensor for key, tensor in stored.items()})
        except RuntimeError as error:
            raise BundleError(f"{place}: its weights do not fit its config.json; fetch the model again") from error
    origin = Origin(name, title_of(folder), licence_of(folder))
    return TextHalf(tower.float().eval(), reading, tokenizer_json, recipe, origin)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found.backend_tokenizer.to_str()  # which a tokenizer has that is quick
        return found
    except Exception as error:  # of many kinds
        raise BundleError(
            f"{folder}: its tokenizer cannot be read; fetch the model again ({type(error).__name__})"
        ) from error


def _prompt(folder: Path) -> str:
    """What the model wants before every text, where it says so."""
    if not (folder / "config_sentence_transformers.json").is_file():
        return ""
    said = read_json(folder, "config_sentence_transformers.json")
    name = said.get("default_prompt_name")
    return str(said.get("prompts", {}).get(name, "")) if name else ""


def _of_transformer(folder: Path) -> dict[str, Any]:
    """What sentence-transformers keeps of a transformer beside its own files."""
    there = (folder / "sentence_bert_config.json").is_file()
    return dict(read_json(folder, "sentence_bert_config.json")) if there else {}


def _context(folder: Path, tokenizer: Any, config: dict[str, Any]) -> int:
    """Tokens in a window: as many as the model was trained on, as its files say it, and as it has places for."""
    places = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in _FROM_PADDING:
        places -= int(config.get("pad_token_id", 1)) + 1
    wanted = int(_of_transformer(folder).get("max_seq_length") or tokenizer.model_max_length)
    if wanted < _LEAST_CONTEXT:
        raise BundleError(f"{folder}: takes {wanted} tokens at a time, which is too few; choose another model")
    return min(wanted, places)


def _pooling(folder: Path, place: Path | None) -> str:
    if place is None:
        return "mean"
    said = read_json(place, "config.json")
    mode = said.get("pooling_mode")  # since sentence-transformers 5.3 a word or several, before one switch for each
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if not modes:
        modes = [
            key.removeprefix("pooling_mode_") for key, value in said.items() if value is True and "pooling_mode_" in key
        ]
    known = {**_POOLINGS, "mean": "mean", "cls": "first", "max": "maximum"}
    if len(modes) != 1 or modes[0] not in known or said.get("include_prompt", True) is False:
        raise BundleError(
            f"{folder}: pools by {', '.join(map(str, modes))}; read are mean, cls and max, prompts included"
        )
    return known[modes[0]]


def _dense(folder: Path, place: Path) -> dict[str, Any]:
    said = read_json(place, "config.json")
    activation = str(said.get("activation_function", "")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise BundleError(f"{folder}: a dense layer ends in {activation}; read are {', '.join(sorted(_ACTIVATIONS))}")
    return {
        "in": int(said["in_features"]),
        "out": int(said["out_features"]),
        "bias": bool(said.get("bias", True)),
        "activation": activation,
    }
