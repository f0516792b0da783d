"""CSV tables that describe cases: the columns that a `Case` takes, and rows grouped by what they belong to."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from medclip.cases.case import NoteKind, Outcome
from medclip.errors import CaseError
from medclip.modalities.measurements.values import measurement_of

__all__ = ["CASE_COLUMNS", "NOTE_KINDS", "Row", "case_fields", "first", "grouped_rows", "two_patients"]

NOTE_KINDS = cast(tuple[NoteKind, ...], NoteKind.__args__)  # type: ignore[attr-defined]
_FACTS = ("patient", "age", "sex", "split")

CASE_COLUMNS = (*_FACTS, *NOTE_KINDS, *Outcome.model_fields)
"""Columns of a case, beside ``label.<set>`` and ``measure.<name>``."""

_FAMILIES = ("label.", "measure.")


class Row(dict[str, str]):
    """A row by its columns."""

    line: int = 0  # of the file, counted from 1, where it begins


def first(rows: list[Row], column: str) -> str | None:
    """The first value of a column that is not empty."""
    return next((value for row in rows if (value := (row.get(column) or "").strip())), None)


def _numbered(reader: "csv.DictReader[str]") -> Iterator[Row]:
    """The rows with the lines where they begin; a quoted value may hold line breaks, and blank lines are passed over."""
    for read in reader:
        row = Row(read)
        inside = sum(value.count("\n") for value in row.values() if isinstance(value, str))
        row.line = reader.line_num - inside
        yield row


def two_patients(rows: Sequence[Row]) -> str | None:
    """What is wrong with the rows of one case if they name two patients, in one line that names no patient."""
    named = [(row.line, patient) for row in rows if (patient := (row.get("patient") or "").strip())]
    other = next((line for line, patient in named if patient != named[0][1]), None)
    if other is None:
        return None
    return f"lines {named[0][0]} and {other} name different patients; give each patient's case an id of its own"


def grouped_rows(table: Path, key: str, columns: tuple[str, ...]) -> tuple[dict[str, list[Row]], list[int]]:
    """A table's rows by their value of `key`, and the numbers of the lines where it is empty.

    Raises:
        CaseError: the table is missing, is no UTF-8 CSV file, or has a column that is not known.
    """
    if not table.is_file():
        raise CaseError(f"{table}: not found; write one, with at least the column {key}")
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            named = reader.fieldnames or []
            rows = list(_numbered(reader))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{table}: is not a UTF-8 CSV file; save it as one ({error})") from error
    if key not in named:
        raise CaseError(f"{table}: has no column named {key}; name one, so that rows can be grouped")
    unknown = [c for c in named if c not in (key, *columns) and not c.startswith(_FAMILIES)]
    if unknown:
        raise CaseError(f"{table}: column {unknown[0]!r} is not known; labels are named label.<set>")
    groups: dict[str, list[Row]] = {}
    empty: list[int] = []
    for row in rows:
        value = (row.get(key) or "").strip()
        if value:
            groups.setdefault(value, []).append(row)
        else:
            empty.append(row.line)
    return groups, empty


def case_fields(rows: list[Row]) -> dict[str, Any]:
    """What the columns of a case's rows say, as fields of a `Case` that is still to be validated.

    Raises:
        MeasurementError: a measurement is not plausible, or not written as a value and its unit.
    """

    def family(prefix: str) -> dict[str, str]:
        named = [column for column in rows[0] if column and column.startswith(prefix)]
        return {column.removeprefix(prefix): value for column in named if (value := first(rows, column))}

    return {
        **{key: found for key in _FACTS if (found := first(rows, key))},
        "notes": [{"kind": kind, "text": text} for kind in NOTE_KINDS if (text := first(rows, kind))],
        "measurements": [measurement_of(name, written).model_dump() for name, written in family("measure.").items()],
        "labels": family("label."),
        "outcome": {key: found for key in Outcome.model_fields if (found := first(rows, key))},
    }
