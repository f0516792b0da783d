"""``medclip model report``: what is filled in is what the files say, and what they do not say is left to people."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from medclip.archive.layout import PROBE
from medclip.cases import Case, read_cases
from medclip.diagnosis.store import load_diagnosers
from medclip.evaluation.held_out import measure_index
from medclip.files.plain import write_json
from medclip.metrics.probabilities import interval
from medclip.reporting.checklist import Report, as_markdown, make_report

pytestmark = pytest.mark.slow
Medclip = Callable  # type: ignore[type-arg]

SUB_ITEMS = [
    "1", "2", "3a", "3b", "3c", "4", "5a", "5b", "6a", "6b", "6c", "7", "8a", "8b", "8c", "9a", "9b", "9c", "10", "11",
    *(f"12{letter}" for letter in "abcdefg"), "13", "14", "15", "16", "17", *(f"18{letter}" for letter in "abcdef"), "19",
    "20a", "20b", "20c", "21", "22", "23a", "23b", "24", "25", "26", "27a", "27b", "27c",
]  # fmt: skip
"""Of TRIPOD+AI."""


@pytest.fixture(scope="module")
def archive(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index made with the small model."""
    return Path(shutil.copytree(tiny_index, tmp_path_factory.mktemp("archive") / "index"))


@pytest.fixture(scope="module")
def figures(archive: Path, few: Path, sample: Path, sample_cases: list[Case]) -> Path:
    """What ``evaluate --index --json`` prints of a dozen cases that it has not seen."""
    seen = {case.patient for case in read_cases(few)}
    unseen = [case for case in sample_cases if case.patient not in seen][:12]
    file = archive.with_name("figures.json")
    write_json(file, [asdict(one) | {"value": one.value} for one in measure_index(archive, unseen, sample)])
    return file


@pytest.fixture(scope="module")
def report(tiny_model: Path, archive: Path, figures: Path) -> Report:
    return make_report(tiny_model, archive, figures)


def _lines(report: Report, checklist: int, number: str) -> str:
    """All that the program says under an item."""
    [item] = [item for item in report.checklists[checklist].items if item.number == number]
    return "\n".join(line for one in item.known for line in (one.text, *one.lines, one.source))


def test_every_item_of_both_guidelines_stands_once_and_is_filled_or_left_to_people(report: Report) -> None:
    tripod, claim = report.checklists
    assert [item.number for item in tripod.items] == SUB_ITEMS
    assert [item.number for item in claim.items] == [str(number) for number in range(1, 45)]
    for item in (*tripod.items, *claim.items):
        assert item.known or item.yours, item.number
        assert all(one.text and one.source for one in item.known)


def test_what_is_filled_in_is_what_the_files_say(report: Report, tiny_model: Path, archive: Path, few: Path) -> None:
    training = json.loads((tiny_model / "training.json").read_text())
    cases = read_cases(few)
    assert f"Trained on: {training['train']['cases']} cases" in _lines(report, 0, "5a")
    assert f"torch {training['versions']['torch']}" in _lines(report, 1, "23")
    assert f"{len(cases)} cases" in _lines(report, 0, "20a")
    nodules = sum(case.labels["finding"] == "nodule" for case in cases)
    assert f"nodule {nodules}" in _lines(report, 0, "8a")
    without = sum(not case.measurements for case in cases)
    assert f"measurement {without} ({without / len(cases):.0%})" in _lines(report, 0, "11")
    diagnosers = load_diagnosers(archive / PROBE)
    assert diagnosers
    for diagnoser in diagnosers:
        measured = diagnoser.fits["scan"].measured
        [line] = [
            one for one in _lines(report, 0, "23a").splitlines() if one.startswith(f"{diagnoser.label_set}, scan:")
        ]
        assert f"on {measured.patients} patients" in line  # of so few it is not quoted


def test_figures_are_quoted_with_their_number_and_how_sure_they_are(report: Report, figures: Path) -> None:
    rows = json.loads(figures.read_text())
    [row] = [
        row for row in rows
        if (row["protocol"], row["label_set"], row["method"], row["metric"]) == ("full", "finding", "combined", "accuracy")
    ]  # fmt: skip
    low, high = interval(row["value"], row["n"])
    said = (
        f"full, finding, combined (n {row['n']}): accuracy {row['value']:.3f} (95 % interval {low:.3f} to {high:.3f})"
    )
    assert said in _lines(report, 1, "37")


def test_figures_of_groups_are_told_apart(tiny_model: Path, tmp_path: Path) -> None:
    common = {"protocol": "full", "label_set": "finding", "method": "combined", "metric": "accuracy", "n": 40}
    file = tmp_path / "figures.json"
    write_json(file, [{**common, "sd": 0.02, "value": value, "group": f"sex={sex}"}
                      for sex, value in (("female", 0.5), ("male", None))])  # fmt: skip
    said = _lines(make_report(tiny_model, figures=file), 0, "23a")
    assert "group sex=female (n 40): accuracy 0.500 ± 0.020" in said
    assert "group sex=male (n 40): accuracy not measurable" in said


def test_without_index_and_figures_what_they_know_is_left_to_people(tiny_model: Path) -> None:
    alone = make_report(tiny_model)
    [performance] = [item for item in alone.checklists[0].items if item.number == "23a"]
    assert performance.status == "yours"
    assert performance.would_help == ("--figures", "--index")
    [ethics] = [item for item in alone.checklists[0].items if item.number == "17"]
    assert (ethics.status, ethics.would_help) == ("yours", ())


def test_nothing_that_is_known_goes_unsaid(report: Report) -> None:
    said = {one for checklist in report.checklists for item in checklist.items for one in item.known}
    assert {one.source for one in said} >= {
        "MODEL/training.json", "MODEL/bundle.json", "MODEL/README.md", "MODEL/serving/serving.json",
        "INDEX, its cases", "INDEX/probe/diagnosers.json", "INDEX/build-report.json", "FIGURES",
    }  # fmt: skip
    assert not [item.number for one in report.checklists for item in one.items if item.would_help]


def test_names_are_no_markup(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_json(file, [{"protocol": "full", "label_set": "<b>|*x*", "method": "vote", "metric": "accuracy", "value": 0.5,
                       "sd": None, "n": 40}])  # fmt: skip
    written = as_markdown(make_report(tiny_model, figures=file))
    assert r"\<b\>\|\*x\*" in written
    assert "<b>" not in written


def test_the_command_writes_markdown_that_counts_and_json_that_agrees(
    tiny_model: Path, archive: Path, figures: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    out = tmp_path / "report.md"
    asked = ("model", "report", tiny_model, "--index", archive, "--figures", figures, "--out", out)
    done = medclip(*asked, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    text = out.read_text(encoding="utf-8")
    for checklist in found["checklists"]:
        counts = checklist["counts"]
        assert sum(counts.values()) == len(checklist["items"])
        row = f"| {checklist['name']} | {len(checklist['items'])} | {counts['filled']} | {counts['begun']} | {counts['yours']} |"
        assert row in text
    blanks = sum(item["yours"] is not None for one in found["checklists"] for item in one["items"])
    assert text.count("To be filled in by you") == blanks
    assert "already exists" in refused(medclip(*asked))
    assert medclip(*asked, "--force").code == 0
    letter = tmp_path / "letter.md"
    letter.write_text("mine")
    assert "not replaced" in refused(medclip("model", "report", tiny_model, "--out", letter, "--force"))
    assert letter.read_text() == "mine"


def test_bad_input_is_one_line_and_makes_no_file(
    tiny_model: Path, archive: Path, few: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    with zipfile.ZipFile(Path(__file__).parents[1] / "archive" / "index-0.1.zip") as kept:
        kept.extractall(tmp_path / "kept")
    other = tmp_path / "other"
    shutil.copytree(archive, other)
    manifest = json.loads((other / "index.json").read_text())
    manifest.pop("sha256")
    (other / "index.json").write_text(json.dumps(manifest | {"fingerprint": "0" * 64}))
    wrong = tmp_path / "wrong.json"
    wrong.write_text('[{"protocol": "full"}]')
    (tmp_path / "none.json").write_text("[]")
    for options, said in (
        ((few,), "bundle.json: not found"),
        ((tiny_model, "--index", few), "is not an index"),
        ((tiny_model, "--index", other), "another model than the one named"),
        ((tiny_model, "--index", tmp_path / "kept" / "index"), "medclip index compact"),
        ((tiny_model, "--figures", wrong), "is not what medclip evaluate --json prints"),
        ((tiny_model, "--figures", tmp_path / "none.json"), "holds no figure"),
        ((tiny_model, "--figures", tmp_path / "absent.json"), "not found"),
    ):
        out = tmp_path / "report.md"
        assert said in refused(medclip("model", "report", *options, "--out", out))
        assert not out.exists()
