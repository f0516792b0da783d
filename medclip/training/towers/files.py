"""A folder of Hugging Face files, read with one-line errors."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medclip.errors import BundleError

__all__ = ["LAYOUTS", "PoolerError", "inside", "layout_of", "pretrained", "read_json", "require_layout", "tensors_in"]

_WHOLE = "fetch the model whole, with  medclip model fetch"
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_OTHERS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


LAYOUTS = {
    "open_clip_config.json": "local-dir:",
    "modules.json": "sentence-transformers:",
    "config.json": "transformers:",
}
"""File by which a folder's layout is told, the first that is there → how such a folder is named."""


def layout_of(folder: Path) -> str | None:
    """How a folder of towers is named, by its files; None of one that holds none."""
    return next((prefix for file, prefix in LAYOUTS.items() if (folder / file).is_file()), None)


def require_layout(folder: Path, prefix: str) -> None:
    """Hold a folder against the way in which it was named.

    Raises:
        BundleError: it holds no towers, or is to be named otherwise.
    """
    found = layout_of(folder)
    if found is None:
        raise BundleError(f"{folder}: holds no model ({', '.join(LAYOUTS)}); name another, or a whole folder")
    if found != prefix and not any((folder / file).is_file() for file, own in LAYOUTS.items() if own == prefix):
        raise BundleError(f"{folder}: is no folder of {prefix}FOLDER; name it {found}{folder}")


def read_json(folder: Path, name: str, kind: type = dict) -> Any:
    """One JSON file of a folder.

    Args:
        kind: of value that it holds.

    Raises:
        BundleError: it is missing or damaged.
    """
    file = folder / name
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, kind):
            raise ValueError(f"no {kind.__name__}")
        return found
    except FileNotFoundError as error:
        raise BundleError(f"{folder}: has no {name}; {_WHOLE}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: is damaged; {_WHOLE}") from error


def inside(folder: Path, path: object) -> Path:
    """A place below a folder that one of its files names.

    Raises:
        BundleError: it is not a path, or leads out of the folder.
    """
    place = folder / str(path)
    if not isinstance(path, str) or not place.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder}: names a part of it that lies elsewhere; fetch the model again")
    return place


def _require_safe(folder: Path) -> None:
    """Weights are read from safetensors alone."""
    if any((folder / name).is_file() for name in _SAFE):
        return
    other = next((name for name in _OTHERS if (folder / name).is_file()), None)
    if other is None:
        raise BundleError(f"{folder}: has no weights ({_SAFE[0]}); {_WHOLE}")
    raise BundleError(f"{folder / other}: only safetensors are read; convert the folder with  medclip model fetch")


class PoolerError(BundleError):
    """A model's last layer has no pretrained weights: it was left out when they were saved."""


def pretrained(folder: Path, **how: Any) -> nn.Module:
    """The model that transformers makes of a folder, with its pretrained weights, every one of them; in eval mode, float32.

    Args:
        how: for `transformers.AutoModel.from_pretrained`.

    Raises:
        BundleError: there are no weights, they are damaged, or they are of another architecture than the configuration.
        PoolerError: all are there but those of the pooling layer.
    """
    from transformers import AutoModel

    _require_safe(folder)
    try:
        found, said = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are said below
            **how,
        )
    except Exception as error:  # of many kinds
        detail = " ".join(str(error).split())[:150]
        raise BundleError(
            f"{folder}: transformers cannot load it; {_WHOLE}, or choose another ({type(error).__name__}: {detail})"
        ) from error
    lost = sorted([*said["missing_keys"], *(name for name, *_ in said["mismatched_keys"])])
    if lost:
        kind = PoolerError if all(name.startswith("pooler.") for name in lost) else BundleError
        raise kind(
            f"{folder}: its weights are of another architecture than its config.json (of {len(lost)} tensors the first is "
            f"{lost[0]}); {_WHOLE}"
        )
    model: nn.Module = found.eval()
    return model


def tensors_in(file: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file.

    Raises:
        BundleError: it is missing or damaged.
    """
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except FileNotFoundError as error:
        raise BundleError(f"{file.parent}: has no {file.name}; {_WHOLE}") from error
    except Exception as error:  # safetensors' errors have no common type
        raise BundleError(f"{file}: is damaged; {_WHOLE} ({type(error).__name__})") from error
