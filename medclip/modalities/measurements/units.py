"""Units of measurements: UCUM codes (ucum.org), converted by ucumvert and pint."""

from functools import cache
from typing import Any

from medclip.errors import MeasurementError

__all__ = ["converted", "require_unit"]


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


def require_unit(name: str, unit: str, example: str) -> Any:
    """A UCUM unit, as pint knows it.

    Args:
        name: of the measurement, for the error; `example` shows how it is written.

    Raises:
        MeasurementError: it is none.
    """
    from lark.exceptions import LarkError

    try:
        return _registry().from_ucum(unit).units
    except LarkError:
        raise MeasurementError(f"{name}: {unit!r} is no UCUM unit; write it as in {example}") from None
    except Exception as error:  # pint's errors share no base
        raise MeasurementError(f"{name}: the unit {unit!r} is not known; write it as in {example}") from error


def converted(name: str, value: float, unit: str, wanted: str) -> float:
    """A value of one unit in another.

    Raises:
        MeasurementError: a unit is none, or they measure different things.
    """
    if unit == wanted:
        return value
    source, target = (require_unit(name, u, f"{name}=...{wanted}") for u in (unit, wanted))
    try:
        return float(_registry().Quantity(value, source).to(target).magnitude)
    except Exception as error:
        raise MeasurementError(f"{name}: {unit!r} cannot be converted to {wanted}; write it in {wanted}") from error
