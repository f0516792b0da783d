"""Whether an archive holds anything like what is asked about: ``novelty.json`` and ``novelty.safetensors`` beside the probes.

Two measures of unlikeness: how far what a tower gives points away from the mean of the model's training cases, compared with
how far the archive's own do, either way (`Fuser.gauge`); and, of a scan, that it does not lie upright (`Orientation`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclip.bundle.orientation import Orientation
from medclip.diagnosis.novelty import LEVEL, Reference, reference_of
from medclip.embedding.embedder import Array, EmbeddedCase
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.files.tensors import read_tensors, write_tensors
from medclip.fusion import Fuser, Parts

__all__ = [
    "NOVELTY",
    "NOVELTY_TENSORS",
    "Judged",
    "JudgedPart",
    "Novelty",
    "Usual",
    "read_novelty",
    "write_novelty",
]

Kind = Literal["scan", "history", "report"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PLACE: dict[Kind, int] = {"scan": 0, "history": 0, "report": 1}
"""Where of the gauge each kind has its own (`medclip.training.projection.GAUGED`)."""

NOVELTY, NOVELTY_TENSORS = "novelty.json", "novelty.safetensors"
_REMEDY = "restore it from a backup, or make it anew with  medclip index compact"
_HARMONIC = 1.25
"""By which the harmonic mean of several p-values is raised: of some ten independent ones it is below 0.04 for one in twenty
(Wilson 2019, table 1)."""

_SURELY = 0.5  # probability from which a scan is said to lie otherwise than upright


@dataclass(frozen=True)
class JudgedPart:
    """One scan or text of a query."""

    kind: Kind
    scan: int | None  # which scan, from 1
    p: float
    lies: str | None  # how a scan seems to lie that is unlike the archive by that alone


@dataclass(frozen=True)
class Judged:
    """What is asked about, beside what an archive holds."""

    p: float  # of all parts together: of several the harmonic mean (Wilson 2019, PNAS 116:1195), raised; they hang together
    parts: list[JudgedPart]

    @property
    def unlike(self) -> bool:
        """Whether there is nothing like it in the archive."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Novelty:
    """What tells whether an archive holds anything like it."""

    usual: Mapping[Kind, float]  # kind → median of the gauge
    references: Mapping[Kind, Reference]
    fuser: Fuser
    orientation: Orientation | None

    def judge(self, parts: Parts) -> Judged | None:
        """Judge the scans and texts of a query; None where nothing of it can be judged, by so few patients."""
        found: list[JudgedPart] = []
        for kind, reference in self.references.items():
            vectors = _vectors(self.fuser, parts, kind)
            if not reference.can_tell or not len(vectors):
                continue
            measures = _measures(vectors, kind, self.usual[kind], self.fuser, self.orientation)
            p_values = zip(reference.p_values(measures).tolist(), reference.first(measures[0]).tolist(), strict=True)
            for number, ((p, gauge), vector) in enumerate(zip(p_values, vectors, strict=True), start=1):
                scan = number if kind == "scan" else None
                # how something lies that is not such a scan as those of here, nobody knows
                told = scan is not None and p < LEVEL <= gauge
                found.append(JudgedPart(kind, scan, p, self._lies(vector) if told else None))
        if not found:
            return None
        if len(found) == 1:
            return Judged(found[0].p, found)
        return Judged(min(1.0, _HARMONIC * len(found) / sum(1 / part.p for part in found)), found)

    def _lies(self, vector: Array) -> str | None:
        if self.orientation is None:
            return None
        [probabilities] = self.orientation.probabilities(vector[None])
        most = int(probabilities.argmax())
        return self.orientation.names[most] if most and probabilities[most] >= _SURELY else None


def _vectors(fuser: Fuser, parts: Parts, kind: Kind) -> Array:
    """(n, w) unit vectors of what the frozen towers know of each scan, or of the text."""
    given = [parts.scan(i) for i in range(len(parts.scans))] if kind == "scan" else [parts.only([kind])]
    rows = [fuser.blocks(one)[kind] for one in given if kind in one.there]
    return np.stack(rows) if rows else np.empty((0, fuser.width_of(kind)), np.float32)


def _gauge(vectors: Array, kind: Kind, fuser: Fuser) -> Array:
    """(n,) of (n, w) vectors."""
    return vectors[:, vectors.shape[1] - fuser.gauge + _PLACE[kind]]


def _measures(vectors: Array, kind: Kind, usual: float, fuser: Fuser, orientation: Orientation | None) -> list[Array]:
    found = [np.abs(_gauge(vectors, kind, fuser) - np.float32(usual))]
    if kind == "scan" and orientation is not None:
        upright = orientation.probabilities(vectors)[:, 0]
        found.append(-np.log(np.maximum(upright, np.finfo(np.float32).tiny)).astype(np.float32))
    return found


class Usual:
    """Gathers what of archived cases is judged by, as they pass."""

    def __init__(self, fuser: Fuser, orientation: Orientation | None) -> None:
        """Of a model; `orientation` where it has one."""
        self._fuser, self._orientation = fuser, orientation
        self._rows: dict[Kind, list[Array]] = {kind: [] for kind in KINDS}
        self._patients: dict[Kind, list[str]] = {kind: [] for kind in KINDS}

    def passing(self, embedded: Iterable[EmbeddedCase]) -> Iterator[EmbeddedCase]:
        """The same cases."""
        for case in embedded:
            for kind in KINDS if self._fuser.gauge else ():
                own = _vectors(self._fuser, case.parts, kind)
                self._rows[kind] += [*own]
                self._patients[kind] += [case.case.patient] * len(own)
            yield case

    def novelty(self) -> Novelty | None:
        """What tells what is unlike those that passed; None where their model has no gauge, as those of medclip 0.1."""
        if not self._fuser.gauge:
            return None
        usual: dict[Kind, float] = {}
        references: dict[Kind, Reference] = {}
        for kind, rows in self._rows.items():
            if rows:
                vectors = np.stack(rows)
                usual[kind] = float(np.median(_gauge(vectors, kind, self._fuser)))
                measures = _measures(vectors, kind, usual[kind], self._fuser, self._orientation)
                references[kind] = reference_of(measures, self._patients[kind])
        return Novelty(usual, references, self._fuser, self._orientation)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    usual: dict[Kind, Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]]
    tensors: str  # SHA-256 of novelty.safetensors


def write_novelty(novelty: Novelty, folder: Path) -> None:
    """Write both files into an existing folder."""
    tensors = {}
    for kind, one in novelty.references.items():
        tensors[f"{kind}/measures"], tensors[f"{kind}/weights"] = one.measures, one.weights
    stored = _File(format=1, usual=dict(novelty.usual), tensors=write_tensors(folder / NOVELTY_TENSORS, tensors))
    write_json(folder / NOVELTY, sealed(stored.model_dump(mode="json")))


def read_novelty(folder: Path, fuser: Fuser, orientation: Orientation | None) -> Novelty | None:
    """Read what `write_novelty` wrote; None where the model has no gauge, as those of medclip 0.1.

    Raises:
        ArchiveError: a file is missing, damaged, or of another model.
    """
    file = folder / NOVELTY
    if not fuser.gauge:
        return None
    try:
        read = read_sealed(file)
        if read.seal != "whole":
            raise ValueError("has changed since it was written")
        stored = _File.model_validate(read.value)
        file = folder / NOVELTY_TENSORS
        tensors = read_tensors(file, stored.tensors, follow=False)
        references = {
            kind: _reference(kind, tensors, 2 if kind == "scan" and orientation is not None else 1)
            for kind in stored.usual
        }
        if tensors:
            raise ValueError("holds tensors of nothing")
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValidationError as error:
        raise ArchiveError(f"{file}: is damaged; {_REMEDY}") from error
    except (ValueError, LookupError) as error:
        raise ArchiveError(f"{file}: is damaged ({error}); {_REMEDY}") from error
    return Novelty(stored.usual, references, fuser, orientation)


def _reference(kind: Kind, tensors: dict[str, NDArray[Any]], count: int) -> Reference:
    """One kind's, of so many measures; its tensors are taken out of `tensors`.

    Raises:
        LookupError, ValueError: they are not such.
    """
    measures, weights = tensors.pop(f"{kind}/measures"), tensors.pop(f"{kind}/weights")
    if any(one.dtype != np.float32 or not np.isfinite(one).all() for one in (measures, weights)):
        raise ValueError("holds something else than finite numbers")
    if not weights.size or measures.shape != (count, *weights.shape) or weights.ndim != 1 or not (weights > 0).all():
        raise ValueError("is of another model")
    return Reference(measures, weights)
