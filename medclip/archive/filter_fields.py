"""What ``--where`` can filter on."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from medclip.cases.case import Case, Modality, Sex
from medclip.errors import FilterError
from medclip.index import CaseIndex
from medclip.index.filters import Comparison, Filter, Join
from medclip.index.records import Fact

__all__ = ["FIELDS", "facts_of", "field_named", "label_sets_in", "read_filter"]

FIELDS = {"age": "number", "sex": "text", "modality": "text", "plane": "text", "source": "text", "synthetic": "text"}
"""What a filter may always ask for; the labels (``label.NAME``) come with the cases."""

_CLOSED: dict[str, tuple[str, ...]] = {"sex": get_args(Sex), "modality": get_args(Modality), "synthetic": ("yes", "no")}
"""Fields whose values are known beforehand."""


def field_named(name: str, fields: Collection[str]) -> str:
    """The field that a user names: a label set, too, by its own name, where no field is called so."""
    return f"label.{name}" if name not in fields and f"label.{name}" in fields else name


def _comparisons(where: Filter) -> Iterator[Comparison]:
    if isinstance(where, Join):
        for part in where.parts:
            yield from _comparisons(part)
    else:
        yield where


def label_sets_in(where: Filter | None) -> set[str]:
    """The label sets that a filter asks for."""
    parts = () if where is None else _comparisons(where)
    return {part.field.removeprefix("label.") for part in parts if part.field.startswith("label.")}


def read_filter(index: CaseIndex, text: str, classes: Mapping[str, Collection[str]]) -> Filter:
    """Read an expression of `medclip.index.filters` on an index, and hold its values against those that there are.

    Args:
        classes: label set → its classes, as far as they are known without looking.

    Raises:
        FilterError: it cannot be understood, or names a field or the value of one that no case has.
    """
    found = index.filter(text)
    for part in _comparisons(found):
        known = _CLOSED.get(part.field, tuple(classes.get(part.field.removeprefix("label."), ())))
        for value in part.values:
            if isinstance(value, float) or value in known or index.holds(Comparison(part.field, "=", (value,))):
                continue
            there = f"; {part.field} is {', '.join(known)}" if known else ""
            raise FilterError(f"filter {text!r}: no case has {part.field} = {value!r}{there}")
    return found


def facts_of(case: Case) -> dict[str, Fact]:
    """What filters may ask of a case; where its scans differ, each of their values counts."""
    many: dict[str, set[str]] = defaultdict(set)
    for scan in case.scans:
        many["modality"] |= {scan.modality} if scan.modality else set()
        many["plane"] |= {scan.plane} if scan.plane else set()
        for name, label in case.scan_labels(scan).items():
            many[f"label.{name}"].add(label)
    for name, label in case.case_labels.items():
        many[f"label.{name}"].add(label)
    for name, value in (("sex", case.sex), ("source", case.source)):
        many[name] |= {value} if value else set()
    facts: dict[str, Fact] = {name: tuple(sorted(values)) for name, values in many.items() if values}
    if case.age is not None:
        facts["age"] = (float(case.age),)
    return {**facts, "synthetic": ("yes" if case.synthetic else "no",)}
