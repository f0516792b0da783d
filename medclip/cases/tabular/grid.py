"""What every kind of table is read into: lines of cells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LONGEST", "Grid", "Kind", "Line", "find_header", "plain_name"]

Kind = Literal["number", "date"]

LONGEST = 256 << 20  # bytes of a table, unpacked; some 100,000 reports

_TITLES = 20  # lines in which a header that is not the first one is looked for, to name it


@dataclass(frozen=True)
class Line:
    """One row of a table, which may go over several lines of its file."""

    number: int  # of the file's line or the sheet's row where it begins, counted from 1
    cells: tuple[str, ...]  # without the spaces around them
    faults: Mapping[int, str] = field(
        default_factory=dict
    )  # column, from 0 → why the cell has no value, as "is a date"
    typed: Mapping[int, Kind] = field(default_factory=dict)  # column → what its cell is in a workbook, other than text

    @property
    def empty(self) -> bool:
        """Whether nothing stands in it."""
        return not any(self.cells) and not self.faults


@dataclass(frozen=True)
class Grid:
    """A table: its header, and the lines below it that are not empty."""

    header: Line
    lines: tuple[Line, ...]
    commas: bool  # whether a comma separates columns, so that none can be a decimal one
    remark: str | None = None  # what the user should know of how it was read


def plain_name(cell: str) -> str:
    """The name of a column in a header, whatever its capitals."""
    return cell.strip().casefold()


def find_header(lines: list[Line], key: str) -> Line | str:
    """The first line that is not empty, where it names the column `key`; else what is wrong, as the end of a sentence."""
    filled = [line for line in lines[: _TITLES * 10] if not line.empty][:_TITLES]
    if not filled:
        return "is empty; write a table with a line of column names first"
    for line in filled:
        if key in map(plain_name, line.cells):
            if line is filled[0]:
                return line
            return f"its column names stand in line {line.number}; delete what is above them"
    return f"its first line has no column named {key}; name one, so that rows can be grouped"
