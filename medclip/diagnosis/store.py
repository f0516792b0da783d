"""Diagnosers on disk: ``diagnosers.json``, which carries its checksum and that of ``probes.safetensors`` beside it.

A probe answers for patients, and one changed bit of it can turn every answer: nothing is used that is not as it was
written, finite, and of the shapes that belong together.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclip.diagnosis.diagnoser import Diagnoser, Fit, Measured, probes_of
from medclip.diagnosis.pooling import MOST_WEIGHT
from medclip.diagnosis.probe import Probe
from medclip.diagnosis.sets import Scores
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.files.tensors import read_tensors, write_tensors
from medclip.fusion.composition import Composition, Part, by_modality
from medclip.metrics.probabilities import BINS, Bin

__all__ = ["DIAGNOSERS", "load_diagnosers", "probe_is_sealed", "save_diagnosers"]

DIAGNOSERS, TENSORS = "diagnosers.json", "probes.safetensors"
_REMEDY = "restore it from a backup, or fit it anew with  medclip index compact"

_EARLIER = (1, 2, 3)  # formats, of which the first did not say so

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Bin(_Strict):
    number: Annotated[int, Field(ge=0, lt=BINS)]
    share: Share
    stated: Share
    right: Share


class _Measured(_Strict):
    accuracy: Share
    calibration_error: Share
    patients: Annotated[int, Field(ge=1)]
    bins: list[_Bin]


class _Fit(_Strict):
    weights: list[Weight]
    measured: _Measured
    alone: Annotated[list[Weight], Field(min_length=2, max_length=2)]
    measured_alone: _Measured
    parts: dict[str, _Measured]


class _Diagnoser(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label_set: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    patients: dict[str, Annotated[int, Field(ge=1)]]
    probes: list[Composition]
    fits: dict[Composition, _Fit]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: Literal[4]
    widths: dict[Part, Annotated[int, Field(ge=0)]]
    diagnosers: list[_Diagnoser]
    tensors: str  # SHA-256 of probes.safetensors


def _stored(measured: Measured) -> _Measured:
    return _Measured(
        accuracy=min(1.0, measured.accuracy),
        calibration_error=min(1.0, measured.calibration_error),
        patients=measured.patients,
        bins=[_Bin(**asdict(one)) for one in measured.bins],
    )


def save_diagnosers(diagnosers: list[Diagnoser], widths: Mapping[Part, int], folder: Path) -> None:
    """Write both files into an existing folder.

    Args:
        widths: of each part's block.
    """
    tensors, entries = {}, []
    for d in diagnosers:
        for composition, probe in d.probes.items():
            key = f"{d.label_set}/{composition}"
            tensors[f"{key}/weights"], tensors[f"{key}/bias"] = probe.weights, probe.bias
        for composition, fit in d.fits.items():
            tensors[f"{d.label_set}/{composition}/scores"] = _scores_stored(fit)
        fits = {
            composition: _Fit(
                weights=list(fit.weights),
                measured=_stored(fit.measured),
                alone=list(fit.alone),
                measured_alone=_stored(fit.measured_alone),
                parts={name: _stored(one) for name, one in fit.parts.items()},
            )
            for composition, fit in d.fits.items()
        }
        entries.append(
            _Diagnoser(label_set=d.label_set, classes=d.classes, patients=d.patients, probes=[*d.probes], fits=fits)
        )
    digest = write_tensors(folder / TENSORS, tensors)
    written = _File(format=4, widths=dict(widths), diagnosers=entries, tensors=digest)
    write_json(folder / DIAGNOSERS, sealed(written.model_dump(mode="json")))


def load_diagnosers(folder: Path, widths: Mapping[Part, int] | None = None) -> list[Diagnoser] | None:
    """Read what `save_diagnosers` wrote; None where an earlier medclip wrote it, which fitted and measured otherwise.

    Args:
        widths: of each part's block as the index's model makes it.

    Raises:
        ArchiveError: a file is missing, damaged, or of another model.
    """
    file = folder / DIAGNOSERS
    try:
        found = read_sealed(file)
        if found.seal == "broken":
            raise ValueError("has changed since it was written")
        if isinstance(found.value, dict) and found.value.get("format", 1) in _EARLIER:
            return None
        if found.seal != "whole":
            raise ValueError("has lost a checksum")
        stored = _File.model_validate(found.value)
        if widths is not None and stored.widths != widths:
            raise ValueError("is of another model")
        file = folder / TENSORS
        tensors = read_tensors(file, stored.tensors, follow=False)
        diagnosers = [_build(entry, tensors, stored.widths) for entry in stored.diagnosers]
        if tensors:
            raise ValueError("holds tensors of no label set")
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValidationError as error:
        raise ArchiveError(f"{file}: the probe is damaged; {_REMEDY}") from error
    except (ValueError, LookupError) as error:
        raise ArchiveError(f"{file}: the probe is damaged ({error}); {_REMEDY}") from error
    return diagnosers


def _scores_stored(fit: Fit) -> NDArray[np.float32]:
    """(4, n): class number, weight, what the right class got from the pool, and what it got from the vote alone."""
    scores = fit.scores
    return np.stack([scores.labels.astype(np.float32), scores.weights, scores.right, fit.scores_alone.right])


def _scores_read(stored: NDArray[np.float32], classes: int) -> tuple[Scores, Scores]:
    """Of the pool, and of the vote alone.

    Raises:
        ValueError: they are no probabilities of so many classes.
    """
    labels, weights = stored[0].astype(np.int64), stored[1]
    if not ((labels == stored[0]) & (labels >= 0) & (labels < classes) & (weights > 0)).all():
        raise ValueError("has scores of other classes than it names")
    if not ((stored[1:] >= 0) & (stored[1:] <= 1)).all():
        raise ValueError("has scores that are no probabilities")
    pool, alone = (Scores(labels, weights, right, classes) for right in stored[2:])
    return pool, alone


def probe_is_sealed(folder: Path) -> bool:
    """Whether stored diagnosers carry checksums, as older versions of medclip did not write."""
    return read_sealed(folder / DIAGNOSERS).seal == "whole"


def _measured(stored: _Measured) -> Measured:
    bins = tuple(Bin(one.number, one.share, one.stated, one.right) for one in stored.bins)
    return Measured(stored.accuracy, stored.calibration_error, stored.patients, bins)


def _build(entry: _Diagnoser, tensors: dict[str, NDArray[Any]], widths: Mapping[Part, int]) -> Diagnoser:
    """One label set's; its tensors are taken out of `tensors`."""
    if set(entry.classes) != entry.patients.keys() or len(entry.classes) != len(entry.patients):
        raise ValueError("counts patients of other classes than it names")
    probes: dict[Composition, Probe] = {}
    for composition in entry.probes:
        key, width = f"{entry.label_set}/{composition}", sum(widths[parts[0]] for parts in by_modality(composition))
        probes[composition] = Probe(
            _taken(tensors, f"{key}/weights", (width, len(entry.classes))),
            _taken(tensors, f"{key}/bias", (len(entry.classes),)),
        )
    fits: dict[Composition, Fit] = {}
    for composition, fit in entry.fits.items():
        asked = probes_of(composition)
        if len(fit.weights) != 2 + len(asked) or not all(one in probes for one in asked):
            raise ValueError("weighs other opinions than it has")
        found = _taken(tensors, f"{entry.label_set}/{composition}/scores", (4, None))
        scores, scores_alone = _scores_read(found, len(entry.classes))
        fits[composition] = Fit(
            weights=tuple(fit.weights),
            measured=_measured(fit.measured),
            alone=tuple(fit.alone),
            measured_alone=_measured(fit.measured_alone),
            parts={name: _measured(one) for name, one in fit.parts.items()},
            scores=scores,
            scores_alone=scores_alone,
        )
    return Diagnoser(entry.label_set, entry.classes, entry.patients, probes, fits)


def _taken(tensors: dict[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """A tensor of that shape, of which any length will do where there is None."""
    found = tensors.pop(name, None)
    fits = found is not None and len(found.shape) == len(shape) and found.size > 0
    if found is None or not fits or found.dtype != np.float32:
        raise ValueError("lacks a tensor, or has one of another shape")
    if any(wanted not in (None, length) for wanted, length in zip(shape, found.shape, strict=True)):
        raise ValueError("lacks a tensor, or has one of another shape")
    if not np.isfinite(found).all():
        raise ValueError("holds NaN or infinity")
    return found
