"""Measurements as people write them → known names, canonical units, plausible values.

Units are UCUM codes (ucum.org), converted by ucumvert and pint.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from medclip.errors import MeasurementError
from medclip.modalities.measurements.coding import MeasurementCoding
from medclip.modalities.measurements.measurement import AGE, SEX, SEX_VALUE, Measurement

__all__ = ["KNOWN", "Known", "measurement_of", "parse_measurement", "standardise", "values_of"]


@dataclass(frozen=True)
class Known:
    """A measurement that medclip knows: its unit, and the range outside which a value is a typing error."""

    unit: str  # UCUM
    low: float
    high: float
    synonyms: tuple[str, ...] = ()


KNOWN: dict[str, Known] = {
    "temperature": Known("Cel", 25, 45, ("temp", "body temperature")),
    "heart rate": Known("/min", 10, 350, ("pulse", "hr")),
    "respiratory rate": Known("/min", 2, 120, ("rr",)),
    "systolic blood pressure": Known("mm[Hg]", 30, 320, ("sbp", "systolic")),
    "diastolic blood pressure": Known("mm[Hg]", 10, 220, ("dbp", "diastolic")),
    "oxygen saturation": Known("%", 20, 100, ("spo2", "pO2 saturation", "sao2")),
    "height": Known("cm", 20, 260),
    "weight": Known("kg", 0.3, 450, ("body weight",)),
    "leukocytes": Known("10*9/L", 0, 800, ("wbc", "white cell count", "leukocyte count")),
    "neutrophils": Known("10*9/L", 0, 400, ("neutrophil count",)),
    "lymphocytes": Known("10*9/L", 0, 700, ("lymphocyte count",)),
    "platelets": Known("10*9/L", 0, 3000, ("thrombocytes", "platelet count")),
    "haemoglobin": Known("g/L", 15, 260, ("hemoglobin", "hb")),
    "creatinine": Known("umol/L", 5, 3000),
    "c-reactive protein": Known("mg/L", 0, 800, ("crp",)),
    "glucose": Known("mmol/L", 0.3, 90),
    "lactate": Known("mmol/L", 0.1, 40),
    "d-dimer": Known("mg/L", 0, 200),
}

_NAMES = {name: name for name in KNOWN} | {
    synonym.lower(): name for name, known in KNOWN.items() for synonym in known.synonyms
}
_WRITTEN = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf))\s*(\S*)\s*", re.I)


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


def _units(name: str, unit: str, example: str) -> Any:
    """A UCUM unit, as pint knows it."""
    from lark.exceptions import LarkError

    try:
        return _registry().from_ucum(unit).units
    except LarkError:
        raise MeasurementError(f"{name}: {unit!r} is no UCUM unit; write it as in {example}") from None
    except Exception as error:  # pint's errors share no base
        raise MeasurementError(f"{name}: the unit {unit!r} is not known; write it as in {example}") from error


def _converted(name: str, value: float, unit: str, wanted: str) -> float:
    if unit == wanted:
        return value
    source, target = (_units(name, u, f"{name}=...{wanted}") for u in (unit, wanted))
    try:
        return float(_registry().Quantity(value, source).to(target).magnitude)
    except Exception as error:
        raise MeasurementError(f"{name}: {unit!r} cannot be converted to {wanted}; write it in {wanted}") from error


def standardise(name: str, value: float, unit: str) -> Measurement:
    """A measurement under its known name and in its canonical unit; one that medclip does not know, as it is.

    Raises:
        MeasurementError: the value is no number or implausible, or the unit is unknown or of another kind.
    """
    if not math.isfinite(value):
        raise MeasurementError(f"{name}: {value} is no number; leave out what is not known")
    known_name = _NAMES.get(" ".join(name.lower().replace("_", " ").split()), name)
    known = KNOWN.get(known_name)
    if known is None:
        _units(name, unit or "1", "10*9/L, mmol/L, % or 1")
        return Measurement(name=known_name, value=value, unit=unit)
    if not unit:
        raise MeasurementError(
            f"{name}: has no unit; write it in {known.unit}, as in {known_name}={value:g}{known.unit}"
        )
    converted = round(_converted(known_name, value, unit, known.unit), 9)
    if not known.low <= converted <= known.high:
        raise MeasurementError(
            f"{name}: {value:g} {unit} is not plausible ({known.low:g} to {known.high:g} {known.unit}); check it"
        )
    return Measurement(name=known_name, value=converted, unit=known.unit)


def values_of(
    written: Sequence[str], age: float | None, sex: str | None, *, known: MeasurementCoding
) -> dict[str, float]:
    """What a user says of a patient, by name, in the model's units.

    Raises:
        MeasurementError: a measurement or the sex is not one, or is given twice.
    """
    values: dict[str, float] = {}
    if age is not None:
        values[AGE] = age
    if sex is not None:
        if sex not in SEX_VALUE:
            raise MeasurementError(f"sex {sex!r}: is not known; write {', '.join(SEX_VALUE)}")
        values[SEX] = SEX_VALUE[sex]
    for one in written:
        measurement = parse_measurement(one, known.names)
        if measurement.name in values:
            raise MeasurementError(f"{measurement.name}: is given twice; give one value")
        values[measurement.name] = measurement.value
    return values


def measurement_of(name: str, written: str) -> Measurement:
    """A value and its unit as a user wrote them, such as ``38.9 Cel``.

    Raises:
        MeasurementError: it is not written so, or its value or unit is refused.
    """
    found = _WRITTEN.fullmatch(written)
    if not found:
        raise MeasurementError(f"{name}: {written!r} is no value with a unit; write it as temperature=38.9Cel")
    return standardise(name, float(found[1]), found[2])


def parse_measurement(written: str, others: Iterable[str] = ()) -> Measurement:
    """What a user typed, such as ``temperature=38.9Cel``.

    Args:
        others: names beyond `KNOWN` that are understood too, without conversion.

    Raises:
        MeasurementError: it is not written so, its name is not known, or its value or unit is refused.
    """
    name, equals, value = written.partition("=")
    if not equals or not name.strip():
        raise MeasurementError(f"{written!r}: is no measurement; write it as temperature=38.9Cel")
    measurement = measurement_of(name.strip(), value)
    if measurement.name not in KNOWN and measurement.name not in set(others):
        known = ", ".join(sorted({*KNOWN, *others}))
        raise MeasurementError(f"{name}: is not a measurement that medclip knows; it knows {known}")
    return measurement
