"""Measurements → a vector, standardised on the training cases, with a missing mask.

Every column gives three numbers: whether it is there, its standard score, and how far that lies from the middle of the
training cases on either side (too much and too little can mean the same). Missing values give zeros.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medclip.modalities.measurements.measurement import AGE, SEX, Measurement

__all__ = ["Measured", "MeasurementCoding", "fit_coding"]

Array = NDArray[np.float32]

_LEAST = 5  # patients a column must be known of: of fewer, mean and spread are chance
_LIMIT = 3.0  # standard scores; anything beyond (0.3 % of a normal distribution) counts as that
_THERE = 0.5  # what being known weighs beside the standard score, of which most are below 1; not tuned
_PER_COLUMN = 3
_MEAN_DISTANCE = 0.8  # (2/π)^½, of a normal distribution from its middle, in standard deviations


class Measured(Protocol):
    """What of a case a coding is fitted on."""

    @property
    def patient(self) -> str: ...

    @property
    def measurements(self) -> Sequence[Measurement]: ...

    @property
    def measured(self) -> Mapping[str, float]:
        """Name → value: age in years, sex as `SEX_VALUE`, and the measurements in their units."""
        ...


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    unit: str  # UCUM
    mean: float
    sd: float


class MeasurementCoding(BaseModel):
    """What a model knows of measurements; part of it, stored in its manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[_Column, ...] = ()

    @property
    def width(self) -> int:
        """Numbers in a coded vector."""
        return _PER_COLUMN * len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements that the model knows."""
        return tuple(column.name for column in self.columns)

    def scores(self, values: Mapping[str, float]) -> Array:
        """Name → value in the column's unit; → (columns,) standard scores, NaN where missing."""
        out = np.full(len(self.columns), np.nan, np.float32)
        for i, column in enumerate(self.columns):
            if column.name in values:
                out[i] = min(max((values[column.name] - column.mean) / column.sd, -_LIMIT), _LIMIT)
        return out

    def code(self, scores: Array) -> Array:
        """(n, columns) standard scores → (n, width) unit vectors, or zeros where all are missing."""
        there = ~np.isnan(scores)
        known = np.where(there, scores, 0)
        parts = np.stack([_THERE * there, known, (np.abs(known) - _MEAN_DISTANCE) * there], axis=2)
        flat = parts.reshape(len(scores), -1)
        return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12), np.float32)

    def encode(self, values: Mapping[str, float]) -> Array:
        """Name → value in the column's unit; → (width,) unit vector, or zeros where the model knows none of them."""
        vector: Array = self.code(self.scores(values)[None])[0]
        return vector


def fit_coding(cases: Sequence[Measured]) -> MeasurementCoding:
    """The measurements that at least five patients of the training cases have, with mean and standard deviation.

    Of a measurement that medclip does not know, the first unit holds; values in another one are left out.
    """
    values: dict[str, list[float]] = defaultdict(list)
    patients: dict[str, set[str]] = defaultdict(set)
    units = {AGE: "a", SEX: "1"}
    for case in cases:
        units |= {m.name: m.unit for m in case.measurements}
        for name, value in case.measured.items():
            values[name].append(value)
            patients[name].add(case.patient)
    columns = [
        _Column(name=name, unit=units[name], mean=float(np.mean(found)), sd=float(np.std(found)))
        for name, found in sorted(values.items())
        if len(patients[name]) >= _LEAST and np.std(found) > 0
    ]
    return MeasurementCoding(columns=tuple(columns))
