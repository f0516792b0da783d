"""In which order cases are listed: by fields, ties by case id, what is unknown last in either direction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from medclip.errors import FilterError

__all__ = ["CASE", "Listed", "Order", "SortKey", "first_in_order", "parse_order"]

CASE = "case"
"""The name by which cases are sorted by their id; no field is called so."""


@dataclass(frozen=True)
class SortKey:
    """One field to sort by. A case of several values stands where all of them, in order, do."""

    field: str
    descending: bool = False


@dataclass(frozen=True)
class Order:
    """An order of cases in which no two are equal."""

    keys: tuple[SortKey, ...] = ()
    last_first: bool = False  # of cases that are equal by all keys, whether the last id comes first


@dataclass(frozen=True)
class Listed:
    """A part of all cases that were asked for."""

    total: int  # cases that were asked for
    case_ids: list[str]  # of this part, in order


def parse_order(names: Sequence[str], fields: Mapping[str, str]) -> Order:
    """The order that names of fields say, ``-NAME`` for descending.

    Raises:
        FilterError: a field is not there, or is named twice.
    """
    keys: list[SortKey] = []
    for name in names:
        key = SortKey(name.removeprefix("-"), name.startswith("-"))
        if key.field not in fields and key.field != CASE:
            there = ", ".join([CASE, *sorted(fields)])
            raise FilterError(f"sort {name!r}: there is no field {key.field!r}; there are {there}")
        if any(key.field == other.field for other in keys):
            raise FilterError(f"sort {name!r}: {key.field} is named twice")
        keys.append(key)
    place = next((number for number, key in enumerate(keys) if key.field == CASE), None)
    if place is None:
        return Order(tuple(keys))
    return Order(tuple(keys[:place]), keys[place].descending)  # no two cases have one id: what follows decides nothing


Case = tuple[str, Mapping[str, tuple[Any, ...]]]  # id, field → values


def first_in_order(cases: Iterable[Case], order: Order, want: int) -> tuple[int, list[str]]:
    """(how many cases there are, the ids of the first `want` in order); few more than `want` are held in memory."""
    total, best, room = 0, list[Case](), 2 * want + 10_000
    for case in cases:
        total += 1
        best.append(case)
        if len(best) == room:
            _sort(best, order)
            del best[want:]
    _sort(best, order)
    return total, [case_id for case_id, _ in best[:want]]


def _values(field: str, case: Case) -> tuple[Any, ...]:
    return tuple(sorted(case[1].get(field, ())))


def _sort(cases: list[Case], order: Order) -> None:
    cases.sort(key=itemgetter(0), reverse=order.last_first)
    for key in reversed(order.keys):
        of = partial(_values, key.field)
        known = [case for case in cases if of(case)]
        unknown = [case for case in cases if not of(case)]
        known.sort(key=of, reverse=key.descending)
        cases[:] = known + unknown
