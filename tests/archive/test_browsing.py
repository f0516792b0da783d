"""Walking an archive: pages of cases, what filters can say of them, and a case with its neighbours."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from medclip.archive.browsing import example_of, list_cases, read_where, sheet_of, values_of
from medclip.archive.entries import case_of
from medclip.assistant import Assistant
from medclip.cases import Case
from medclip.errors import ArchiveError, FilterError
from medclip.index import CaseIndex

KEPT = Path(__file__).with_name("index-0.1.zip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    return tmp_path / "index"


@pytest.fixture
def opened(folder: Path) -> Iterator[CaseIndex]:
    index = CaseIndex.open(folder)
    yield index
    index.close()


def _cases(index: CaseIndex) -> dict[str, Case]:
    return {record.id: case_of(record) for record in index.records()}


def test_pages_together_are_the_whole_list_in_the_order_asked_for(opened: CaseIndex) -> None:
    cases = _cases(opened)
    expected = sorted(cases, key=lambda one: (-(cases[one].age or 0), one))
    pages = [list_cases(opened, sort=["-age"], limit=5, offset=start) for start in range(0, 15, 5)]
    assert [line.case_id for page in pages for line in page.cases] == expected
    assert {page.total for page in pages} == {len(cases)}
    line = pages[0].cases[0]
    case = cases[line.case_id]
    assert (line.age, line.sex, line.labels, line.diagnosis) == (
        case.age, case.sex, case.case_labels, case.outcome.diagnosis,
    )  # fmt: skip
    assert line.fields["age"] == [case.age]
    assert line.first_scan in opened.thumbnails(line.case_id)


def test_a_list_holds_only_cases_of_which_the_filter_is_true(opened: CaseIndex) -> None:
    where = read_where(opened, "label.finding = 'cyst' and age > 44")
    found = list_cases(opened, where=where, sort=["finding", "age"])
    wanted = {one for one, case in _cases(opened).items() if case.labels["finding"] == "cyst" and (case.age or 0) > 44}
    assert {line.case_id for line in found.cases} == wanted
    assert found.total == len(wanted) > 0
    assert [line.age for line in found.cases] == sorted(line.age or 0 for line in found.cases)


def test_a_value_that_no_case_has_is_answered_with_those_there_are(opened: CaseIndex) -> None:
    with pytest.raises(FilterError, match=r"label\.finding is cyst, nodule"):
        read_where(opened, "label.finding = 'tumour'")


def test_values_are_counted_and_the_example_finds_as_many_as_it_says(opened: CaseIndex) -> None:
    found = {one.field: one for one in values_of(opened)}
    cases = _cases(opened).values()
    ages = [case.age for case in cases if case.age is not None]
    assert (found["age"].lowest, found["age"].highest, found["age"].known) == (min(ages), max(ages), len(ages))
    counts = {count.value: count.cases for count in found["label.finding"].values}
    assert counts == {label: sum(c.labels["finding"] == label for c in cases) for label in ("cyst", "nodule")}
    assert found["plane"].unknown == len(cases)
    assert found["plane"].values == []
    example = example_of(list(found.values()))
    assert list_cases(opened, where=read_where(opened, example)).total == found["label.finding"].values[0].cases
    ranged = example_of([found["age"]])
    assert ranged is not None
    assert 0 < list_cases(opened, where=read_where(opened, ranged)).total <= len(cases)
    assert [one.field for one in values_of(opened, "finding")] == ["label.finding"]
    with pytest.raises(FilterError, match="no field 'size'"):
        values_of(opened, "size")


def test_a_case_is_shown_whole_with_the_neighbours_that_similar_finds(folder: Path, opened: CaseIndex) -> None:
    case = case_of(opened.record("c3"))
    sheet = sheet_of(opened, "c3", neighbours=4)
    answer = Assistant.open_without_model(folder).similar("c3", k=4).answer
    assert [near.case.case_id for near in sheet.neighbours] == [one.case_id for one in answer.similar]
    assert [near.similarity for near in sheet.neighbours] == [one.similarity for one in answer.similar]
    assert answer.of is not None
    assert (answer.of.case_id, answer.of.diagnosis, answer.of.labels) == ("c3", case.outcome.diagnosis, case.labels)
    assert [text.text for text in sheet.texts] == [note.text for note in case.notes]
    assert [(scan.file, scan.caption, scan.thumbnail) for scan in sheet.scans] == [
        (scan.file, scan.caption, True) for scan in case.scans
    ]
    assert (sheet.diagnosis, sheet.treatment) == (case.outcome.diagnosis, case.outcome.treatment)
    assert sheet.same_patient == [one for one in opened.cases_of_patient(case.patient) if one != "c3"]
    assert case.patient not in repr(sheet)
    with pytest.raises(ArchiveError, match="has no case 'c99'"):
        sheet_of(opened, "c99")
