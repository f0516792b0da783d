"""Whose texts, whose words and whose permissions: what the import of several studies may not mix up."""

import csv
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medclip.cases import read_cases
from medclip.cases.importing import import_cases
from medclip.cases.sources import Options
from tests.cases.studies import radiograph, report_of


def written(tree: Path, **files: Any) -> Path:
    tree.mkdir(exist_ok=True)
    for name, file in files.items():
        file.save_as(tree / f"{name}.dcm", enforce_file_format=True)
    return tree


def table(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_whose_accession_number_two_studies_share_goes_to_neither(tmp_path: Path) -> None:
    one = radiograph(PatientName="Huber^Anna", PatientID="A", AccessionNumber="4710 ")
    two = radiograph(PatientName="Okafor^Uche", PatientID="B", AccessionNumber="4710")
    tree = written(tmp_path / "tree", one=one, two=two)
    rows = [{"study": "4710", "history": "Huber fell."}, {"study": two.StudyInstanceUID, "history": "Okafor fell."}]
    reports = table(tmp_path / "reports.csv", *rows)
    report = import_cases("dicom", tree, tmp_path / "cases", options=Options(reports=reports))
    assert sorted(case.note_text("history") or "" for case in read_cases(tmp_path / "cases")) == ["", "[removed] fell."]
    assert [skipped.reason for skipped in report.skipped] == [
        "its accession number is that of more than one study; name the StudyInstanceUID instead"
    ]


def test_a_study_s_texts_lose_what_the_patient_s_other_studies_name(tmp_path: Path) -> None:
    before = radiograph(PatientName="Huber^Anna", ReferringPhysicianName="Castellano^Bruno", AccessionNumber="ACC-4711")
    now = radiograph(PatientName="Anonymous")
    tree = written(tmp_path / "tree", a=before, b=now, c=report_of(now, "As ACC-4711 of Castellano: no mass."))
    import_cases("dicom", tree, tmp_path / "cases")
    assert {case.note_text("findings") for case in read_cases(tmp_path / "cases")} == {
        "", "As [removed] of [removed]: no mass."
    }  # fmt: skip


def test_a_patient_is_one_though_a_file_leaves_the_id_out_or_pads_it(tmp_path: Path) -> None:
    one, other = radiograph(PatientID=""), radiograph(PatientID=" P-1 ")
    again = radiograph(StudyInstanceUID=one.StudyInstanceUID, PatientID="P-1")
    import_cases("dicom", written(tmp_path / "tree", a=one, b=again, c=other), tmp_path / "cases")
    cases = read_cases(tmp_path / "cases")
    assert len(cases) == 2
    assert len({case.patient for case in cases}) == 1


def test_a_report_that_others_may_not_read_makes_cases_that_they_may_not_read(tmp_path: Path) -> None:
    scan = radiograph()
    tree = tmp_path / "tree"
    (tree / "ct").mkdir(parents=True)
    scan.save_as(tree / "ct" / "scan.dcm", enforce_file_format=True)
    report_of(scan, "No mass.").save_as(tree / "ct" / "sr.dcm", enforce_file_format=True)
    for path in (tree, tree / "ct"):
        path.chmod(0o755)
    for path in (tree / "ct").iterdir():
        path.chmod(0o600 if path.name == "sr.dcm" else 0o644)
    usual = os.umask(0o022)
    try:
        import_cases("dicom", tree, tmp_path / "private")
        (tree / "ct" / "sr.dcm").chmod(0o644)
        import_cases("dicom", tree, tmp_path / "open")
        reports = table(tmp_path / "reports.csv", {"study": str(scan.StudyInstanceUID), "history": "Fell."})
        reports.chmod(0o600)
        import_cases("dicom", tree, tmp_path / "table", options=Options(reports=reports))
    finally:
        os.umask(usual)
    modes = {
        name: [stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / name, tmp_path / name / "cases.jsonl")]
        for name in ("private", "open", "table")
    }
    assert modes == {"private": [0o700, 0o600], "open": [0o755, 0o644], "table": [0o700, 0o600]}


def test_a_key_that_others_may_read_is_refused(tmp_path: Path, medclip: Callable, refused: Callable) -> None:  # type: ignore[type-arg]
    tree, key = written(tmp_path / "tree", a=radiograph()), tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o640)
    line = refused(medclip("cases", "import", "dicom", tree, "--key", key, "--out", tmp_path / "cases"))
    assert f"chmod 600 {key}" in line
    key.chmod(0o600)
    assert medclip("cases", "import", "dicom", tree, "--key", key, "--out", tmp_path / "cases").code == 0


def test_a_label_set_whose_name_identifies_is_left_out(tmp_path: Path) -> None:
    scan = radiograph(PatientName="Huber^Anna")
    row = {"study": str(scan.StudyInstanceUID), "label.finding": "mass", "label.as Huber says": "mass",
           "label.read by Dr. Okafor on 2024-03-04": "mass"}  # fmt: skip
    reports = table(tmp_path / "reports.csv", row)
    tree = written(tmp_path / "tree", a=scan)
    report = import_cases("dicom", tree, tmp_path / "cases", options=Options(reports=reports))
    assert read_cases(tmp_path / "cases")[0].labels == {"finding": "mass", "modality": "CR"}
    reasons = [skipped.reason for skipped in report.skipped]
    assert reasons == [
        f"the name of its label {number} holds an identifier; that label is left out" for number in (2, 3)
    ]
