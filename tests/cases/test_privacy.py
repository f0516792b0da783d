"""What identifies a person does not reach a cases folder, and what reached one is found."""

import csv
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

from medclip.cases import read_cases
from medclip.cases.importing import import_cases
from medclip.cases.privacy.header import profile
from medclip.cases.privacy.scrub import OLD, REMOVED
from medclip.cases.sources import Options
from medclip.cases.structured_report import report_sections
from tests.cases.studies import cleaned, radiograph, report_of

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "privacy.py"


def everything_in(folder: Path) -> bytes:
    return b"\n".join(file.name.encode() + file.read_bytes() for file in folder.rglob("*") if file.is_file()).lower()


def test_names_of_staff_and_relatives_do_not_reach_the_cases(tmp_path: Path) -> None:
    observer, birth = Dataset(), Dataset()
    observer.VerifyingObserverName, birth.PatientBirthName = "Ravensdale^Octavia", "Thistlewood^Ada"
    scan = radiograph(
        PatientName="Huber^Anna", ReferringPhysicianName="Castellano^Bruno", PerformingPhysicianName="Delacroix^Luc",
        NameOfPhysiciansReadingStudy=["Marchetti^Gina", "Okafor^Uche"], OperatorsName="Pemberton^Kit",
        RequestingPhysician="Wu^Li", PatientMotherBirthName="Featherstone^Eve", OtherPatientNames="Whitfield^Anna",
        ResponsiblePerson="Kirkpatrick^Roy", VerifyingObserverSequence=Items([observer]), 
        ReferencedPatientAliasSequence=Items([birth]),
    )  # fmt: skip
    names = ["Castellano", "Delacroix", "Marchetti", "Okafor", "Pemberton", "Featherstone", "Whitfield", "Kirkpatrick"]
    names += ["Ravensdale", "Octavia", "Thistlewood", "Huber", "Wu"]
    tree = tmp_path / "tree"
    tree.mkdir()
    scan.save_as(tree / "scan.dcm", enforce_file_format=True)
    report_of(scan, *(f"Seen by {name}; no mass." for name in names)).save_as(tree / "sr.dcm", enforce_file_format=True)
    import_cases("dicom", tree, tmp_path / "cases")
    found = everything_in(tmp_path / "cases")
    assert found.count(b"no mass") == len(names)
    assert not [name for name in names if f"{name.lower()};".encode() in found]


@pytest.mark.parametrize(
    "written",
    ["Huber", "HUBER, ANNA", "anna huber", "A. Huber", "Huber A.", "Frau Huber", "Huber's", "Huber^Anna", "AnnaHuber",
     "huber_anna"],
)  # fmt: skip
def test_a_name_is_removed_as_people_write_it(written: str) -> None:
    text = f"Discussed with {written} today: no mass."
    assert "uber" not in (found := cleaned(text, PatientName="Huber^Anna")).lower()
    assert found.endswith("today: no mass.")


def test_accents_humps_and_word_breaks_make_no_other_name() -> None:
    names = ["Müller^Jürgen", "O'Brien^Seán", "Fernández-López^José", "Wang^XiaoMing", "Mueller^Doerte"]
    text = "Mueller, Muller, MÜLLER, mu\u0308ller, Dörte, O’Brien, O Brien, OBrien, Sean, Fernandez Lopez"
    text += ", Xiaoming, Xiao Ming, Xiao-Ming"
    assert set(cleaned(text, OtherPatientNames=names).replace(REMOVED, "")) <= set(", ")


def test_ordinary_words_go_only_where_they_name() -> None:
    names = ["Long^Small", "Wu^Li", "No^An", "Head^Mark"]
    text = "Small nodule, no mass. A long head of biceps. An MRI. No mark, on the left. HEAD CT"
    assert cleaned(text, OtherPatientNames=names) == text
    for named in ("Mr. Long", "Dr. No", "Small Long", "Wu", "Li Wu", "mr long", "seen by Mark"):
        assert REMOVED in cleaned(f"It was seen by {named} as well.", OtherPatientNames=names), named
    assert "White" not in cleaned("The patient, Í. White, was informed.", PatientName="White^Íñigo")


def test_chinese_names_go_whole_and_with_a_title() -> None:
    found = cleaned(
        "患者王小明，小明，王医生，王女士。主任医师会诊，国王，王^小明。", PatientName="Wang^Xiaoming=王^小明"
    )
    assert found == f"患者{REMOVED}，{REMOVED}，{REMOVED}医生，{REMOVED}女士。主任医师会诊，国王，{REMOVED}。"


@pytest.mark.parametrize(
    "written",
    [
        "12 March 1921", "12.3.21", "1921/03/12", "03/12/21", "12-Mar-1921", "03/1921", "March 12th, 1921", "12th of March 1921",
        "19210312", "1921年3月12日", "3月12日", "一九二一年三月十二日", "１９２１年３月１２日",
        "12. März 1921", "12 mars 1921", "12.III.1921",
        "Mar 12 '21", "12/03/1921 14:32", "Sept. 2004", "01Jan", "3/08",
    ],
)  # fmt: skip
def test_a_date_is_removed_in_every_spelling_though_no_header_names_it(written: str) -> None:
    found = cleaned(f"The film of {written} shows no mass.")
    assert found == f"The film of {REMOVED} shows no mass."


def test_a_header_s_dates_and_times_go_without_year_and_date() -> None:
    values = {"StudyDate": "20240517", "StudyTime": "143205"}
    text = "Compared on 5/17, am 17.5. and at 14:32, 2:32 pm or 14.32 Uhr: 5/17 nodes, 14.32 mm."
    assert cleaned(text, **values).count(REMOVED) == 5
    assert cleaned(text, **values).endswith(": 5/17 nodes, 14.32 mm.")


@pytest.mark.parametrize(
    "written", ["MRN-998877", "MRN 998877", "998877", "mrn998877", "MRN_998877", "998 877", "00998877"]
)
def test_a_number_is_removed_however_it_is_grouped(written: str) -> None:
    assert "877" not in cleaned(f"See {written} for more.", PatientID="MRN-998877", AccessionNumber="123456")
    assert "456" not in cleaned("See ACC-123456.", PatientID="MRN-998877", AccessionNumber="123456")


def test_contacts_addresses_and_parts_of_a_place_s_name_go() -> None:
    values = {
        "PatientAddress": "12 Baker Street^Aylesbury^57073", "PatientTelephoneNumbers": "+43 316 3851234",
        "InstitutionName": "Klinikum Oberwaltersdorf Nord", "StationName": "AVANTOX",
    }  # fmt: skip
    text = "Lives in Baker Street, 57073 Aylesbury; 0316/385-1234; the OBERWALTERSDORF clinic; on AVANTOX; a.b@c.org; 5 Elm Road."
    found = cleaned(text, **values)
    assert not [
        word for word in ("Baker", "57073", "Ayles", "1234", "WALTERS", "AVANTOX", "c.org", "Elm") if word in found
    ]
    assert (
        cleaned("The general hospital and clinic of the north.", **values)
        == "The general hospital and clinic of the north."
    )


@pytest.mark.parametrize(
    "written", ["93-year-old", "93 y/o", "aged 93", "age: 93", "93岁", "ninety-three-year-old", "93 years of age"]
)
def test_ages_over_89_are_said_to_be_so(written: str) -> None:
    found = cleaned(f"A {written} patient.")
    assert OLD in found
    assert "93" not in found.replace(OLD, "")
    assert "three" not in found
    assert cleaned(f"A {written} patient.".replace("93", "89").replace("ninety", "eighty")).count("[") == 0


@pytest.mark.parametrize(
    "text",
    [
        "A 3.5 x 2.1 cm mass, T1/T2 bright, at L4/5 and C3-C4; 12/15 nodes; series 4 image 112; 7.5 mm.",
        "BI-RADS 4, Gleason 3+4=7, pT2 N1 M0, SUV 12.3, 120/80 mmHg, L1/2/3, 8/10 pain, ICD-10 J18.9, 20/40 vision.",
        "100 ml of iohexol 350 at 3 ml/s; 412 mGy cm; platelets 210000; the 2017 guideline; 6-12 months; Fever 103 F.",
        "May represent a granuloma. 4. May consider biopsy. MR spectroscopy. Read as reactive. Performed by CT. Wilms tumour.",
        "右肺上叶3.5×2.1cm肿块，第4序列第112层，67岁，10点钟方向，随访24个月，主任医师查看，高年资医师复核。",
    ],
)
def test_measurements_levels_and_scores_stay(text: str) -> None:
    assert (
        cleaned(text, StudyDate="20240517", StudyTime="101500", PatientID="P-77", StudyID="1", StationName="CT1")
        == text
    )


def test_a_table_s_labels_and_ages_are_de_identified_too(tmp_path: Path) -> None:
    scan = radiograph(PatientName="Huber^Anna", AccessionNumber="ACC-4711", ViewPosition="Huber PA", PatientAge="")
    tree = tmp_path / "tree"
    tree.mkdir()
    scan.save_as(tree / "scan.dcm", enforce_file_format=True)
    row = {
        "study": "ACC-4711", "age": "97", "patient": "Huber", "history": "Huber, 97 years old, fell on 5 May 2024.",
        "label.finding": "mass", "label.reader": "Dr. Huber", "diagnosis": "As Huber feared on 3/4/2024.", 
        "measure.temperature": "38.9Cel",
    }  # fmt: skip
    with (tmp_path / "reports.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(row))
        table.writeheader()
        table.writerow(row)
    report = import_cases("dicom", tree, tmp_path / "cases", options=Options(reports=tmp_path / "reports.csv"))
    [case] = read_cases(tmp_path / "cases")
    assert b"huber" not in everything_in(tmp_path / "cases")
    assert case.age == 90
    assert case.labels == {"finding": "mass", "modality": "CR"}
    assert [skipped.reason for skipped in report.skipped] == [
        "its label reader holds an identifier and is left unknown"
    ]
    assert case.note_text("history") == f"{REMOVED}, {OLD} years old, fell on {REMOVED}."
    assert case.outcome.diagnosis == f"As {REMOVED} feared on {REMOVED}."
    assert case.measurements[0].value == 38.9
    assert case.scans[0].plane is None


def test_a_view_is_kept_where_it_is_a_term_of_the_standard(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    radiograph(ViewPosition="ap").save_as(tree / "scan.dcm", enforce_file_format=True)
    import_cases("dicom", tree, tmp_path / "cases")
    assert read_cases(tmp_path / "cases")[0].scans[0].plane == "AP"


def test_subject_and_observer_contexts_of_a_report_stay_out() -> None:
    study = radiograph()
    report = report_of(study, "No mass.", "Anna Huber")
    report.ContentSequence[1].RelationshipType = "HAS OBS CONTEXT"
    assert report_sections(report).findings == "No mass."


def test_names_of_source_files_are_in_the_private_report_alone(
    tmp_path: Path, medclip: Callable, refused: Callable  # type: ignore[type-arg]
) -> None:  # fmt: skip
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "huber_anna_1921.dcm").write_bytes(b"no DICOM file at all" * 20)
    failed = medclip("cases", "import", "dicom", tree, "--out", tmp_path / "cases")
    line = refused(failed)
    private = tmp_path / "cases.key.import-report.json"
    assert "huber" not in (failed.out + failed.err).lower()
    assert str(private) in line
    assert "huber_anna_1921.dcm" in private.read_text()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


# ---- against the reference


def _tables() -> Iterator[tuple[str, dict[Tag, str]]]:
    """The tables of dicom-anonymizer, by edition: tag → action as PS3.15 writes it."""
    from importlib import import_module

    pytest.importorskip("dicomanonymizer", reason="the reference, of the extra dev")
    lists = {
        "D": "D",
        "Z": "Z",
        "X": "X",
        "U": "U",
        "Z_D": "Z/D",
        "X_Z": "X/Z",
        "X_D": "X/D",
        "X_Z_D": "X/Z/D",
        "X_Z_U_STAR": "X/Z/U*",
    }
    for edition in ("2024b", "2026c"):
        module = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition}")
        yield (
            edition,
            {
                Tag(tag): action
                for name, action in lists.items()
                for tag in getattr(module, f"{name}_TAGS")
                if len(tag) == 2
            },
        )


def test_the_table_is_that_of_the_standard() -> None:
    ours = {tag: row.action for tag, row in profile().items()}
    for edition, table in _tables():
        assert not table.keys() - ours.keys(), edition
        if edition == "2026c":
            assert table == ours


def _token(place: int, vr: str) -> Any:
    """A value of a VR that stands nowhere else."""
    serial = 700000 + place
    tokens = {
        "PN": f"Qzx{serial}^Vyk{serial}", "DA": f"{1700 + place % 90}{place % 12 + 1:02d}{place % 28 + 1:02d}", "AS": "091Y",
        "DT": f"{1700 + place % 90}{place % 12 + 1:02d}{place % 28 + 1:02d}101500", 
        "TM": f"{place % 24:02d}{place % 60:02d}{place % 59:02d}",
        "UI": f"1.2.826.0.1.3680043.8.498.{serial}", "DS": f"{serial}.25", "IS": str(serial), "US": 65000 - place % 5000,
        "OB": f"qzx{serial}!".encode(), "UN": f"qzx{serial}!".encode(), "CS": f"QZX{serial}", "AE": f"QZX{serial}",
    }  # fmt: skip
    return tokens.get(vr, f"qzx{serial}")


@pytest.mark.slow
def test_no_value_that_the_reference_acts_on_survives_in_any_byte(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    table = dict(_tables())["2024b"]
    scan, nested = radiograph(), Dataset()
    tokens: dict[str, bytes] = {}
    for place, tag in enumerate(sorted(table)):
        keyword = keyword_for_tag(tag)
        if tag.group in (0, 2, 4) or not keyword or (vr := dictionary_VR(tag)) == "SQ" or keyword == "PatientSex":
            continue
        value = _token(place, vr)
        setattr(nested if place % 4 == 0 and not hasattr(scan, keyword) else scan, keyword, value)
        if vr not in ("US", "AS"):
            tokens[keyword] = value if isinstance(value, bytes) else str(value).partition("^")[0].encode()
    scan.ActualHumanPerformersSequence = Items([nested])
    assert len(tokens) > 400
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / f"qzx{10**6}.dcm"
    scan.save_as(file, enforce_file_format=True)
    mentioned = [
        token.decode() for name, token in tokens.items() if profile()[Tag(pydicom.datadict.tag_for_keyword(name))].kind
    ]
    assert len(mentioned) > 250
    report_of(scan, *(f"Seen with {token} today." for token in mentioned)).save_as(
        tree / "sr.dcm", enforce_file_format=True
    )
    (tree / f"qzx{10**6 + 1}.dcm").write_bytes(file.read_bytes()[:1000])
    done = medclip("cases", "import", "dicom", tree, "--out", tmp_path / "cases")
    assert done.code == 1, "the study that is cut off is left out"
    found = everything_in(tmp_path / "cases") + (done.out + done.err).lower().encode()
    short = {name for name, token in tokens.items() if len(token) < 6}
    assert not short
    survived = {name for name, token in tokens.items() if token.lower() in found}
    assert not survived
    assert str(10**6).encode() not in found  # the files' names


@pytest.mark.slow
def test_planted_identifiers_are_removed_and_other_words_stay() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARK), "--studies", "2", "--seed", "3", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(ran.stdout)
    assert ran.returncode == 0, found["missed"]
    assert found["planted"] > 1200
    assert found["recall"] >= 0.99
    assert max(found["lost"].values()) <= 0.01


# ---- what is in a cases folder already


def write_folder(folder: Path, *cases: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    return folder


def leaks(done: Any) -> dict[tuple[str, str], list[str]]:
    """Kind and place → where, of a check in JSON."""
    problems = [p for p in json.loads(done.out)["problems"] if p["kind"].startswith("privacy-")]
    return {
        (p["kind"].removeprefix("privacy-"), p["message"].partition(" in ")[2].rpartition(":")[0]): p["case_ids"]
        for p in problems
    }


def test_what_a_cases_folder_still_says_is_counted_and_never_quoted(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    picture = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    folder = tmp_path / "cases"
    (folder / "scans").mkdir(parents=True)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "Patient name: Anna Huber, MRN: 998877")
    picture.save(folder / "scans" / "a.png", pnginfo=text)
    exif = Image.Exif()
    exif[315], exif[306] = "Bruno Castellano", "2024:05:17 10:15:00"
    picture.save(folder / "scans" / "b.jpg", exif=exif)
    radiograph(PatientName="Delacroix^Luc", StudyDate="20240517").save_as(
        folder / "scans" / "c.dcm", enforce_file_format=True
    )
    picture.save(folder / "scans" / "20240517.png")
    (folder / "notes.txt").write_text("Ask Dr. Okafor, tel. 0316/385-1234")
    (folder / "scans" / "huber.dcm").write_bytes((folder / "scans" / "c.dcm").read_bytes())
    scans = {"x-1": "a.png", "x-2": "b.jpg", "x-3": "c.dcm", "x-4": "20240517.png"}
    cases = [{"id": name, "patient": name, "scans": [{"file": f"scans/{file}"}]} for name, file in scans.items()]
    cases += [
        {"id": "x-5", "notes": [{"kind": "history", "text": "Seen by Dr. Marchetti on 5 May 2024."}], "age": 97},
        {
            "id": "MRN-44556677",
            "notes": [{"kind": "findings", "text": "No mass, 3.5 x 2.1 cm."}],
            "labels": {"reader": "Dr. Wu"},
        },
    ]
    write_folder(folder, *cases)
    done = medclip("cases", "check", folder, "--privacy", "--json")
    assert done.code == 1
    found = leaks(done)
    assert found["name", "texts"] == found["date", "texts"] == found["age", "labels and facts"] == ["x-5"]
    assert found["name", "labels and facts"] == found["number", "ids"] == ["case 6"]
    assert found["date", "file names"] == ["x-4"]
    assert found["name", "metadata of scans"] == ["x-1", "x-2", "x-3"]
    assert found["number", "metadata of scans"] == ["x-1", "x-3"]
    assert found["contact", "other files"] == ["notes.txt"]
    assert found["name", "other files"] == ["notes.txt", "scans/huber.dcm"]
    shown = medclip("cases", "check", folder, "--privacy")
    assert shown.code == 1
    for secret in (
        "Anna",
        "998877",
        "Castellano",
        "Delacroix",
        "2024",
        "Okafor",
        "385",
        "Marchetti",
        "97",
        "44556677",
        "Wu",
    ):
        assert secret not in done.out
        assert secret not in shown.out.replace(str(folder), ""), secret


def test_an_import_of_dicom_passes_the_check(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    scan = radiograph(PatientName="Huber^Anna", StudyDate="20240517", PatientID="MRN-998877", PatientAge="097Y")
    tree = tmp_path / "tree"
    tree.mkdir()
    scan.save_as(tree / "huber.dcm", enforce_file_format=True)
    report_of(scan, "Anna Huber, 97 years old, MRN 998877, on 17 May 2024: no mass.").save_as(
        tree / "sr.dcm", enforce_file_format=True
    )
    assert medclip("cases", "import", "dicom", tree, "--out", tmp_path / "cases").code == 0
    done = medclip("cases", "check", tmp_path / "cases", "--privacy", "--json")
    assert done.code == 0, done.out
    assert leaks(done) == {}


def test_a_recorded_voice_is_named_and_is_no_error(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    folder = write_folder(
        tmp_path / "cases",
        {
            "id": "x",
            "notes": [{"kind": "history", "text": "Cough."}],
            "recordings": [{"file": "a.wav", "kind": "findings"}],
        },
    )
    (folder / "a.wav").write_bytes(b"RIFF")
    done = medclip("cases", "check", folder, "--privacy", "--json")
    assert done.code == 0, done.out
    assert leaks(done) == {("voice", "recordings"): ["x"]}
