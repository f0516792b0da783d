"""Listing, counting and sorting cases, on every backend, against what a dictionary of the same cases says."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.errors import FilterError
from medclip.index import CaseIndex, Entry
from medclip.index.ordering import Order, parse_order
from medclip.index.structures.base import Spec

from .conftest import Maker, make_entries, make_entry

_FILTERS = [None, "modality = 'CT'", "age >= 45 and not label.location = 'Head'", "age is unknown", "age > 1000"]
_ORDERS: list[list[str]] = [
    [], ["-case"], ["age"], ["-age"], ["modality", "-age"], ["-label.location", "modality", "-case"], ["case", "age"],
]  # fmt: skip


def _expected(entries: list[Entry], index: CaseIndex, where: str | None, names: list[str]) -> list[str]:
    condition = None if where is None else index.filter(where)
    found = [e.record for e in entries if condition is None or condition.matches(dict(e.record.facts))]
    found.sort(key=lambda record: record.id)
    for name in reversed(names):
        field, turned = name.removeprefix("-"), name.startswith("-")
        if field == "case":
            found.sort(key=lambda record: record.id, reverse=turned)
            continue
        known = [record for record in found if record.facts.get(field)]
        known.sort(key=lambda record: tuple(record.facts[field]), reverse=turned)
        found = known + [record for record in found if not record.facts.get(field)]
    return [record.id for record in found]


def _order(index: CaseIndex, names: list[str]) -> Order:
    return parse_order(names, index.fields())


def _lists_as_a_dictionary(index: CaseIndex, entries: list[Entry]) -> None:
    for where in _FILTERS:
        condition = None if where is None else index.filter(where)
        for names in _ORDERS:
            whole = _expected(entries, index, where, names)
            for want, skip in [(7, 0), (5, 4), (1000, 0), (3, len(whole) - 1), (3, len(whole)), (0, 0)]:
                part = index.listed(_order(index, names), want, max(0, skip), condition)
                assert (part.total, part.case_ids) == (len(whole), whole[max(0, skip) :][:want]), (where, names)
        kept = [e.record.facts for e in entries if condition is None or condition.matches(dict(e.record.facts))]
        counted = index.tally(["age", "modality", "label.location"], condition)
        for field, counts in counted.items():
            assert counts == dict(Counter(tuple(facts.get(field, ())) for facts in kept)), (where, field)
    ids = sorted((e.record.id for e in entries), reverse=True)
    kept = index.kept([ids[3], "nobody", *ids])
    assert [one.record for one in kept] == [index.record(case_id) for case_id in (ids[3], *ids)]
    assert [one.thumbnails for one in kept] == [(0,)] * (len(ids) + 1)
    ages = {e.record.id: tuple(e.record.facts.get("age", ())) for e in entries}
    assert dict(index.column("age")) == ages
    fused = {e.record.id: view.vector for e in entries for view in e.views if view.kind == "fused"}
    found = dict(index.vectors_of_kind("fused"))
    assert found.keys() == fused.keys()
    assert all(np.array_equal(found[case_id], vector) for case_id, vector in fused.items())


def _changed(entries: list[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """(what is left of them, what replaces some, what comes on top)."""
    rng = np.random.default_rng(9)
    new = [make_entry(rng, f"case-{i:04d}b", "p1") for i in range(3)]
    replaced = [make_entry(rng, entries[i].record.id, "p2") for i in (2, 5)]
    left = [e for i, e in enumerate(entries) if i not in (0, 2, 5, 20)]
    return left, replaced, new


def test_cases_are_listed_counted_and_sorted_as_a_dictionary_would(made: Maker) -> None:
    entries = make_entries(3, 40)
    index = made(entries)
    _lists_as_a_dictionary(index, entries)
    left, replaced, new = _changed(entries)
    index.add(new)
    index.update(replaced)
    index.remove([entries[0].record.id, entries[20].record.id])
    _lists_as_a_dictionary(index, [*left, *replaced, *new])


def test_beside_and_inside_a_search_structure_the_same_is_listed(tmp_path: Path) -> None:
    entries = make_entries(4, 60)
    CaseIndex.create(tmp_path, entries, fingerprint="f", structure=Spec("hnsw", {"m": 16, "ef_construction": 40}))
    index = CaseIndex.open(tmp_path)
    left, replaced, new = _changed(entries)
    index.add(new)
    index.update(replaced)
    index.remove([entries[0].record.id, entries[20].record.id])
    _lists_as_a_dictionary(index, [*left, *replaced, *new])
    index.compact()
    _lists_as_a_dictionary(index, [*left, *replaced, *new])


def test_one_snapshot_lists_one_state(tmp_path: Path) -> None:
    CaseIndex.create(tmp_path, make_entries(5, 20), fingerprint="f")
    reader, writer = CaseIndex.open(tmp_path), CaseIndex.open(tmp_path)
    with reader.snapshot():
        before: Any = reader.listed(Order(), 50)
        writer.remove(["case-0003"])
        assert reader.listed(Order(), 50) == before
        assert reader.listed(parse_order(["age"], reader.fields()), 50).total == 20
    assert reader.listed(Order(), 50).total == 19


@pytest.mark.parametrize(
    ("names", "said"),
    [(["size"], "there is no field 'size'; there are case, age"), (["age", "-age"], "age is named twice")],
)
def test_what_cannot_be_sorted_by_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(FilterError, match=said):
        parse_order(names, {"age": "number"})
