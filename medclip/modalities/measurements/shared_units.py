"""In which unit the values of one name are compared: never as bare numbers, since 1 mg/L is more than 200 ug/L."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from medclip.errors import MeasurementError
from medclip.modalities.measurements.known import KNOWN
from medclip.modalities.measurements.measurement import AGE, SEX, Measurement
from medclip.modalities.measurements.units import converted

__all__ = ["FIXED", "Amount", "LeftOut", "Measured", "in_unit", "left_out", "units_of"]

Amount = float | Measurement
"""A measurement with its unit; a number alone is in the unit that it is compared in."""

FIXED = {AGE: "a", SEX: "1"} | {name: known.unit for name, known in KNOWN.items()}
"""Name → the unit of what medclip knows."""


class Measured(Protocol):
    """What of a case is compared."""

    @property
    def id(self) -> str: ...

    @property
    def patient(self) -> str: ...

    @property
    def measured(self) -> Mapping[str, Amount]:
        """By name: age in years and sex as `SEX_VALUE`, which are numbers, and the measurements."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """Values that cannot be compared with the others of their name."""

    name: str
    unit: str  # theirs
    wanted: str  # that of the others
    case_ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} in {self.unit or 1}, which cannot be converted to {self.wanted or 1}: left out"


def in_unit(name: str, amount: Amount, unit: str) -> float:
    """An amount's value in a unit (UCUM).

    Raises:
        MeasurementError: its own unit is none, or measures something else.
    """
    return converted(name, amount.value, amount.unit, unit) if isinstance(amount, Measurement) else amount


def _comparable(name: str, unit: str, wanted: str) -> bool:
    try:
        converted(name, 1.0, unit, wanted)
    except MeasurementError:
        return False
    return True


def units_of(cases: Iterable[Measured]) -> dict[str, str]:
    """Name → the unit (UCUM) in which its values are compared.

    That of a measurement that medclip knows is its own; else it is the one to which those of most patients can be
    converted, and of such ones the one that most patients have.
    """
    patients: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in cases:
        for name, amount in case.measured.items():
            if isinstance(amount, Measurement):
                patients[name][amount.unit].add(case.patient)
    units = dict(FIXED)
    for name, own in patients.items():
        if name in units:
            continue
        reach = Counter[str]()
        for unit in own:
            reach[unit] = len(set[str]().union(*(own[other] for other in own if _comparable(name, other, unit))))
        units[name] = max(own, key=lambda unit: (reach[unit], len(own[unit])))
    return units


def left_out(cases: Sequence[Measured], units: Mapping[str, str]) -> list[LeftOut]:
    """The values that cannot be compared in these units, by name and unit."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        for name, amount in case.measured.items():
            if name in units and isinstance(amount, Measurement) and not _comparable(name, amount.unit, units[name]):
                found[name, amount.unit].append(case.id)
    return [LeftOut(name, unit, units[name], tuple(ids)) for (name, unit), ids in sorted(found.items())]
