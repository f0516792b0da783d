"""Tables that describe cases: the columns that a `Case` takes, every cell understood or named, rows grouped by their case."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from medclip.cases.case import LONGEST_NAME, Measurement, NoteKind, Outcome
from medclip.cases.tabular import words
from medclip.cases.tabular.grid import Grid, Kind, Line, plain_name
from medclip.cases.tabular.numerals import NUMBER, Numerals, numerals_of
from medclip.cases.tabular.read import read_grid
from medclip.errors import CaseError, MeasurementError
from medclip.label_sets import ABSENT, PRESENT, family_of
from medclip.modalities.measurements.values import standardise

__all__ = [
    "CASE_COLUMNS",
    "NOTE_KINDS",
    "Mistake",
    "Row",
    "Table",
    "case_fields",
    "first",
    "mistakes_in",
    "read_table",
    "told",
    "two_patients",
    "without_key",
]

NOTE_KINDS = cast(tuple[NoteKind, ...], NoteKind.__args__)  # type: ignore[attr-defined]
_FACTS = ("patient", "age", "sex", "split")

CASE_COLUMNS = (*_FACTS, *NOTE_KINDS, *Outcome.model_fields)
"""Columns of a case, beside ``label.<set>`` and ``measure.<name>``."""

_LABEL, _MEASURE = "label.", "measure."
_TEXTS = {*NOTE_KINDS, *Outcome.model_fields, "plane", "caption", "report"}  # where a date is a text like any other
_MEASURED = re.compile(rf"({NUMBER})\s*(\S*)")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+\d+")
_EXACT = 15  # digits that Excel keeps of a number


@dataclass(frozen=True)
class Mistake:
    """What is wrong in one place of a table, without its value."""

    line: int  # of the file, counted from 1
    column: str | None  # None where it is the whole row
    what: str  # the end of a sentence that begins with the place

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.what}"


class Row(dict[str, str]):
    """A row by its columns, in our words (`medclip.cases.tabular.words`); a cell that is a mistake is empty."""

    line: int = 0  # of the file, counted from 1, where it begins
    mistakes: tuple[Mistake, ...] = ()
    measured: dict[str, Measurement]  # column → its measurement


@dataclass(frozen=True)
class Table:
    """A table's rows."""

    groups: dict[str, list[Row]] = field(default_factory=dict)  # by their value of the key column
    loose: tuple[Row, ...] = ()  # where that is empty
    remark: str | None = None  # what the user should know of how it was read


def first(rows: list[Row], column: str) -> str | None:
    """The first value of a column that is not empty."""
    return next((value for row in rows if (value := row.get(column))), None)


def two_patients(rows: Sequence[Row]) -> str | None:
    """What is wrong with the rows of one case if they name two patients, in one line that names no patient."""
    named = [(row.line, patient) for row in rows if (patient := row.get("patient"))]
    other = next((line for line, patient in named if patient != named[0][1]), None)
    if other is None:
        return None
    return f"lines {named[0][0]} and {other} name different patients; give each patient's case an id of its own"


def mistakes_in(rows: Sequence[Row]) -> list[Mistake]:
    """The mistakes of all cells of these rows."""
    return [mistake for row in rows for mistake in row.mistakes]


def told(mistakes: Sequence[Mistake]) -> str:
    """Mistakes in one line, in the order of the file."""
    return "; ".join(map(str, sorted(mistakes, key=lambda one: one.line)))


def _columns(header: Line, known: Sequence[str], table: Path) -> list[str | None]:
    """What the columns of a header are called here; None for one without a name.

    Raises:
        CaseError: some are not known, or two are the same.
    """
    found: list[str | None] = []
    unknown: list[str] = []
    for cell in header.cells:
        plain = plain_name(cell)
        prefix = next((one for one in (_LABEL, _MEASURE) if plain.startswith(one)), None)
        if not plain:
            found.append(None)
        elif plain in known:
            found.append(plain)
        elif prefix and 0 < len(name := cell[len(prefix) :].strip()) <= LONGEST_NAME:
            found.append(prefix + name)
        else:
            unknown.append(cell)
    if unknown:
        which = f"column {unknown[0]!r} is" if len(unknown) == 1 else f"columns {', '.join(map(repr, unknown))} are"
        raise CaseError(f"{table}: {which} not known; labels are named label.<set>, measurements measure.<name>")
    plain_names = [name.casefold() for name in found if name]
    twice = sorted({name for name in plain_names if plain_names.count(name) > 1})
    if twice:
        raise CaseError(f"{table}: has two columns named {', '.join(twice)}; keep one of each")
    return found


def _identifier(written: str, typed: Kind | None) -> str:
    if _SHORTENED.fullmatch(written) or (typed == "number" and len(written.lstrip("-")) > _EXACT):
        raise CaseError("is a number that Excel shortened, so that ids may have become one; format the column as text")
    return written


def _measurement(name: str, written: str, numerals: Numerals) -> Measurement:
    found = _MEASURED.fullmatch(written)
    if not found:
        raise CaseError("is no number with its unit, as in 38.9 Cel")
    try:
        return standardise(name, numerals.value(found[1]), found[2])
    except MeasurementError as error:
        raise CaseError(error.unquoted) from None


def _label(name: str, written: str) -> str:
    if len(written) > LONGEST_NAME:
        raise CaseError(f"is longer than the {LONGEST_NAME} characters that a class may have")
    if family_of(name) is None:
        return written
    if written.casefold() not in (PRESENT, ABSENT):
        raise CaseError(f"is one of several classes at once; write {PRESENT} or {ABSENT}, or leave it empty")
    return written.casefold()


class _Cells:
    """Understands the cells of one table."""

    def __init__(self, key: str, numerals: Numerals) -> None:
        self.key, self.numerals = key, numerals

    def _understood(self, column: str, cell: str, typed: Kind | None, row: Row) -> str:
        """A cell in our words; a measurement is put into the row.

        Raises:
            CaseError: it cannot be understood; the end of a sentence that names no value but a word for sex, modality, split.
        """
        numerals = Numerals(commas=False) if typed == "number" else self.numerals
        if typed == "date" and column not in _TEXTS:
            raise CaseError("is a date in the workbook; format the cell as text and write it anew")
        if column in (self.key, "patient"):
            return _identifier(cell, typed)
        if column.startswith(_MEASURE):
            row.measured[column] = _measurement(column.removeprefix(_MEASURE), cell, numerals)
            return cell
        if column.startswith(_LABEL):
            return _label(column.removeprefix(_LABEL), cell)
        match column:
            case "age":
                return str(words.age(cell, numerals))
            case "sex":
                return words.sex(cell)
            case "split":
                return words.split(cell)
            case "modality":
                return words.modality(cell)
        return cell

    def row(self, line: Line, columns: Sequence[str | None]) -> Row:
        """A line by its columns."""
        row, mistakes = Row(), []
        row.line, row.measured = line.number, {}
        for number, column in enumerate(columns):
            cell = line.cells[number] if number < len(line.cells) else ""
            fault = line.faults.get(number)
            if column is None:
                if cell or fault:
                    mistakes.append(
                        Mistake(line.number, None, f"has a value in column {number + 1}, which has no name")
                    )
                continue
            try:
                if fault is not None:
                    raise CaseError(fault)
                row[column] = self._understood(column, cell, line.typed.get(number), row) if cell else ""
            except CaseError as error:
                row[column] = ""
                mistakes.append(Mistake(line.number, column, str(error)))
        if any(line.cells[len(columns) :]):
            mistakes.append(
                Mistake(
                    line.number, None, "has more values than there are columns; quote a value that holds a separator"
                )
            )
        row.mistakes = tuple(mistakes)
        return row


def _numbers(grid: Grid, columns: Sequence[str | None]) -> Iterator[str]:
    """The cells of a table whose columns hold numbers."""
    places = [n for n, column in enumerate(columns) if column and (column == "age" or column.startswith(_MEASURE))]
    for line in grid.lines:
        yield from (line.cells[n] for n in places if n < len(line.cells) and n not in line.typed)


def read_table(
    table: Path, key: str, columns: Sequence[str], *, encoding: str | None = None, sheet: str | None = None
) -> Table:
    """A table's rows, grouped by their value of `key`; each says the mistakes of all its cells.

    Args:
        table: a CSV or a workbook (`medclip.cases.tabular.read.read_grid`, which takes `encoding` and `sheet`).
        key: the column that must be there.
        columns: the others that may be, beside ``label.<set>`` and ``measure.<name>``.

    Raises:
        CaseError: the table is missing, cannot be read, or has columns that are not known or two of one name.
        MissingDependencyError: it is a workbook, and openpyxl is not installed.
    """
    grid = read_grid(table, key, encoding=encoding, sheet=sheet)
    named = _columns(grid.header, (key, *columns), table)
    cells = _Cells(key, numerals_of(_numbers(grid, named), separated_by_commas=grid.commas))
    groups: dict[str, list[Row]] = {}
    loose = []
    for line in grid.lines:
        row = cells.row(line, named)
        if row[key]:
            groups.setdefault(row[key], []).append(row)
        else:
            loose.append(row)
    return Table(groups, tuple(loose), grid.remark)


def without_key(row: Row, key: str) -> str:
    """What is wrong with a row that belongs to nothing, in one line."""
    if any(mistake.column == key for mistake in row.mistakes):
        return told(row.mistakes)
    return "; ".join([f"its {key} column is empty", *map(str, row.mistakes)])


def case_fields(rows: list[Row]) -> dict[str, Any]:
    """What the columns of a case's rows say, as fields of a `Case` that is still to be validated.

    Args:
        rows: without mistakes (`mistakes_in`).
    """

    def family(prefix: str) -> dict[str, str]:
        named = [column for column in rows[0] if column.startswith(prefix)]
        return {column.removeprefix(prefix): value for column in named if (value := first(rows, column))}

    measured: dict[str, Measurement] = {}
    for row in rows:
        for column, measurement in row.measured.items():
            measured.setdefault(column, measurement)
    facts: dict[str, Any] = {key: found for key in _FACTS if (found := first(rows, key))}
    if "age" in facts:
        facts["age"] = float(facts["age"])
    order = [column for column in rows[0] if column in measured]
    return {
        **facts,
        "notes": [{"kind": kind, "text": text} for kind in NOTE_KINDS if (text := first(rows, kind))],
        "measurements": [measured[column].model_dump() for column in order],
        "labels": family(_LABEL),
        "outcome": {key: found for key in Outcome.model_fields if (found := first(rows, key))},
    }
