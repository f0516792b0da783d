"""Units of measurements: UCUM codes (ucum.org), converted by ucumvert and pint."""

import threading
from functools import cache
from typing import Any

from medclip.errors import MeasurementError

__all__ = ["converted", "require_unit"]


_alone = threading.RLock()  # cases are embedded by several threads: units of two registries cannot be converted


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


@cache
def _parsed(unit: str) -> Any:
    return _registry().from_ucum(unit).units


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
        raise MeasurementError(f"{name}: {unit!r} is no UCUM unit; write it as in {example}") from None
    except Exception as error:  # pint's errors share no base
        raise MeasurementError(f"{name}: the unit {unit!r} is not known; write it as in {example}") from error


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
            f"{name}: {unit!r} cannot be converted to {wanted or 1}; write it in {wanted or 1}"
        ) from error
