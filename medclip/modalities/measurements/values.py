"""Measurements as people write them → known names, canonical units, plausible values."""

import math
import re
from collections.abc import Iterable, Sequence

from medclip.errors import MeasurementError
from medclip.modalities.measurements.coding import MeasurementCoding
from medclip.modalities.measurements.known import KNOWN, NAMES
from medclip.modalities.measurements.measurement import AGE, SEX, SEX_VALUE, Measurement
from medclip.modalities.measurements.shared_units import in_unit
from medclip.modalities.measurements.units import converted, require_unit, ucum_of

__all__ = ["measurement_of", "parse_measurement", "standardise", "values_of"]


_WRITTEN = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf))\s*(\S*)\s*", re.I)


def standardise(name: str, value: float, unit: str) -> Measurement:
    """A measurement under its known name and in its canonical unit; one that medclip does not know, as it is.

    Raises:
        MeasurementError: the value is no number or implausible, or the unit is unknown or of another kind.
    """
    if not math.isfinite(value):
        raise MeasurementError(
            f"{name}: {value} is no number; leave out what is not known", "is no number; leave it empty"
        )
    known_name = NAMES.get(" ".join(name.lower().replace("_", " ").split()), name)
    known = KNOWN.get(known_name)
    unit = ucum_of(name, unit, of_temperature=known is not None and known.unit == "Cel")
    if known is None:
        require_unit(name, unit or "1", "10*9/L, mmol/L, % or 1")
        return Measurement(name=known_name, value=value, unit=unit)
    if not unit:
        raise MeasurementError(
            f"{name}: has no unit; write it in {known.unit}, as in {known_name}={value:g}{known.unit}",
            f"has no unit; write it with its unit, such as {known.unit}",
        )
    in_unit = round(converted(known_name, value, unit, known.unit), 9)
    if not known.low <= in_unit <= known.high:
        raise MeasurementError(
            f"{name}: {value:g} {unit} is not plausible ({known.low:g} to {known.high:g} {known.unit}); check it",
            f"is not plausible ({known.low:g} to {known.high:g} {known.unit}); check it",
        )
    return Measurement(name=known_name, value=in_unit, unit=known.unit)


def values_of(
    written: Sequence[str], age: float | None, sex: str | None, *, known: MeasurementCoding
) -> dict[str, float]:
    """What a user says of a patient, by name, in the model's units.

    Raises:
        MeasurementError: a measurement or the sex is not one, is given twice, or in a unit that cannot be converted to
            the model's.
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
        unit = known.units.get(measurement.name, measurement.unit)
        if unit and not measurement.unit:
            raise MeasurementError(f"{one}: has no unit; write it in {unit}, as in {one}{unit}")
        values[measurement.name] = in_unit(measurement.name, measurement, unit)
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
        others: names beyond `KNOWN` that are understood too, in the unit that is written.

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
