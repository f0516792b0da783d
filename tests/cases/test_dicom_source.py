"""A PACS export becomes cases that name nobody."""

import csv
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medclip.cases import read_cases
from medclip.cases.deidentify import Key, age_years
from medclip.cases.importing import import_cases
from medclip.cases.sources import Options
from medclip.cases.sources.sample.as_dicom import CT_SLICES, REPORTS
from medclip.cases.structured_report import report_sections
from medclip.errors import CaseError
from medclip.modalities.scan.pictures import SLICES
from medclip.modalities.scan.read import read_scan


@pytest.fixture(scope="module")
def tree(pacs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few studies of the sample cohort, as a PACS exports them."""
    out = Path(shutil.copytree(pacs, tmp_path_factory.mktemp("pacs") / "tree"))
    kept = {study.name for patient in out.iterdir() if patient.is_dir() for study in patient.iterdir()}
    rows = [row for row in csv.DictReader((out / REPORTS).open()) if row["study"] in kept]
    with (out / REPORTS).open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return out


def imported(tree: Path, out: Path, **options: Path) -> list:  # type: ignore[type-arg]
    import_cases("dicom", tree, out, options=Options(reports=tree / REPORTS, **options))
    return read_cases(out)


def test_studies_become_cases_with_series_reports_and_labels(tree: Path, tmp_path: Path) -> None:
    cases = imported(tree, tmp_path / "cases")
    studies = [study for patient in tree.iterdir() if patient.is_dir() for study in patient.iterdir()]
    assert len(cases) == len(studies)
    assert len({case.patient for case in cases}) == 12 < len(cases)
    for case in cases:
        assert case.synthetic
        assert case.outcome.diagnosis
        assert case.note_text("history")
        assert case.note_text("findings")
        assert case.labels["finding"]
        for scan in case.scans:
            read = read_scan(tmp_path / "cases" / scan.file)
            assert len(read.pictures) == (SLICES if scan.modality == "CT" else 1)
            assert scan.window in ("C 40 W 400 (file)", "C 2048 W 4096 (file)")
    assert CT_SLICES > SLICES


def test_files_that_are_written_say_that_they_are_de_identified(tree: Path) -> None:
    for file in tree.rglob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        assert header.PatientIdentityRemoved == "YES"
        assert header.DeidentificationMethod
        codes = [(item.CodeValue, item.CodingSchemeDesignator) for item in header.DeidentificationMethodCodeSequence]
        assert codes[0] == ("113100", "DCM")


def test_no_identifier_of_the_header_is_anywhere_in_the_cases(tree: Path, tmp_path: Path) -> None:
    imported(tree, tmp_path / "cases")
    known: set[bytes] = set()
    for file in tree.rglob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        known |= {
            str(header.PatientID).encode(),
            str(header.AccessionNumber).encode(),
            str(header.StudyInstanceUID).encode(),
            str(header.PatientName.given_name).encode(),
        }
    assert len(known) > 30
    for file in (tmp_path / "cases").rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower() + file.name.encode()
            assert not [word for word in known if word.lower() in content], file


@pytest.mark.slow
def test_the_key_decides_the_ids_and_is_the_owners_alone(tree: Path, tmp_path: Path) -> None:
    first = imported(tree, tmp_path / "a", key=tmp_path / "key")
    again = imported(tree, tmp_path / "b", key=tmp_path / "key")
    other = imported(tree, tmp_path / "c", key=tmp_path / "other")
    assert [c.id for c in first] == [c.id for c in again]
    assert not {c.id for c in first} & {c.id for c in other}
    assert not {c.patient for c in first} & {c.patient for c in other}
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(CaseError, match="keep the key apart"):
        imported(tree, tmp_path / "d", key=tmp_path / "d" / "key")
    (tmp_path / "key").write_text("secret")
    with pytest.raises(CaseError, match="holds no key"):
        imported(tree, tmp_path / "e", key=tmp_path / "key")


def test_bad_files_are_listed_beside_the_key_and_cost_only_themselves(
    tree: Path,
    tmp_path: Path,
    medclip: Callable,  # type: ignore[type-arg]
) -> None:
    mine = shutil.copytree(tree, tmp_path / "tree")
    radiographs = [f for f in sorted(mine.rglob("001.dcm")) if pydicom.dcmread(f).Modality == "DX"]
    series = next(f.parent for f in sorted(mine.rglob("001.dcm")) if pydicom.dcmread(f).Modality == "CT")
    radiographs[0].write_bytes(radiographs[0].read_bytes()[:3000])
    (mine / "holiday.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a scan")
    for file in series.iterdir():
        file.write_bytes(file.read_bytes()[:-9000])
    burnt = pydicom.dcmread(radiographs[-1])
    burnt.BurnedInAnnotation = "YES"
    burnt.save_as(radiographs[-1])
    out = tmp_path / "cases"
    done = medclip("cases", "import", "dicom", mine, "--reports", mine / REPORTS, "--out", out, "--json")
    assert done.code == 0, done.err
    private = tmp_path / "cases.key.import-report.json"
    report = json.loads(private.read_text())
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    printed = json.loads(done.out)
    assert (printed["left_out"], printed["report"]) == (4, str(private))
    assert not [
        name for name in (*mine.rglob("*"), Path("holiday.jpg")) if name.is_file() and name.name in done.out + done.err
    ]
    assert "holiday" not in done.out + done.err
    assert not (out / "import-report.json").exists()
    reasons = {item["case_id"]: item["reason"] for item in report["skipped"]}
    assert len(reasons) == 4
    assert "is no DICOM file" in reasons["holiday.jpg"]
    assert "burnt into its pixels" in reasons[str(radiographs[-1].relative_to(mine))]
    assert report["scans"] == len({f.parent for f in tree.rglob("001.dcm")}) - 3


def test_a_header_that_holds_something_else_under_a_name_costs_its_study_alone(tree: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(tree, tmp_path / "tree")
    studies = len(imported(tree, tmp_path / "before"))
    odd = pydicom.dcmread(next(file for file in sorted(mine.rglob("*.dcm")) if "CT" in _modality(file)))
    odd[0x0008, 0x0008] = DataElement(0x00080008, "US", 5)  # Image Type
    odd.save_as(odd.filename)
    assert len(imported(mine, tmp_path / "cases")) == studies - 1


def _modality(file: Path) -> str:
    return str(pydicom.dcmread(file, stop_before_pixels=True).Modality)


def test_localizers_stay_out_and_single_radiographs_of_a_series_are_scans(tree: Path, tmp_path: Path) -> None:
    mine = tmp_path / "tree"
    study = next(f.parents[1] for f in sorted(tree.rglob("001.dcm")) if pydicom.dcmread(f).Modality == "CT")
    shutil.copytree(study, mine / "a")
    for series in sorted((mine / "a").glob("series-*"))[1:]:
        shutil.rmtree(series)
    scout = pydicom.dcmread(mine / "a" / "series-1" / "001.dcm")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SeriesInstanceUID += ".9"
    scout.save_as(mine / "a" / "scout.dcm")
    import_cases("dicom", mine, tmp_path / "cases")
    assert [len(case.scans) for case in read_cases(tmp_path / "cases")] == [1]
    for number, file in enumerate(sorted((mine / "a" / "series-1").iterdir())):
        plain = pydicom.dcmread(file)
        plain.Modality, plain.ViewPosition = "DX", "PA" if number else "LL"
        plain.save_as(file)
    import_cases("dicom", mine, tmp_path / "cases", force=True)
    assert [len(case.scans) for case in read_cases(tmp_path / "cases")] == [CT_SLICES]


@pytest.mark.parametrize("localizers", [1, 2])
def test_a_series_that_begins_with_its_localizer_keeps_the_rest(localizers: int, tree: Path, tmp_path: Path) -> None:
    mine = tmp_path / "tree"
    first = next(f for f in sorted(tree.rglob("001.dcm")) if pydicom.dcmread(f).Modality == "CT")
    shutil.copytree(first.parent, mine / "a")
    for number in range(localizers):
        scout = pydicom.dcmread(mine / "a" / "001.dcm")
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        scout.save_as(mine / "a" / f"000-{number}.dcm")
    radiograph = pydicom.dcmread(mine / "a" / "001.dcm")
    radiograph.Modality, radiograph.SeriesInstanceUID = "DX", radiograph.SeriesInstanceUID + ".7"
    radiograph.save_as(mine / "b.dcm")
    done = import_cases("dicom", mine, tmp_path / "cases")
    [case] = read_cases(tmp_path / "cases")
    assert [(scan.modality, scan.plane) for scan in case.scans] == [("CT", "Axial"), ("CR", "Axial")]
    kept = read_scan(tmp_path / "cases" / case.scans[0].file)
    for ours, alone in zip(kept.pictures, read_scan(first.parent).pictures, strict=True):
        np.testing.assert_array_equal(ours, alone)
    [left_out] = done.skipped
    assert left_out.case_id == "a/000-0.dcm"
    assert "localizer" in left_out.reason
    asked = read_scan(mine / "a")  # as a query reads the folder itself
    assert f"{localizers} left out: localizer" in asked.notes
    for ours, alone in zip(asked.pictures, read_scan(first.parent).pictures, strict=True):
        np.testing.assert_array_equal(ours, alone)


def test_a_study_of_localizers_alone_is_kept(tree: Path, tmp_path: Path) -> None:
    first = next(f for f in sorted(tree.rglob("001.dcm")) if pydicom.dcmread(f).Modality == "CT")
    shutil.copytree(first.parent, tmp_path / "tree")
    for file in (tmp_path / "tree").iterdir():
        scout = pydicom.dcmread(file)
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        scout.save_as(file)
    done = import_cases("dicom", tmp_path / "tree", tmp_path / "cases")
    assert [len(case.scans) for case in read_cases(tmp_path / "cases")] == [1]
    assert not done.skipped
    assert not read_scan(tmp_path / "tree").notes


def test_a_structured_report_is_read_by_its_headings() -> None:
    def item(kind: str, meaning: str, **values: object) -> Dataset:
        name, found = Dataset(), Dataset()
        name.CodeMeaning = meaning
        found.ValueType, found.ConceptNameCodeSequence = kind, Items([name])
        for key, value in values.items():
            setattr(found, key, value)
        return found

    unit, value, coded = Dataset(), Dataset(), Dataset()
    unit.CodeValue = "mm"
    value.NumericValue, value.MeasurementUnitsCodeSequence = "12", Items([unit])
    coded.CodeMeaning = "Pleural effusion"
    report = Dataset()
    report.ContentSequence = Items(
        [
            item("PNAME", "Person Observer Name", PersonName="House^Gregory"),
            item("TEXT", "Reason for study", TextValue="Cough."),
            item("CONTAINER", "Findings", ContentSequence=Items([
                item("TEXT", "Finding", TextValue="A nodule."),
                item("NUM", "Diameter", MeasuredValueSequence=Items([value])),
                item("CODE", "Finding", ConceptCodeSequence=Items([coded])),
            ])),
            item("TEXT", "Conclusion", TextValue="Granuloma."),
        ]
    )  # fmt: skip
    found = report_sections(report)
    assert found.history == "Cough."
    assert found.findings == "A nodule.\ndiameter 12 mm\nPleural effusion"
    assert found.impression == "Granuloma."


def test_ages_are_years_and_the_oldest_are_ninety() -> None:
    assert [age_years(a) for a in ("045Y", "018M", "102Y", "old", None)] == [45, 1.5, 90, None, None]
    assert np.isclose(age_years("026W") or 0, 0.5, atol=0.01)


def test_options_that_a_source_does_not_take_are_refused(refused: Callable, medclip: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    line = refused(medclip("cases", "import", "sample", "--key", tmp_path / "k", "--out", tmp_path / "out"))
    assert "takes no --key" in line


def test_hashes_are_keyed() -> None:
    assert Key(b"a" * 32).hashed("case", "1.2.3") != Key(b"b" * 32).hashed("case", "1.2.3")
