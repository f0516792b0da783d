"""Units of measurements: UCUM codes (ucum.org), converted by ucumvert and pint; and what people write instead."""

import re
import threading
from functools import cache
from typing import Any

from medclip.errors import MeasurementError

__all__ = ["converted", "require_unit", "ucum_of"]

_WRITTEN = {"°C": "Cel", "ºC": "Cel", "°F": "[degF]", "ºF": "[degF]", "mmHg": "mm[Hg]", "bpm": "/min"}
_DEGREES = {"C": "°C", "F": "°F"}  # which are coulomb and farad in UCUM
_SIGNS = str.maketrans({"µ": "u", "μ": "u", "℃": "°C", "℉": "°F"})
_POWER = re.compile(r"[x×]?10\^(\d+)")

_alone = threading.RLock()  # cases are embedded by several threads: units of two registries cannot be converted


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


@cache
def _parsed(unit: str) -> Any:
    return _registry().from_ucum(unit).units


def ucum_of(name: str, written: str, *, of_temperature: bool) -> str:
    """The UCUM code of a unit as people write it, such as °C, mmHg, µmol/L, x10^9/L; a code, as it is.

    Args:
        name: of the measurement, for the error.
        written: the unit.
        of_temperature: whether the measurement is one, so that C and F are degrees.

    Raises:
        MeasurementError: C or F of something else, which may be degrees or coulomb and farad.
    """
    if written in _DEGREES:
        if not of_temperature:
            raise MeasurementError(
                f"{name}: {written} may be degrees or UCUM's {'farad' if written == 'F' else 'coulomb'}; "
                f"write {_DEGREES[written]}, or another code",
                "has a unit that may be degrees or another; write °C or °F",
            )
        written = _DEGREES[written]
    plain = _POWER.sub(r"10*\1", written.translate(_SIGNS))
    return _WRITTEN.get(plain, plain)


def require_unit(name: str, unit: str, example: str) -> Any:
    """A UCUM unit, as pint knows it.

    Args:
        name: of the measurement, for the error; `example` shows how it is written.

    Raises:
        MeasurementError: it is none.
    """
    from lark.exceptions import LarkError

    try:
        with _alone:
            return _parsed(unit)
    except LarkError:
        raise MeasurementError(
            f"{name}: {unit!r} is no UCUM unit; write it as in {example}", f"has no UCUM unit; write it as in {example}"
        ) from None
    except Exception as error:  # pint's errors share no base
        raise MeasurementError(
            f"{name}: the unit {unit!r} is not known; write it as in {example}",
            f"has a unit that is not known; write it as in {example}",
        ) from error


def converted(name: str, value: float, unit: str, wanted: str) -> float:
    """A value of one unit in another; no unit is that of a number alone, 1.

    Raises:
        MeasurementError: a unit is none, or they measure different things.
    """
    if unit == wanted:
        return value
    source, target = (require_unit(name, u or "1", f"{name}=...{wanted}") for u in (unit, wanted))
    try:
        with _alone:
            return float(_registry().Quantity(value, source).to(target).magnitude)
    except Exception as error:
        raise MeasurementError(
            f"{name}: {unit!r} cannot be converted to {wanted or 1}; write it in {wanted or 1}",
            f"has a unit that cannot be converted to {wanted or 1}; write it in {wanted or 1}",
        ) from error
