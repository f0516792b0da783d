"""Diagnosers on disk: ``diagnosers.json`` and ``probes.safetensors``."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medclip.diagnosis.calibration import Combination
from medclip.diagnosis.diagnoser import Composition, Diagnoser, Part
from medclip.diagnosis.probe import Probe
from medclip.errors import ArchiveError

__all__ = ["DIAGNOSERS", "load_diagnosers", "save_diagnosers"]

DIAGNOSERS, _TENSORS = "diagnosers.json", "probes.safetensors"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    vote_weight: float
    temperature: float
    held_out_accuracy: float
    held_out_calibration_error: float
    examples: int


class _Diagnoser(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label_set: str
    classes: tuple[str, ...]
    patients: dict[str, int]
    parts: dict[Composition, _Part]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    diagnosers: list[_Diagnoser]


def save_diagnosers(diagnosers: list[Diagnoser], folder: Path) -> None:
    """Write both files into an existing folder."""
    tensors, entries = {}, []
    for d in diagnosers:
        parts = {}
        for composition, part in d.parts.items():
            key = f"{d.label_set}/{composition}"
            tensors[f"{key}/weights"], tensors[f"{key}/bias"] = part.probe.weights.copy(), part.probe.bias.copy()
            parts[composition] = _Part(
                vote_weight=part.combination.vote_weight,
                temperature=part.combination.temperature,
                held_out_accuracy=part.held_out_accuracy,
                held_out_calibration_error=part.held_out_calibration_error,
                examples=part.examples,
            )
        entries.append(_Diagnoser(label_set=d.label_set, classes=d.classes, patients=d.patients, parts=parts))
    save_file(tensors, folder / _TENSORS)
    (folder / DIAGNOSERS).write_text(_File(diagnosers=entries).model_dump_json(indent=2) + "\n")


def load_diagnosers(folder: Path) -> list[Diagnoser]:
    """Read what `save_diagnosers` wrote.

    Raises:
        ArchiveError: a file is missing, damaged, or the two do not belong together.
    """
    try:
        stored = _File.model_validate_json((folder / DIAGNOSERS).read_bytes())
        tensors = load_file(folder / _TENSORS)
        return [_build(entry, tensors) for entry in stored.diagnosers]
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        raise ArchiveError(f"{folder}: the probe is missing or damaged; build the index again") from error


def _build(entry: _Diagnoser, tensors: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]) -> Diagnoser:
    parts: dict[Composition, Part] = {}
    for composition, part in entry.parts.items():
        key = f"{entry.label_set}/{composition}"
        weights, bias = tensors[f"{key}/weights"], tensors[f"{key}/bias"]
        if weights.shape[1] != len(entry.classes) or bias.shape != (len(entry.classes),):
            raise ValueError(key)
        parts[composition] = Part(
            probe=Probe(weights, bias),
            combination=Combination(part.vote_weight, part.temperature),
            held_out_accuracy=part.held_out_accuracy,
            held_out_calibration_error=part.held_out_calibration_error,
            examples=part.examples,
        )
    prior = np.asarray([entry.patients[label] for label in entry.classes], np.float64)
    return Diagnoser(entry.label_set, entry.classes, prior / prior.sum(), entry.patients, parts)
