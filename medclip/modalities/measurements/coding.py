"""Measurements → a vector, standardised on the training cases, with a missing mask.

Every column gives three numbers: whether it is there, its standard score, and how far that lies from the middle of the
training cases on either side (too much and too little can mean the same). Missing values give zeros.
"""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medclip.errors import MeasurementError
from medclip.modalities.measurements.shared_units import FIXED, Amount, Measured, in_unit, units_of

__all__ = ["MeasurementCoding", "fit_coding"]

Array = NDArray[np.float32]

_LEAST = 5  # patients a column must be known of: of fewer, mean and spread are chance
_LIMIT = 3.0  # standard scores; anything beyond (0.3 % of a normal distribution) counts as that
_THERE = 0.5  # what being known weighs beside the standard score, of which most are below 1; not tuned
_PER_COLUMN = 3
_MEAN_DISTANCE = 0.8  # (2/π)^½, of a normal distribution from its middle, in standard deviations


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    unit: str | None = None  # UCUM; where a model states none, that of `FIXED`
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

    @property
    def units(self) -> dict[str, str]:
        """Name → the unit (UCUM) of what the model knows."""
        stated = {c.name: FIXED.get(c.name) if c.unit is None else c.unit for c in self.columns}
        return {name: unit for name, unit in stated.items() if unit is not None}

    def values(self, amounts: Mapping[str, Amount]) -> dict[str, float]:
        """What the model knows of these, by name, in its units; what cannot be converted to them is left out."""
        found = {}
        for name, unit in self.units.items():
            if name in amounts:
                with contextlib.suppress(MeasurementError):
                    found[name] = in_unit(name, amounts[name], unit)
        return found

    def faults(self, amounts: Mapping[str, Amount]) -> list[str]:
        """A line for each of these that the model knows in a unit to which it cannot be converted."""
        found = []
        for name, unit in self.units.items():
            try:
                if name in amounts:
                    in_unit(name, amounts[name], unit)
            except MeasurementError as error:
                found.append(str(error))
        return found

    def scores(self, amounts: Mapping[str, Amount]) -> Array:
        """By name → (columns,) standard scores, NaN where missing, or of a unit that cannot be converted."""
        values = self.values(amounts)
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

    def encode(self, amounts: Mapping[str, Amount]) -> Array:
        """By name → (width,) unit vector, or zeros where the model knows none of them; a number is in the model's unit."""
        vector: Array = self.code(self.scores(amounts)[None])[0]
        return vector


def fit_coding(cases: Sequence[Measured]) -> MeasurementCoding:
    """The measurements that at least five patients of the training cases have, with mean and standard deviation.

    All values of one name are converted to one unit (`units_of`), and those that cannot be are left out
    (`medclip.modalities.measurements.shared_units.left_out` lists them).
    """
    values: dict[str, list[float]] = defaultdict(list)
    patients: dict[str, set[str]] = defaultdict(set)
    units = units_of(cases)
    for case in cases:
        for name, amount in case.measured.items():
            try:
                value = in_unit(name, amount, units[name])
            except MeasurementError:
                continue
            values[name].append(value)
            patients[name].add(case.patient)
    columns = [
        _Column(name=name, unit=units[name], mean=float(np.mean(found)), sd=float(np.std(found)))
        for name, found in sorted(values.items())
        if len(patients[name]) >= _LEAST and np.std(found) > 0
    ]
    return MeasurementCoding(columns=tuple(columns))
