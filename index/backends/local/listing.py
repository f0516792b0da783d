"""Listing cases and counting their values from the columns of their vectors, without reading a case."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.index.backends.local.columns import Coded
from medclip.index.backends.local.segment import Part
from medclip.index.filters import Filter
from medclip.index.ordering import Listed, Order, SortKey

__all__ = ["column", "listed", "tally"]

Positions = NDArray[np.int64]
_BATCH = 10_000


def _cases(part: Part, where: Filter | None) -> Positions:
    """Where the first vector of each living case stands of which the filter is true."""
    wanted = part.alive & part.columns.first
    if where is not None:
        wanted &= part.columns.matching(where)
    return np.flatnonzero(wanted)


def _coded(part: Part, field: str) -> Coded:
    return part.columns.coded.get(field) or Coded(np.zeros(len(part.columns), np.int32), [()])


def tally(parts: Sequence[Part], fields: Sequence[str], where: Filter | None) -> dict[str, dict[tuple[Any, ...], int]]:
    """Field → the values of a case → how many cases have just these; () where unknown."""
    found: dict[str, Counter[tuple[Any, ...]]] = {field: Counter() for field in fields}
    for part in parts:
        at = _cases(part, where)
        for field, counts in found.items():
            coded = _coded(part, field)
            for values, count in zip(
                coded.values, np.bincount(coded.codes[at], minlength=len(coded.values)), strict=True
            ):
                if count:
                    counts[values] += int(count)
    return {field: dict(counts) for field, counts in found.items()}


def column(parts: Sequence[Part], field: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(case id, its values of a field) of every case."""
    for part in parts:
        at, coded = _cases(part, None), _coded(part, field)
        for start in range(0, len(at), _BATCH):
            some = at[start : start + _BATCH]
            codes = coded.codes[some].tolist()
            yield from zip(part.columns.case_ids.of_all(some), (coded.values[code] for code in codes), strict=True)


def listed(parts: Sequence[Part], order: Order, want: int, skip: int, where: Filter | None) -> Listed:
    """Some of the cases of which the filter is true, in order.

    Ids are read only of cases that are equal to one of these by all keys.
    """
    found = [_cases(part, where) for part in parts]
    total = sum(map(len, found))
    if skip >= total or want < 1:
        return Listed(total, [])
    ranks = [_ranks(parts, found, key) for key in order.keys]
    whole = np.lexsort(ranks[::-1]) if ranks else np.arange(total)
    stop = min(total, skip + want)
    first, last = _equal(ranks, whole, skip)[0], _equal(ranks, whole, stop - 1)[1]
    some = whole[first:last]
    ids = _ids(parts, found, some)
    group = np.zeros(len(some), np.int64)
    for rank in ranks:
        group[1:] |= np.diff(rank[some]) != 0
    groups = np.cumsum(group).tolist()
    keyed = sorted(zip(ids, groups, strict=True), reverse=order.last_first)
    keyed.sort(key=lambda one: one[1])
    return Listed(total, [case_id for case_id, _ in keyed[skip - first : stop - first]])


def _ranks(parts: Sequence[Part], found: Sequence[Positions], key: SortKey) -> NDArray[np.int64]:
    """(n,) the place of each case by one field; cases of equal values have the same."""
    columns = [_coded(part, key.field) for part in parts]
    known = {tuple(sorted(values)) for coded in columns for values in coded.values if values}
    place = {values: n for n, values in enumerate(sorted(known, reverse=key.descending))}
    tables = [np.asarray([place.get(tuple(sorted(v)), len(place)) for v in c.values], np.int64) for c in columns]
    return np.concatenate([table[c.codes[at]] for table, c, at in zip(tables, columns, found, strict=True)])


def _equal(ranks: Sequence[NDArray[np.int64]], whole: Positions, at: int) -> tuple[int, int]:
    """From where to where in the order cases are equal by all keys to the one that stands at a place."""
    low, high = 0, len(whole)
    for rank in ranks:
        sorted_here = rank[whole[low:high]]
        value = rank[whole[at]]
        low, high = (
            low + int(np.searchsorted(sorted_here, value, "left")),
            low + int(np.searchsorted(sorted_here, value, "right")),
        )
    return low, high


def _ids(parts: Sequence[Part], found: Sequence[Positions], some: Positions) -> list[str]:
    """The ids of cases by their numbers among all that were found."""
    ids = np.empty(len(some), object)
    start = 0
    for part, at in zip(parts, found, strict=True):
        inside = (some >= start) & (some < start + len(at))
        ids[inside] = part.columns.case_ids.of_all(at[some[inside] - start])
        start += len(at)
    return list(ids)
