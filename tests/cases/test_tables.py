"""Tables as hospitals save them: every dialect gives the same cases, every mistake is told, nothing is guessed."""

import json
import re
import stat
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclip.cases import read_cases
from medclip.cases.case import Case
from medclip.cases.importing import import_cases
from medclip.cases.sources import Draft, Options, Remark, load_source
from medclip.errors import CaseError

Medclip = Callable[..., Any]


def _drafted(file: Path, **options: Any) -> list[Case]:
    found = [one for one in load_source("folder").draft(file, Options(**options)) if not isinstance(one, Remark)]
    assert all(isinstance(one, Draft) for one in found), found
    return [one.case for one in found if isinstance(one, Draft)]


def _reasons(file: Path, **options: Any) -> dict[str, str]:
    found = load_source("folder").draft(file, Options(**options))
    return {one.case_id: one.reason for one in found if not isinstance(one, Draft | Remark)}


def _refused(file: Path, **options: Any) -> str:
    with pytest.raises(CaseError) as refused:
        list(load_source("folder").draft(file, Options(**options)))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, encoding: str = "utf-8") -> Path:
        file = tmp_path / "cases.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return file

    return write


# One row in the words of a hospital, and what they mean.
_SEXES = {
    "M": "male",
    "F": "female",
    "Male": "male",
    "FEMALE": "female",
    "o": "other",
    "männlich": "male",
    "女": "female",
}
_SPLITS = {"training": "train", "Train": "train", "development": "dev", "TEST": "test"}
_AGES = {"54": 54, "54Y": 54, "054Y": 54, "54 years": 54, "018M": 1.5, "18 months": 1.5, "0": 0}

# No ° here: between letters it is another code page's letter, and is refused in eight bits.
_TEXT = st.text(st.sampled_from(string.ascii_letters + ' ,;\t|"\näöüß'), max_size=30).map(str.strip)
_ROW = st.fixed_dictionaries(
    {
        "patient": st.from_regex(r"p[0-9]{1,3}", fullmatch=True),
        "age": st.sampled_from(["", *_AGES]),
        "sex": st.sampled_from(["", *(word for word in _SEXES if word.isascii())]),
        "split": st.sampled_from(["", *_SPLITS]),
        "history": _TEXT,
        "label.findings/effusion": st.sampled_from(["", "present", "Absent"]),
        "measure.temperature": st.one_of(st.just(None), st.integers(350, 420)),
    }
)
_DIALECTS = [
    (",", "utf-8"), (",", "utf-8-sig"), (";", "utf-8-sig"), (";", "cp1252"), ("\t", "utf-16"), ("\t", "utf-16-le"),
    ("\t", "utf-16-be"), ("|", "utf-8"), (",", "latin-1"), (";", "utf-32"),
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(_ROW, min_size=1, max_size=5),
    dialect=st.sampled_from(_DIALECTS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    capitals=st.sampled_from([str.lower, str.upper, str.title]),
    empty_columns=st.integers(0, 3),
    empty_rows=st.integers(0, 3),
    stated=st.booleans(),
    quoted=st.booleans(),
)
def test_a_table_in_any_dialect_gives_the_same_cases(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    dialect: tuple[str, str],
    end: str,
    capitals: Callable[[str], str],
    empty_columns: int,
    empty_rows: int,
    stated: bool,
    quoted: bool,
) -> None:
    separator, encoding = dialect
    comma = "," if separator != "," else "."

    def cell(value: str) -> str:
        needed = quoted or any(ch in value for ch in f'{separator}"\n\r')
        return '"' + value.replace('"', '""') + '"' if needed else value

    def written(row: dict[str, Any], number: int) -> list[str]:
        degrees = row["measure.temperature"]
        shown = "" if degrees is None else f"{degrees / 10:.1f} °C".replace(".", comma)
        return [f"c{number}", *(str(row[name]) for name in names[1:-2]), shown, "Here."]

    names = ["case", *(name for name in rows[0] if name != "measure.temperature"), "measure.temperature", "findings"]
    header = [capitals(name) if not name.startswith("label.") else name for name in names]
    lines = [header, *(written(row, number) for number, row in enumerate(rows))]
    lines = [line + [""] * empty_columns for line in lines] + [[""] * (len(names) + empty_columns)] * empty_rows
    text = end.join(separator.join(map(cell, line)) for line in lines) + end
    if stated:
        text = f"sep={separator}{end}{text}"
    file = tmp_path_factory.mktemp("table") / "cases.csv"
    file.write_bytes(text.encode(encoding))
    cases = _drafted(file)
    assert [case.id for case in cases] == [f"c{number}" for number in range(len(rows))]
    for case, row in zip(cases, rows, strict=True):
        assert case.patient == row["patient"]
        assert case.age == (_AGES[row["age"]] if row["age"] else None)
        assert case.sex == (_SEXES[row["sex"]] if row["sex"] else None)
        assert case.split == (_SPLITS[row["split"]] if row["split"] else None)
        assert case.note_text("history") == row["history"]
        assert case.labels.get("findings/effusion", "") == row["label.findings/effusion"].lower()
        measured = [(one.value, one.unit) for one in case.measurements]
        assert measured == ([] if row["measure.temperature"] is None else [(row["measure.temperature"] / 10, "Cel")])


@pytest.mark.parametrize(
    ("column", "words"),
    [("sex", _SEXES), ("age", _AGES), ("split", _SPLITS)],
)
def test_usual_words_are_understood(column: str, words: dict[str, Any], table: Callable[..., Path]) -> None:
    rows = "".join(f"c{number},{word},Cough.\n" for number, word in enumerate(words))
    cases = _drafted(table(f"case,{column},history\n{rows}"))
    assert [getattr(case, column) for case in cases] == list(words.values())


def test_modalities_by_their_usual_names(tmp_path: Path, table: Callable[..., Path]) -> None:
    words = {"ct": "CT", "MRI": "MR", "XR": "CR", "DX": "CR", "x-ray": "CR", "us": "US", "Ultrasound": "US", "PT": "OT"}
    rows = ""
    for number, word in enumerate(words):
        (tmp_path / f"{number}.png").write_bytes(b"read later")
        rows += f"c{number},{number}.png,{word}\n"
    cases = _drafted(table(f"case,scan,modality\n{rows}"))
    assert [case.scans[0].modality for case in cases] == list(words.values())


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("temperature", "38.9 °C", 38.9), ("Temp", "38.9C", 38.9), ("temperature", "102 F", 38.888888889),
        ("temperature", "102 °F", 38.888888889), ("heart rate", "72 bpm", 72), ("systolic", "120 mmHg", 120),
        ("creatinine", "80 µmol/L", 80), ("wbc", "8.1 x10^9/L", 8.1),
    ],
)  # fmt: skip
def test_units_as_people_write_them(name: str, written: str, value: float, table: Callable[..., Path]) -> None:
    [case] = _drafted(table(f"case,measure.{name}\nc1,{written}\n"))
    assert case.measurements[0].value == pytest.approx(value)


# What cannot be known is an error in our words: (separator, column, cell, what is said).
_UNCLEAR = [
    (",", "measure.weight", "102 F", "may be degrees or another"),
    (",", "measure.temperature", "38,9 Cel", "decimal comma"),
    (";", "measure.d-dimer", "1,234 mg/L", "decimals or thousands"),
    (",", "measure.temperature", "38.9", "no unit"),
    (",", "measure.temperature", "389 Cel", "not plausible"),
    (",", "measure.temperature", "38.9 kg", "cannot be converted"),
    (",", "measure.temperature", "38.9 Smith", "no UCUM unit"),
    (",", "measure.temperature", "high, says Smith", "no number with its unit"),
    (",", "age", "54M", "months or the age of a man"),
    (",", "age", "Smith", "no age"),
    (",", "age", "200", "between 0 and 130"),
    (",", "split", "validation", "training, dev"),
    (",", "sex", "x", "F, M, O"),
    (",", "modality", "scan", "CT, MR, MRI"),
    (",", "patient", "1.23457E+15", "Excel shortened"),
    (",", "patient", "Smith/John", "slash"),
    (",", "scan", "Smith.png", "not found beside the table"),
    (",", "label.findings/effusion", "Smith", "present or absent"),
]


@pytest.mark.parametrize(("separator", "column", "cell", "said"), _UNCLEAR)
def test_what_is_unclear_is_named_by_its_place(
    separator: str, column: str, cell: str, said: str, table: Callable[..., Path]
) -> None:
    quoted = f'"{cell}"' if separator in cell else cell
    file = table(separator.join(["case", column, "history"]) + "\n" + separator.join(["c1", quoted, "Cough."]) + "\n")
    reason = _reasons(file)["c1"]
    assert reason.startswith(f"line 2, column {column}: ")
    assert said in reason
    assert "Smith" not in reason
    assert "Input should be" not in reason


def test_a_comma_is_a_decimal_one_where_the_table_shows_it(table: Callable[..., Path]) -> None:
    rows = "case;measure.d-dimer;measure.temperature\nc1;1,234 mg/L;38,9 °C\n"
    [case] = _drafted(table(rows))
    assert [one.value for one in case.measurements] == [1.234, 38.9]
    assert "decimals or thousands" in _reasons(table(rows.replace("1,234", "1.234")))["c1"]


def test_every_mistake_of_every_row_is_told_at_once(table: Callable[..., Path]) -> None:
    file = table(
        "case;patient;age;sex;scan;history\n"
        "a;p1;old;?;gone.png;Cough\na;p2;54;F;away.png;Cough\n;;;x;;No id\nb;p3;54;F;;\nc;p4;54;F;;Fall\nc;p4;54;F;;Fall;more\n"
    )
    reasons = _reasons(file)
    assert re.findall(r"line \d(?:, column \w+)?", reasons["a"]) == [
        "line 2, column age", "line 2, column sex", "line 2, column scan", "line 3, column scan",
    ]  # fmt: skip
    assert "lines 2 and 3 name different patients" in reasons["a"]
    assert "its case column is empty; line 4, column sex" in reasons["line 4"]
    assert "line 5: its case has neither a scan" in reasons["b"]
    assert "line 7: has more values than there are columns" in reasons["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,history;case\nc1,Cough;c2\n", "table with commas and as one with semicolons"),
        ("Cases of Mrs Smith\n\ncase;history\nc1;Cough\n", "column names stand in line 3"),
        ("Smith,54\nJones,60\n", "no column named case"),
        ("case,history,History\nc1,a,b\n", "two columns named history"),
        ("case,sick,age,ill\nc1,,,\n", "columns 'sick', 'ill' are not known"),
        ('case,history\nc1,"Cough\nc2,Fall\n', "begins in line 2 is not closed"),
        ("", "is empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as .xlsx"),
    ],
)
def test_a_table_that_is_none_is_one_line(text: str | bytes, said: str, table: Callable[..., Path]) -> None:
    line = _refused(table(text))
    assert re.search(said, line)
    assert "Smith" not in line


@pytest.mark.parametrize(
    ("word", "encoding"),
    [("płuc ból gorączka", "cp1250"), ("кашель", "cp1251"), ("咳嗽和发热", "gb18030"), ("Größe", "mac_roman")],
)
def test_another_code_page_is_never_taken_for_latin_1(word: str, encoding: str, table: Callable[..., Path]) -> None:
    file = table(f"case;history\nc1;{word}\n", encoding)
    assert "--encoding" in _refused(file)
    [case] = _drafted(file, encoding=encoding)
    assert case.note_text("history") == word
    assert "is not UTF-8 at line 2" in _refused(file, encoding="utf-8")
    assert "is not known" in _refused(file, encoding="zip")


def test_latin_1_is_said(table: Callable[..., Path]) -> None:
    for text in ("Größe des Knotens: 3 cm²", "Dyspnée à l’effort", "Niño con tos, ¿fiebre?"):
        file = table(f"case;history\nc1;{text}\n", "cp1252")
        [remark] = [one for one in load_source("folder").draft(file, Options()) if isinstance(one, Remark)]
        assert "Latin-1" in remark.text
        assert _drafted(file)[0].note_text("history") == text


def test_the_command_tells_what_it_left_out_and_ends_with_1(
    table: Callable[..., Path], tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    file, out = table("Case;Age;History\na;54Y;Müde\nb;old;Cough\n", "latin-1"), tmp_path / "out"
    beside = tmp_path / "out.import-report.json"
    file.write_bytes(file.read_bytes().replace(b"54Y", b"54X"))
    line = refused(medclip("cases", "import", "folder", file, "--out", out))
    assert str(beside) in line
    assert "line 2, column age" in line
    assert [one["case_id"] for one in json.loads(beside.read_text())["skipped"]] == ["a", "b"]
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert not out.exists()
    file.write_bytes(file.read_bytes().replace(b"54X", b"54Y"))
    done = medclip("cases", "import", "folder", file, "--out", out)
    assert done.code == 1
    assert "line 3, column age" in done.out
    assert "Latin-1" in done.out
    assert not beside.exists()  # it spoke of an attempt that is over
    printed = medclip("cases", "import", "folder", file, "--out", out, "--force", "--json")
    assert (printed.code, json.loads(printed.out)["cases_left_out"]) == (1, 1)
    file.write_bytes(file.read_bytes().replace(b"old", b"60"))
    assert medclip("cases", "import", "folder", file, "--out", out, "--force").code == 0


def test_a_report_of_that_name_which_is_not_ours_stays(table: Callable[..., Path], tmp_path: Path) -> None:
    other = tmp_path / "out.import-report.json"
    other.write_text('{"cases": 0}')
    import_cases("folder", table("case,history\na,Cough\n"), tmp_path / "out")
    assert other.read_text() == '{"cases": 0}'
    assert len(read_cases(tmp_path / "out")) == 1


def test_the_table_that_the_documentation_shows(tmp_path: Path, table: Callable[..., Path]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "own-cases.md").read_text(encoding="utf-8")
    shown = re.search(r"### As the hospital saved it.*?```\n(.*?)```", page, re.S)
    assert shown is not None
    for name in ("xray/a.png", "mr/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"read later")
    one, two = _drafted(table(shown[1], "cp1252"))
    assert (one.age, one.sex, one.split, one.scans[0].modality) == (54, "male", "train", "CR")
    assert one.note_text("history") == "Husten\nund Fieber"
    assert (two.age, two.sex, two.split, two.scans[0].modality) == (54, "female", "test", "MR")
    assert [round(case.measurements[0].value, 1) for case in (one, two)] == [38.9, 38.9]
