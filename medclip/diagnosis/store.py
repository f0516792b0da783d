"""Diagnosers on disk: ``diagnosers.json``, which carries its checksum and that of ``probes.safetensors`` beside it.

A probe answers for patients, and one changed bit of it can turn every answer: nothing is used that is not as it was
written, finite, and of the shapes that belong together.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclip.diagnosis.combination import Combination
from medclip.diagnosis.diagnoser import Diagnoser, Part
from medclip.diagnosis.probe import Probe
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.files.tensors import read_tensors, write_tensors
from medclip.fusion.composition import Composition

__all__ = ["DIAGNOSERS", "load_diagnosers", "probe_is_sealed", "save_diagnosers"]

DIAGNOSERS, TENSORS = "diagnosers.json", "probes.safetensors"
_REMEDY = "restore it from a backup, or fit it anew with  medclip index compact"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    vote_weight: Share
    temperature: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]
    held_out_accuracy: Share
    held_out_calibration_error: Share
    examples: Annotated[int, Field(ge=1)]


class _Diagnoser(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label_set: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    patients: dict[str, Annotated[int, Field(ge=1)]]
    parts: dict[Composition, _Part]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    diagnosers: list[_Diagnoser]
    tensors: str | None = None  # SHA-256 of probes.safetensors; none where an older medclip wrote it


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
    written = _File(diagnosers=entries, tensors=write_tensors(folder / TENSORS, tensors))
    write_json(folder / DIAGNOSERS, sealed(written.model_dump(mode="json")))


def load_diagnosers(folder: Path, dimension: int) -> list[Diagnoser]:
    """Read what `save_diagnosers` wrote.

    Args:
        dimension: width of the embeddings.

    Raises:
        ArchiveError: a file is missing, damaged, or the two do not belong together.
    """
    file = folder / DIAGNOSERS
    try:
        found = read_sealed(file)
        if found.seal == "broken":
            raise ValueError("has changed since it was written")
        stored = _File.model_validate(found.value)
        if (found.seal == "whole") != (stored.tensors is not None):
            raise ValueError("has lost a checksum")
        file = folder / TENSORS
        tensors = read_tensors(file, stored.tensors, follow=False)
        diagnosers = [_build(entry, tensors, dimension) for entry in stored.diagnosers]
        if tensors:
            raise ValueError("holds tensors of no label set")
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValidationError as error:
        raise ArchiveError(f"{file}: the probe is damaged; {_REMEDY}") from error
    except ValueError as error:
        raise ArchiveError(f"{file}: the probe is damaged ({error}); {_REMEDY}") from error
    return diagnosers


def probe_is_sealed(folder: Path) -> bool:
    """Whether stored diagnosers carry checksums, as older versions of medclip did not write."""
    return read_sealed(folder / DIAGNOSERS).seal == "whole"


def _build(entry: _Diagnoser, tensors: dict[str, NDArray[Any]], dimension: int) -> Diagnoser:
    """One label set's; its tensors are taken out of `tensors`."""
    if set(entry.classes) != entry.patients.keys() or len(entry.classes) != len(entry.patients):
        raise ValueError("counts patients of other classes than it names")
    parts: dict[Composition, Part] = {}
    for composition, part in entry.parts.items():
        key = f"{entry.label_set}/{composition}"
        parts[composition] = Part(
            probe=Probe(
                _taken(tensors, f"{key}/weights", (dimension, len(entry.classes))),
                _taken(tensors, f"{key}/bias", (len(entry.classes),)),
            ),
            combination=Combination(part.vote_weight, part.temperature),
            held_out_accuracy=part.held_out_accuracy,
            held_out_calibration_error=part.held_out_calibration_error,
            examples=part.examples,
        )
    prior = np.asarray([entry.patients[label] for label in entry.classes], np.float64)
    return Diagnoser(entry.label_set, entry.classes, prior / prior.sum(), entry.patients, parts)


def _taken(tensors: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    found = tensors.pop(name, None)
    if found is None or found.shape != shape or found.dtype != np.float32:
        raise ValueError("lacks a tensor, or has one of another shape")
    if not np.isfinite(found).all():
        raise ValueError("holds NaN or infinity")
    return found
