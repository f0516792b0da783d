"""An .xlsx workbook's sheet → lines of cells, by openpyxl (the extra ``xlsx``).

Its size unpacked is looked at before anything is unpacked, and rows are read one by one. A formula has the value that Excel
stored with it. A cell that is merged downwards holds for each of its rows.
"""

import contextlib
import io
import re
import warnings
import zipfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import IO, TYPE_CHECKING, Any
from xml.parsers.expat import ParserCreate

from medclip.cases.tabular.grid import LONGEST, Grid, Kind, Line, find_header
from medclip.errors import CaseError, MissingDependencyError

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

__all__ = ["read_workbook"]

_LONGEST_OTHER = (
    8 << 20
)  # bytes of a part that is neither a sheet nor the texts; styles become some twenty times as much
_MOST_PARTS = 2000
_MOST_CELLS = 20_000_000  # with the empty ones between others
_MOST_ROWS = 1 << 20  # of Excel's

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3}\d{1,7}:[A-Z]{1,3}\d{1,7})"')
_PADDED = re.compile(r"0{2,20}")  # a number format that shows leading zeros


def _check(content: bytes, name: str) -> None:
    """Refuse what would be too large unpacked, by what the archive states; `zipfile` unpacks no more than that.

    Raises:
        CaseError: it is too large, or holds XML that could grow.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [part for part in archive.infolist() if part.filename.endswith((".xml", ".rels"))]
        long = ("xl/worksheets/", "xl/sharedStrings")
        other = [part.file_size for part in parts if not part.filename.startswith(long)]
        if (
            sum(part.file_size for part in parts) > LONGEST
            or max(other, default=0) > _LONGEST_OTHER
            or len(archive.infolist()) > _MOST_PARTS
        ):
            raise CaseError(
                f"{name}: is larger than {LONGEST >> 20} MiB unpacked, or not what Excel writes; save it as CSV"
            )
        for one in parts:
            with archive.open(one) as opened:
                _check_plain(opened, name)


class _BegunError(Exception):
    """The root of an XML document has been reached."""


def _check_plain(part: IO[bytes], name: str) -> None:
    """Refuse XML that declares a document type, as no workbook's does: its entities may grow without end.

    Raises:
        CaseError: it does.
    """

    def refuse(*_: object) -> None:
        raise CaseError(f"{name}: holds XML with a document type, which Excel never writes; save it as CSV")

    def begin(*_: object) -> None:
        raise _BegunError

    parser = ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, begin
    with contextlib.suppress(_BegunError):
        parser.ParseFile(part)


def _shown(value: Any, format_: str) -> tuple[str, Kind | None]:
    """A value as text, and what it was; as the sheet shows it where its format adds leading zeros or a percent sign."""
    if isinstance(value, bool):
        return str(value).upper(), None
    if isinstance(value, int | float):
        if format_.endswith("%"):
            return f"{value * 100:.12g} %", "number"
        whole = int(value) if float(value).is_integer() and abs(value) < 1e21 else None
        if whole is not None and _PADDED.fullmatch(format_):
            return f"{whole:0{len(format_)}d}", "number"
        return str(value if whole is None else whole), "number"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat(), "date"
    if isinstance(value, datetime):
        return value.isoformat(" "), "date"
    if isinstance(value, date | time | timedelta):
        return str(value), "date"
    return ("" if value is None else str(value).strip()), None


def _line(number: int, values: Iterable[Any], formulas: Iterable[Any]) -> Line:
    cells: list[str] = []
    faults: dict[int, str] = {}
    typed: dict[int, Kind] = {}
    for column, (cell, written) in enumerate(zip(values, formulas, strict=True)):
        text, kind = _shown(cell.value, str(getattr(cell, "number_format", None) or ""))
        if cell.data_type == "e":
            faults[column], text = "is an error of Excel's, such as #N/A; mend its formula", ""
        elif written.data_type == "f" and cell.value is None and cell.data_type != "str":
            faults[column] = "is a formula whose value is not stored; open the workbook in Excel and save it"
        if kind is not None:
            typed[column] = kind
        cells.append(text)
    return Line(number, tuple(cells), faults, typed)


def _lines(values: "Workbook", formulas: "Workbook", title: str, name: str) -> Iterator[Line]:
    """The rows that are not empty."""
    sheets: list[Any] = [book[title] for book in (values, formulas)]
    for sheet in sheets:
        sheet.reset_dimensions()  # the stated size may be wrong, or a trap
    held = 0
    for number, (cells, written) in enumerate(zip(*(sheet.iter_rows() for sheet in sheets), strict=True), start=1):
        held += len(cells)
        if held > _MOST_CELLS or number > _MOST_ROWS:
            raise CaseError(f"{name}: its sheet has more than {_MOST_CELLS:,} cells; delete what stands far outside")
        if cells and not (line := _line(number, cells, written)).empty:
            yield line


def _merged(lines: list[Line], ranges: Iterable[str], name: str) -> list[Line]:
    """The rows, each with the value of a cell that is merged downwards; one that is merged across columns has none.

    Raises:
        CaseError: more is merged than a table has.
    """
    from openpyxl.utils import range_boundaries

    found = {line.number: line for line in lines}
    numbers = [line.number for line in lines]
    held = 0
    for stated in ranges:
        left, top, right, bottom = (int(edge or 0) for edge in range_boundaries(stated))
        first, column = found.get(top), left - 1
        covered = numbers[bisect_right(numbers, top) : bisect_right(numbers, bottom)]
        held += 1 + len(covered)
        if held > _MOST_CELLS:
            raise CaseError(f"{name}: its sheet has more merged cells than a table needs; unmerge them")
        if first is None or not (column in first.faults or "".join(first.cells[column:left])):
            continue
        if right > left:
            what = {column: "is merged with the column beside it; unmerge it"}
            found[top] = replace(first, faults={**first.faults, **what})
            continue
        for number in covered:
            line = found[number]
            cells = line.cells + ("",) * (left - len(line.cells))
            found[number] = replace(
                line,
                cells=(*cells[:column], first.cells[column], *cells[left:]),
                faults={**line.faults, **{c: why for c, why in first.faults.items() if c == column}},
                typed={**line.typed, **{c: kind for c, kind in first.typed.items() if c == column}},
            )
    return [found[number] for number in numbers]


def _chosen(book: "Workbook", sheet: str | None, name: str) -> str:
    titles = [one.title for one in book.worksheets if one.sheet_state == "visible"]
    if sheet is None:
        if not titles:
            raise CaseError(f"{name}: has no sheet that is not hidden; name one with --sheet")
        return titles[0]
    if sheet not in (one.title for one in book.worksheets):
        raise CaseError(f"{name}: has no sheet {sheet!r}; it has {', '.join(map(repr, titles[:10]))}")
    return sheet


def read_workbook(content: bytes, key: str, name: str, sheet: str | None) -> Grid:
    """The rows of a sheet.

    Args:
        content: of the file.
        key: the column that must be there, in lower case.
        name: of the file, for the errors.
        sheet: its title; the first that is not hidden, where it is None.

    Raises:
        CaseError: it is no workbook, is too large, lacks the sheet, or the column in its first line.
        MissingDependencyError: openpyxl is not installed.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingDependencyError(
            f"{name}: reading a workbook needs openpyxl (or save it as CSV)", "xlsx"
        ) from error
    try:
        _check(content, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parts that openpyxl does not read, such as drop-down lists
            values, formulas = (
                load_workbook(io.BytesIO(content), read_only=True, data_only=only, keep_links=False)
                for only in (True, False)
            )
            title = _chosen(values, sheet, name)
            lines = list(_lines(values, formulas, title, name))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                part = archive.read(values[title]._worksheet_path.lstrip("/"))  # type: ignore[attr-defined]
        lines = _merged(lines, (found.decode() for found in _MERGED.findall(part)), name)
    except CaseError:
        raise
    except Exception as error:  # whatever openpyxl makes of a damaged file
        raise CaseError(
            f"{name}: is damaged or no .xlsx workbook; save it as .xlsx or CSV again ({type(error).__name__})"
        ) from error
    header = find_header(lines, key)
    if isinstance(header, str):
        raise CaseError(f"{name}: {header}")
    if header.faults:
        raise CaseError(f"{name}: a column name in line {header.number} {next(iter(header.faults.values()))}")
    return Grid(header, tuple(line for line in lines if line.number > header.number), commas=False)
