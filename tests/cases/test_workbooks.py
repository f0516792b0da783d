"""An .xlsx workbook gives the cases that its sheet shows; what has no value, or too much of it, is named."""

import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from medclip.cases.case import Case
from medclip.cases.sources import Draft, Options, load_source
from medclip.errors import CaseError

HEADER = ["Case", "Age", "Sex", "History", "measure.temperature", "measure.SpO2"]


@pytest.fixture
def book(tmp_path: Path) -> Callable[..., Path]:
    """Writes a workbook of these rows; `change` may do more to its sheet."""

    def write(*rows: list[Any], change: Callable[[Worksheet], object] = lambda _: None, first: str = "") -> Path:
        made = Workbook()
        sheet = made.active
        assert isinstance(sheet, Worksheet)
        if first:
            sheet.title = first
        for row in rows:
            sheet.append(row)
        change(sheet)
        file = tmp_path / "cases.xlsx"
        made.save(file)
        return file

    return write


def _read(file: Path, **options: Any) -> list[Any]:
    return list(load_source("folder").draft(file, Options(**options)))


def _cases(file: Path, **options: Any) -> list[Case]:
    found = _read(file, **options)
    assert all(isinstance(one, Draft) for one in found), found
    return [one.case for one in found]


def _refused(file: Path, **options: Any) -> str:
    with pytest.raises(CaseError) as refused:
        _read(file, **options)
    return str(refused.value)


def test_a_sheet_is_read_as_it_shows(book: Callable[..., Path]) -> None:
    def formats(sheet: Worksheet) -> None:
        sheet["A2"].number_format = "0000"
        sheet["F2"].number_format = "0%"

    rows = [
        HEADER,
        [12, 54, "M", date(2026, 3, 5), "38,9 °C", 0.97, None],
        [None] * 7,
        ["b", 54.5, "f", 12.5, "102 F", None],
    ]
    first, second = _cases(book(*rows, change=formats))
    assert (first.id, first.age, first.sex, first.note_text("history")) == ("0012", 54, "male", "2026-03-05")
    assert [(one.name, one.value) for one in first.measurements] == [("temperature", 38.9), ("oxygen saturation", 97)]
    assert (second.age, second.note_text("history")) == (54.5, "12.5")
    assert _cases(book(["case", "history"], [12, "Cough"]).parent)[0].id == "12"  # found in its folder, as cases.csv is


def test_a_cell_that_is_merged_downwards_holds_for_each_row(book: Callable[..., Path]) -> None:
    rows = [["case", "age", "history"], ["a", 54, None], [None, None, "Cough"], ["b", 60, "Fall"]]
    [one, _] = _cases(book(*rows, change=lambda sheet: sheet.merge_cells("A2:A3")))
    assert (one.id, one.age, one.note_text("history")) == ("a", 54, "Cough")
    file = book(*rows, change=lambda sheet: sheet.merge_cells("B4:C4"))
    wide = {one.case_id: one.reason for one in _read(file) if not isinstance(one, Draft)}
    assert wide["b"] == "line 4, column age: is merged with the column beside it; unmerge it"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("D", "#N/A", "error of Excel's"),
        ("D", "=A2", "value is not stored"),
        ("A", date(2026, 3, 5), "is a date"),
        ("B", date(2026, 3, 5), "is a date"),
        ("A", 1234567890123456789, "Excel shortened"),
        ("B", True, "no age"),
        ("E", 38.9, "no unit"),
    ],
)
def test_a_cell_without_a_value_is_named(column: str, value: object, said: str, book: Callable[..., Path]) -> None:
    def put(sheet: Worksheet) -> None:
        sheet[f"{column}2"] = value

    [skipped] = _read(book(HEADER, ["a", 54, "F", "Cough", None, None], change=put))
    assert skipped.reason.startswith("line 2, column ") or "line 2, column case" in skipped.reason
    assert said in skipped.reason


def test_a_formula_has_its_stored_value(book: Callable[..., Path]) -> None:
    file = book(["case", "history", "caption"], ["a", "=1+1", "=2+2"])
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    sheet = sheet.replace(b'<c r="B2"><f>1+1</f><v /></c>', b'<c r="B2" t="str"><f>1+1</f><v>Cough</v></c>')
    sheet = sheet.replace(b'<c r="C2"><f>2+2</f><v /></c>', b'<c r="C2" t="str"><f>2+2</f><v></v></c>')
    assert b"Cough" in sheet
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**parts, "xl/worksheets/sheet1.xml": sheet}.items():
            archive.writestr(name, content)
    assert _cases(file)[0].note_text("history") == "Cough"  # and an empty text is no missing value


def test_the_first_sheet_that_is_not_hidden_or_the_one_that_is_named(book: Callable[..., Path]) -> None:
    def more(sheet: Worksheet) -> None:
        other = sheet.parent.create_sheet("Others")
        other.append(["case", "history"])
        other.append(["z", "Fall"])
        sheet.sheet_state = "hidden"

    file = book(["case", "history"], ["a", "Cough"], change=more, first="Mine")
    assert [case.id for case in _cases(file)] == ["z"]
    assert [case.id for case in _cases(file, sheet="Mine")] == ["a"]
    assert "it has 'Others'" in _refused(file, sheet="others")
    assert "leave out --encoding" in _refused(file, encoding="cp1252")
    file.with_name("cases.csv").write_text("case,history\na,Cough\n")
    assert "leave out --sheet" in _refused(file.with_name("cases.csv"), sheet="Mine")
    assert "name the one to import" in _refused(file.parent)


def test_a_workbook_that_is_none_is_one_line(book: Callable[..., Path]) -> None:
    file = book(["Cases of Mrs Smith"], ["case", "history"], ["a", "Cough"])
    assert "column names stand in line 2" in _refused(file)
    assert "Smith" not in _refused(file)
    file.write_bytes(file.read_bytes()[:-400])
    assert "is damaged or no .xlsx workbook" in _refused(file)


_CODE = """
import sys
from pathlib import Path
from medclip.cases.sources import Options, load_source
from medclip.errors import CaseError
try:
    print(len(list(load_source("folder").draft(Path(sys.argv[1]), Options()))))
except CaseError as error:
    print(error)
status = Path("/proc/self/status").read_text()  # since ru_maxrss counts the process before its exec, too
print(int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""


def _in_a_process(file: Path) -> tuple[str, int]:
    """What is said of a workbook, and the MiB that it took."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CODE, str(file)], capture_output=True, text=True, check=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )  # fmt: skip
    said, memory = done.stdout.splitlines()
    return said, int(memory)


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("xl/worksheets/sheet1.xml", 300 << 20, "is larger than"),
        ("xl/styles.xml", 9 << 20, "is larger than"),
        (
            "xl/worksheets/sheet1.xml",
            b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
            b'<row r="1"><c r="A1" t="inlineStr"><is><t>case</t></is></c></row>'
            b'<row r="99999999999"><c r="ZZZ99999999999"><v>1</v></c></row></sheetData></worksheet>',
            "more than",
        ),
        (
            "xl/worksheets/sheet1.xml",
            b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
            + b"".join(b'<!ENTITY a%d "%s">' % (n, (b"&a%d;" % (n - 1) if n else b"&a;") * 10) for n in range(9))
            + b']><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
            b'<c r="A1" t="inlineStr"><is><t>&a1;</t></is></c></row></sheetData></worksheet>',
            "document type",
        ),
    ],
    ids=["a large sheet", "large styles", "far outside", "entities"],
)
def test_a_bomb_takes_no_memory(part: str, content: bytes | int, said: str, book: Callable[..., Path]) -> None:
    file = book(["case", "history"], ["a", "Cough"])
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    padded = b"<x>" + b" " * content if isinstance(content, int) else content
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in {**parts, part: padded}.items():
            archive.writestr(name, held)
    line, memory = _in_a_process(file)
    assert said in line
    assert memory < 400


def test_without_openpyxl_the_remedy_is_named(book: Callable[..., Path]) -> None:
    file = book(["case", "history"], ["a", "Cough"])
    code = (
        "import sys; sys.modules['openpyxl'] = None\n"
        "from pathlib import Path\nfrom medclip.cases.sources import Options, load_source\n"
        f"list(load_source('folder').draft(Path({str(file)!r}), Options()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'medclip-assistant[xlsx]'" in done.stderr.splitlines()[-1]
