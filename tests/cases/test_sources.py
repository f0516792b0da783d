"""Every source gives valid cases with their files; bad ones are skipped, counted and listed."""

import csv
import json
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medclip.cases import read_cases
from medclip.cases.importing import import_cases
from medclip.cases.sources import Options, load_source, source_names
from medclip.cases.sources.covid_chestxray import COVID, finding_class
from medclip.errors import CaseError


def test_the_sources_of_the_contract_are_there() -> None:
    assert set(source_names()) >= {"medpix-2.0", "covid-chestxray", "folder", "sample"}
    with pytest.raises(CaseError, match="choose one of"):
        load_source("medpix")


def test_sample_cases_are_labelled_synthetic_and_complete(sample: Path) -> None:
    cases = read_cases(sample)
    assert all(case.synthetic for case in cases)
    assert all((sample / scan.file).is_file() for case in cases for scan in case.scans)
    assert {case.split for case in cases} == {"train", "dev"}
    splits: dict[str, set[str | None]] = {}
    for case in cases:
        splits.setdefault(case.patient, set()).add(case.split)
    assert all(len(found) == 1 for found in splits.values())
    assert min(Counter(case.labels["finding"] for case in cases).values()) > 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    (root / "xray").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(root / "xray" / name)
    (root / "xray" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    rows = [
        {"case": "one", "patient": "p1", "scan": "xray/a.png", "caption": "Clear.", "age": "54", "sex": "female",
         "label.finding": "none", "diagnosis": "Healthy", "history": "Cough."},
        {"case": "one", "patient": "p1", "scan": "xray/b.png", "caption": "Lateral view."},
        {"case": "two", "patient": "p2", "history": "Only words."},
        {"case": "three", "patient": "p3", "scan": "xray/gone.png"},
        {"case": "four", "patient": "p4", "scan": "xray/broken.png"},
        {"case": "five", "patient": "p5", "history": "Old.", "age": "200"},
        {"case": "", "patient": "p6", "history": "No id."},
    ]  # fmt: skip
    columns = ["case", "patient", "scan", "caption", "history", "age", "sex", "label.finding", "diagnosis"]
    with (root / "cases.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_one_bad_case_never_stops_the_rest(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases"
    report = import_cases("folder", folder, out)
    one, two = read_cases(out)
    assert (one.id, len(one.scans), one.labels, one.age) == ("one", 2, {"finding": "none"}, 54)
    assert one.outcome.diagnosis == "Healthy"
    assert two.note_text("history") == "Only words."
    assert {s.case_id for s in report.skipped} == {"three", "four", "five", "line 8"}
    listed = json.loads((out / "import-report.json").read_text())
    assert len(listed["skipped"]) == 4
    assert sorted(p.name for p in (out / "scans").iterdir()) == sorted(Path(s.file).name for s in one.scans)


def test_two_patients_under_one_case_id_are_not_merged(tmp_path: Path) -> None:
    """The lines are those of the file, though a value before them holds a line break and a blank line stands between."""
    (tmp_path / "cases.csv").write_text(
        'case,patient,history\na,Smith,"Cough,\nfever."\nb,p2,Headache.\n\na,,Also here.\na,Jones,Rash.\nc,p3,Fall.\n'
    )
    report = import_cases("folder", tmp_path, tmp_path / "out")
    assert [case.id for case in read_cases(tmp_path / "out")] == ["b", "c"]
    [skipped] = report.skipped
    assert skipped.case_id == "a"
    assert "lines 2 and 7 " in skipped.reason
    assert "Smith" not in skipped.reason
    assert "Jones" not in skipped.reason


def test_a_series_holds_no_links_to_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "series").mkdir()
    (folder / "series" / "1.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "elsewhere.dcm")
    (folder / "cases.csv").write_text("case,scan\na,series\n")
    with pytest.raises(CaseError, match="--allow-outside"):
        import_cases("folder", folder, tmp_path / "out")
    assert import_cases("folder", folder, tmp_path / "out", options=Options(allow_outside=True)).cases == 1


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_csv_reaches_no_file_outside_its_folder_unless_allowed(
    folder: Path, tmp_path: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    outside = tmp_path / "outside.wav"
    outside.write_bytes(b"secret")
    (folder / "link.wav").symlink_to(outside)
    os.mkfifo(folder / "pipe.wav")
    rows = ("a,/etc/hostname", f"b,{outside}", "c,../outside.wav", "d,link.wav", "e,pipe.wav", "f,xray", "g,a\0b")
    (folder / "cases.csv").write_text("case,history.audio\n" + "\n".join(rows) + "\n")
    line = refused(medclip("cases", "import", "folder", folder, "--out", tmp_path / "out"))
    assert "--allow-outside" in line
    report = import_cases("folder", folder, tmp_path / "out", options=Options(allow_outside=True))
    assert [case.id for case in read_cases(tmp_path / "out")] == ["a", "b", "c", "d"]
    assert len(report.skipped) == 3
    with pytest.raises(CaseError, match="no --allow-outside"):
        import_cases("sample", None, tmp_path / "sample", options=Options(allow_outside=True))


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_what_few_may_read_few_may_read_after_the_import(folder: Path, tmp_path: Path) -> None:
    open_to_all = import_cases("folder", folder, tmp_path / "open")
    assert open_to_all.cases == 2
    assert _mode(tmp_path / "open") == 0o755
    (folder / "cases.csv").chmod(0o640)
    (folder / "xray" / "a.png").chmod(0o600)
    import_cases("folder", folder, tmp_path / "closed")
    assert _mode(tmp_path / "closed") == 0o750
    modes = {file.name.split("-")[0]: _mode(file) for file in (tmp_path / "closed" / "scans").iterdir()}
    assert modes == {"a": 0o600, "b": 0o644}


def test_a_published_table_reaches_no_file_outside_its_folder(covid: Path, tmp_path: Path) -> None:
    picture = next((covid / "images").iterdir())
    away = tmp_path / "away.png"
    away.symlink_to(picture)
    published = tmp_path / "covid"
    (published / "images").mkdir(parents=True)
    shutil.copy(picture, published / "images" / "b.png")
    row = "{},0,COVID-19,{}\n"
    table = row.format("a", away) + row.format("b", "b.png") + row.format("c", "../../away.png")
    (published / "metadata.csv").write_text("patientid,offset,finding,filename\n" + table)
    report = import_cases("covid-chestxray", published, tmp_path / "cases")
    assert (report.cases, len(report.skipped)) == (1, 2)


def test_a_column_that_is_not_known_is_named(
    folder: Path, medclip: Callable, refused: Callable, tmp_path: Path
) -> None:  # type: ignore[type-arg]
    text = (folder / "cases.csv").read_text().replace("label.finding", "finding")
    (folder / "cases.csv").write_text(text)
    line = refused(medclip("cases", "import", "folder", folder, "--out", tmp_path / "out"))
    assert "'finding'" in line
    assert not (tmp_path / "out").exists()


def test_medpix_as_published(medpix: Path, tmp_path: Path) -> None:
    report = import_cases("medpix-2.0", medpix, tmp_path / "cases")
    assert (report.cases, report.scans, report.skipped) == (602, 1850, [])
    cases = read_cases(tmp_path / "cases")
    assert Counter(case.split for case in cases) == {"train": 535, "dev": 67}
    assert Counter(s.labels["modality"] for case in cases for s in case.scans) == {"CT": 962, "MR": 888}
    assert Counter(case.labels["location"] for case in cases for _ in case.scans)["Head"] == 808
    for case in cases:
        embedded = f"{case.report}\n{case.note_text('history')}"
        assert "Replace this" not in embedded
        assert case.outcome.diagnosis


def test_medpix_without_an_image_skips_that_case_alone(medpix: Path, tmp_path: Path) -> None:
    copy = tmp_path / "medpix"
    copy.mkdir()
    for name in ("Case_topic.json", "Descriptions.json"):
        shutil.copy(medpix / name, copy / name)
    (copy / "images").mkdir()
    entries = json.loads((medpix / "Descriptions.json").read_text())
    chosen = {entry["U_id"] for entry in entries[:80]}
    names = [f"{entry['image']}.jpg" for entry in entries if entry["U_id"] in chosen]
    for name in names[:-1]:
        (copy / "images" / name).symlink_to(medpix / "images" / name)
    (copy / "images" / names[-1]).write_bytes((medpix / "images" / names[-1]).read_bytes()[:2000])
    report = import_cases("medpix-2.0", copy, tmp_path / "cases")
    assert report.cases == len(chosen) - 1
    assert report.cases + len(report.skipped) == 602
    assert sum("truncated" in s.reason for s in report.skipped) == 1


def test_covid_as_published(covid: Path, tmp_path: Path) -> None:
    report = import_cases("covid-chestxray", covid, tmp_path / "cases")
    assert report.cases > 400
    cases = read_cases(tmp_path / "cases")
    texts = [case.note_text("history").lower() for case in cases]
    for word in ("covid", "sars", "pneumonia", "klebsiella", "legionella", "coronavirus", "influenza"):
        assert not any(word in text for text in texts), word
    assert any(case.measurements for case in cases)
    assert {label for case in cases for label in case.labels.values()} == {COVID, "other pneumonia", "no finding"}


def test_covid_findings_are_grouped_and_unknown_stays_unknown() -> None:
    assert finding_class("COVID-19, ARDS") == COVID
    assert finding_class("Mycoplasma Bacterial Pneumonia") == "other pneumonia"
    assert finding_class("No Finding") == "no finding"
    assert finding_class("todo") is None
    assert finding_class("ARDS") is None
