"""CSV in its dialects: the text of a table with commas, semicolons, tabs or bars between its columns → lines of cells."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice

from medclip.cases.tabular.grid import Grid, Line, find_header, plain_name
from medclip.errors import CaseError

__all__ = ["read_delimited"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_STATED = re.compile(r'"?sep=(.)"?(?:\r\n|\r|\n)', re.I)  # Excel's own first line
_LONGEST_CELL = 16 << 20  # characters


def _lines(text: str, separator: str, before: int) -> Iterator[Line]:
    """The rows, empty ones too.

    Args:
        text: of the table.
        separator: between its columns.
        before: lines of the file that stand before it.

    Raises:
        csv.Error: a quotation mark stands where none can.
    """
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        start = reader.line_num
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise csv.Error(f"{before + start + 1}") from error
        if row is None:
            return
        yield Line(before + start + 1, tuple(cell.strip() for cell in row))


def _header_cells(text: str, separator: str) -> tuple[str, ...]:
    try:
        return next((line.cells for line in _lines(text, separator, 0) if not line.empty), ())
    except csv.Error:
        return ()


def _separator(text: str, key: str, name: str) -> str | None:
    """What separates columns, told by the header; None where it has no column `key` under any.

    Raises:
        CaseError: the header has that column under several.
    """
    headers = {separator: _header_cells(text, separator) for separator in SEPARATORS}
    fitting = [separator for separator, cells in headers.items() if key in map(plain_name, cells)]
    if len(fitting) < 2 or all(len(headers[one]) == 1 for one in fitting):
        return fitting[0] if fitting else None
    both = " and as one with ".join(SEPARATORS[one] for one in fitting)
    raise CaseError(
        f"{name}: can be read as a table with {both} between its columns; put a line such as  sep=;  before all others"
    )


def read_delimited(text: str, key: str, name: str, remark: str | None = None) -> Grid:
    """The rows of a CSV, with the lines where they begin.

    Args:
        text: of the file.
        key: the column that must be there, in lower case.
        name: of the file, for the errors.
        remark: what to know of how its text was read.

    Raises:
        CaseError: it is empty, has no such column in its first line, can be read in several ways, or has a quotation mark
            that is not closed.
    """
    stated = _STATED.match(text)
    before, body = (1, text[stated.end() :]) if stated else (0, text)
    separator = stated[1] if stated else _separator(body, key, name)
    if separator in ('"', "\r", "\n"):
        raise CaseError(f"{name}: its line  sep=  names no separator; write one such as  sep=;")
    if separator is None:
        raise CaseError(f"{name}: {_no_header(body, key)}")
    try:
        lines = list(_lines(body, separator, before))
    except csv.Error as error:
        raise CaseError(
            f"{name}: a quotation mark in the row that begins in line {error} is not closed, stands inside a value "
            f"without being doubled, or the value is longer than {_LONGEST_CELL >> 20} million characters; mend that row"
        ) from None
    header = find_header(lines, key)
    if isinstance(header, str):
        raise CaseError(f"{name}: {header}")
    below = tuple(line for line in lines if line.number > header.number and not line.empty)
    return Grid(header, below, commas=separator == ",", remark=remark)


def _no_header(text: str, key: str) -> str:
    """Why no separator gives a header, by whichever gives one further down."""
    said = ""
    for separator in SEPARATORS:
        try:
            found = find_header(list(islice(_lines(text, separator, 0), 200)), key)
        except csv.Error:
            continue
        said = found if isinstance(found, str) and (not said or "stand in line" in found) else said
    return said or "a quotation mark near its beginning is not closed; close it"
