"""A table in a file, of whichever kind its bytes say that it is."""

from pathlib import Path

from medclip.cases.tabular.delimited import read_delimited
from medclip.cases.tabular.encoding import decoded
from medclip.cases.tabular.grid import LONGEST, Grid
from medclip.errors import CaseError
from medclip.files.plain import read_regular, unreadable

__all__ = ["read_grid"]

_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def read_grid(file: Path, key: str, *, encoding: str | None = None, sheet: str | None = None) -> Grid:
    """A CSV in any of its dialects, or a sheet of an .xlsx workbook.

    Args:
        file: the table.
        key: the column that its header must name, in lower case.
        encoding: of a CSV that does not show its own.
        sheet: of a workbook; the first that is not hidden, where none is named.

    Raises:
        CaseError: it is missing, or no such table.
        MissingDependencyError: it is a workbook, and openpyxl is not installed.
    """
    try:
        content = read_regular(file, LONGEST)
    except FileNotFoundError:
        raise CaseError(f"{file}: not found; write one, with at least the column {key}") from None
    except OSError as error:
        raise CaseError(f"{file}: {unreadable(error)}") from error
    if content.startswith(_ZIP):
        from medclip.cases.tabular.workbook import read_workbook

        if encoding is not None:
            raise CaseError(f"{file}: is a workbook, which says its encoding itself; leave out --encoding")
        return read_workbook(content, key, str(file), sheet)
    if content.startswith(_OLD_EXCEL):
        raise CaseError(f"{file}: is a workbook of the old kind or with a password; save it as .xlsx without one")
    if sheet is not None:
        raise CaseError(f"{file}: is no workbook and has no sheets; leave out --sheet")
    text, remark = decoded(content, str(file), encoding)
    return read_delimited(text, key, str(file), remark)
