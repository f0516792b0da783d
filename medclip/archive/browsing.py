"""Walking an archive: its cases in pages, what filters can say of them, and one case whole with those nearest to it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np

from medclip.archive.case_sheet import CaseLine, CaseSheet, NearCase, ScanSheet, TextSheet
from medclip.archive.entries import case_of
from medclip.archive.filter_fields import field_named, label_sets_in, read_filter
from medclip.cases.case import Case
from medclip.diagnosis.neighbours import VOTERS, kinds_for
from medclip.errors import FilterError
from medclip.fusion.composition import PARTS, composed
from medclip.index import CaseIndex
from medclip.index.filters import Filter
from medclip.index.ordering import parse_order
from medclip.index.records import Kept

__all__ = [
    "CaseLine",
    "CaseSheet",
    "Count",
    "FieldValues",
    "Listing",
    "NearCase",
    "ScanSheet",
    "TextSheet",
    "clause",
    "example_of",
    "list_cases",
    "read_where",
    "sheet_of",
    "values_of",
]

_SHOWN = 100  # values of a field that are named
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class Listing:
    """One page of a list."""

    total: int  # cases of which the filter is true
    offset: int  # cases before this page
    cases: list[CaseLine]


@dataclass(frozen=True)
class Count:
    """A value of a field, and how many cases have it."""

    value: str | float
    cases: int


@dataclass(frozen=True)
class FieldValues:
    """What there is of one field."""

    field: str
    kind: Literal["text", "number"]
    values: list[Count]  # of a text, most frequent first; a case of several values counts with each
    others: int  # further values that are not named
    lowest: float | None  # of a number
    highest: float | None
    known: int  # cases
    unknown: int  # cases


def list_cases(
    index: CaseIndex,
    *,
    where: Filter | None = None,
    sort: Sequence[str] = (),
    limit: int = 50,
    offset: int = 0,
) -> Listing:
    """One page of the cases of which a filter is true; only those that are shown are read.

    Args:
        sort: names of fields, as filters know them, of label sets, or ``case``; ``-NAME`` for descending. Ties stand by
            case id, and what is unknown last.
        limit: cases of this page at most.
        offset: cases before it.

    Raises:
        FilterError: a field to sort by is not there.
        ArchiveError: the index is damaged.
    """
    with index.snapshot():
        fields = index.fields()
        keys = ["-" * name.startswith("-") + field_named(name.removeprefix("-"), fields) for name in sort]
        found = index.listed(parse_order(keys, fields), limit, offset, where)
        return Listing(found.total, offset, _lines(index, found.case_ids))


def _lines(index: CaseIndex, case_ids: Sequence[str]) -> list[CaseLine]:
    """Cases as a list shows them."""
    return [_line(case_of(kept.record), kept) for kept in index.kept(case_ids)]


def _line(case: Case, kept: Kept) -> CaseLine:
    return CaseLine(
        case_id=case.id,
        modality=list(dict.fromkeys(scan.modality for scan in case.scans if scan.modality)),
        age=case.age,
        sex=case.sex,
        labels=case.case_labels,
        diagnosis=case.outcome.diagnosis,
        confirmed_by=case.outcome.confirmed_by,
        scans=len(case.scans),
        first_scan=min(kept.thumbnails, default=None),
        synthetic=case.synthetic,
        fields=_plain(kept.record.facts),
    )


def _plain(facts: Any) -> dict[str, list[str] | list[float]]:
    return {name: list(values) for name, values in facts.items()}


def sheet_of(index: CaseIndex, case_id: str, *, neighbours: int = VOTERS) -> CaseSheet:
    """One case whole.

    Args:
        neighbours: how many similar cases go along, one a patient; the case's own patient is left out.

    Raises:
        ArchiveError: there is no such case, or its record is damaged.
    """
    with index.snapshot():
        record = index.record(case_id)
        case = case_of(record)
        there = index.thumbnails(case_id)
        views = index.views_of(case_id)
        kinds = list(dict.fromkeys(view.kind for view in views))
        whole = next((view.vector for view in views if view.kind == "fused"), None)
        near = [] if whole is None else _near(index, case, kinds, whole, neighbours)
        own = [other for other in index.cases_of_patient(case.patient) if other != case_id]
    outcome = case.outcome
    return CaseSheet(
        case_id=case.id,
        age=case.age,
        sex=case.sex,
        labels=case.case_labels,
        synthetic=case.synthetic,
        scans=[
            ScanSheet(
                number, scan.file, scan.modality, scan.plane, scan.caption, scan.window, case.scan_labels(scan),
                scan.licence, number in there,
            )
            for number, scan in enumerate(case.scans)
        ],
        texts=_texts(case),
        measurements=list(case.measurements),
        impression=outcome.impression,
        diagnosis=outcome.diagnosis,
        confirmed_by=outcome.confirmed_by,
        differential=outcome.differential,
        treatment=outcome.treatment,
        discussion=outcome.discussion,
        source=case.source,
        split=case.split,
        content=record.content,
        views=kinds,
        fields=_plain(record.facts),
        same_patient=own,
        neighbours=near,
    )  # fmt: skip


def _texts(case: Case) -> list[TextSheet]:
    written = [TextSheet(note.kind, note.text, False) for note in case.notes]
    return written + [TextSheet(r.kind, r.transcript, True, r.model) for r in case.recordings if r.transcript]


def _near(index: CaseIndex, case: Case, kinds: Sequence[str], whole: Any, count: int) -> list[NearCase]:
    """Found as ``medclip similar`` finds them."""
    if count < 1:
        return []
    asked = composed([part for part in PARTS if part in kinds])
    hits = index.search(
        np.asarray(whole, np.float32)[None],
        count,
        kinds=kinds_for(asked),
        exclude_patients=[case.patient],
        one_per_patient=True,
    )[0]
    lines = _lines(index, [hit.case_id for hit in hits])
    return [
        NearCase(hit.similarity, hit.kind, hit.number if hit.kind == "scan" else None, line)
        for hit, line in zip(hits, lines, strict=True)
    ]


def values_of(index: CaseIndex, field: str | None = None, *, where: Filter | None = None) -> list[FieldValues]:
    """What filters can ask for, and how many cases have what.

    Args:
        field: this one alone.
        where: only of cases of which it is true.

    Raises:
        FilterError: there is no such field.
    """
    with index.snapshot():
        fields = index.fields()
        field = None if field is None else field_named(field, fields)
        if field is not None and field not in fields:
            raise FilterError(f"there is no field {field!r}; there are {', '.join(sorted(fields))}")
        names = sorted(fields) if field is None else [field]
        tallies = index.tally(names, where)
    return [_of_text(n, tallies[n]) if fields[n] == "text" else _of_number(n, tallies[n]) for n in names]


def _of_text(name: str, tally: dict[tuple[Any, ...], int]) -> FieldValues:
    counts: Counter[str] = Counter()
    for values, cases in tally.items():
        for value in values:
            counts[value] += cases
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [Count(value, cases) for value, cases in ranked[:_SHOWN]]
    unknown = tally.get((), 0)
    return FieldValues(
        name, "text", named, len(ranked) - len(named), None, None, sum(tally.values()) - unknown, unknown
    )


def _of_number(name: str, tally: dict[tuple[Any, ...], int]) -> FieldValues:
    there = [value for values in tally for value in values]
    unknown = tally.get((), 0)
    lowest, highest = min(there, default=None), max(there, default=None)
    return FieldValues(name, "number", [], 0, lowest, highest, sum(tally.values()) - unknown, unknown)


def read_where(index: CaseIndex, text: str | None) -> Filter | None:
    """A filter on an index, read and held against the values that there are; None where there is none.

    Raises:
        FilterError: it cannot be understood, or names a field or the value of one that no case has.
    """
    if text is None or not text.strip():
        return None
    with index.snapshot():
        tallies = index.tally([f"label.{name}" for name in label_sets_in(index.filter(text))])
        classes = {
            name.removeprefix("label."): sorted({value for values in tally for value in values})
            for name, tally in tallies.items()
        }
        return read_filter(index, text, classes)


def example_of(found: Sequence[FieldValues]) -> str | None:
    """A filter that is true of some case, made of what there is; None where nothing is known.

    Of a label or, where there is none, another text its most frequent value; of a number its whole range's lower half.
    """
    texts = sorted(
        (f for f in found if f.values), key=lambda f: (not f.field.startswith("label."), -len(f.values), f.field)
    )
    if texts:
        return clause(texts[0].field, "=", str(texts[0].values[0].value))
    for one in found:
        if one.lowest is not None and one.highest is not None:
            return clause(one.field, "<=", ceil((one.lowest + one.highest) / 2))
    return None


def clause(field: str, comparison: str, value: str | float) -> str:
    """A comparison as a filter writes it, such as ``sex = 'female'``."""
    name = field if _PLAIN.fullmatch(field) else f'"{field}"'
    text = repr(value).removesuffix(".0") if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"
    return f"{name} {comparison} {text}"
