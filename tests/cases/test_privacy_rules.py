"""What the rules of de-identification take out and leave, a row for each way that they once went wrong."""

import itertools
from typing import Any

import pytest

from medclip.cases.privacy.header import identifiers_of
from medclip.cases.privacy.scrub import REMOVED, Scrubber
from tests.cases.studies import cleaned, header_of


@pytest.mark.parametrize(
    "values",
    [{}, {"PatientName": "No^An", "StudyID": "4", "StudyDate": "20240304", "PatientID": "MRN-3"}],
    ids=["no header", "a header"],
)
def test_no_negation_is_removed(values: dict[str, Any]) -> None:
    things = ["study", "exam", "case", "patient", "unit", "scan", "chart", "report", "specimen", "visit", "subject", "order",
              "cell", "contact"]  # fmt: skip
    findings = ["T2 hyperintense lesion", "L5 fracture", "4 mm nodule", "3 cm mass", "T12 defect", "2.5 x 3.1 cm cyst",
                "10 mm stone", "1500 ml effusion", "B12 deficiency", "C3-C4 stenosis"]  # fmt: skip
    scrubber = Scrubber(identifiers_of(header_of(**values)))
    for lead, thing, finding in itertools.product(("On this", "In prior", "The"), things, findings):
        for end in (" is seen.", "."):
            text = f"{lead} {thing} no {finding}{end}"
            assert scrubber.scrub(text) == text


@pytest.mark.parametrize(
    "written", ["Case no. 4711", "patient No: 77", "exam no 20417", "Study no #4", "case no A-4711"]
)
def test_a_number_after_no_is_removed_where_it_is_one(written: str) -> None:
    assert cleaned(f"See {written} for more.") == f"See {REMOVED} for more."


@pytest.mark.parametrize("written", ["14FEB1931", "04MAR2024", "04MAR24", "14Feb1931", "Mar2024"])
def test_dates_without_a_space_are_removed(written: str) -> None:
    assert cleaned(f"DOB {written}, no mass.") == f"DOB {REMOVED}, no mass."
    assert cleaned("Marked 12 cm, decreased 20 HU, mar 3.") == "Marked 12 cm, decreased 20 HU, mar 3."


@pytest.mark.parametrize(
    ("name", "written"),
    [("Al-Ghamdi^Ali", "Alghamdi"), ("El Sayed^A", "ElSayed"), ("De la Cruz^B", "DELACRUZ"), ("Van den Berg^C", "Vandenberg")],
)  # fmt: skip
def test_a_family_name_with_particles_goes_as_one_word_too(name: str, written: str) -> None:
    assert cleaned(f"Seen with {written} today.", PatientName=name) == f"Seen with {REMOVED} today."


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize(
    ("name", "written"), [("王^小明", "王小明"), ("Müller^Jörg", "Müller"), ("Wang^X=王^小明", "小明")]
)
def test_a_name_is_known_though_its_header_names_no_character_set(encoding: str, name: str, written: str) -> None:
    misread = name.encode(encoding).decode("latin-1")  # as pydicom reads it
    assert written not in cleaned(f"Seen with {written}, no mass.", PatientName=misread)
    item = header_of(PatientName=misread)
    assert written not in cleaned(f"Seen with {written}, no mass.", ReferencedPatientAliasSequence=[item])


@pytest.mark.parametrize(
    "named",
    [
        "Mr J Ravindranath", "Dr P Hettiarachchi", "Dr JR Smith", "MRS HUBER", "MR. HUBER", "DR SMITH", "dr smith", "Dr. Şahin",
        "Dr. Čapek", "Dr. al-Ghamdi", "Sra. Maria Lopez", "Dra. Ximena Ibarra", "Sister Noura", "Dr. WU", "Dr John A Smith",
        "Pt Name: Anna Huber", "PatientName: Huber^Anna", "Huber^Anna", "王^小明",
    ],
)  # fmt: skip
def test_a_name_goes_after_any_title_or_as_a_header_writes_it(named: str) -> None:
    found = cleaned(f"On Tuesday {named}, no mass.")
    assert found.endswith(f"{REMOVED}, no mass.")
    assert found.replace(f"{REMOVED}, no mass.", "").removeprefix("On Tuesday ").strip() in {
        "", "Mr", "Dr", "Dr.", "MRS", "MR.", "DR", "dr", "Sra.", "Dra.", "Sister", "Pt Name:", "PatientName:"
    }  # fmt: skip


def test_all_who_get_a_copy_are_removed() -> None:
    assert cleaned("cc: Dr A Jones, Dr B Khan") == f"cc: Dr {REMOVED}"


@pytest.mark.parametrize(
    "text",
    [
        "Dr CT Chest. MR ANGIOGRAPHY OF THE HEAD. MS PLAQUES. MRS SHOWS CHOLINE.",
        "MR MIP images. On MR. This is MS. The rest. DR to review. Ask dr to call.",
        "A Sister Mary Joseph nodule. 10^3/mm^3. Mr. and Mrs. were told. Reported to ICU. Performed by IR.",
    ],
)
def test_words_after_what_may_be_a_title_stay(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"EthnicGroup": "White"}, "Confluent white matter disease. White cell count normal."),
        ({"InstitutionName": "San Antonio Hospital"}, "Acute SAH."),
        ({"InstitutionName": "South Devon Hospital"}, "Left SDH."),
        ({"InstitutionName": "Harlow Community Clinic"}, "HCC in segment 4."),
        ({"InstitutionName": "Royal University London"}, "RUL nodule."),
        ({"InstitutionalDepartmentName": "Breast Thoracic Renal Cardiac"}, "Breast, thoracic, renal and cardiac findings."),
        ({"OperatorsName": ["AC", "SI", "LAD", "CBD", "NG", "HU", "LI"]},
         "The AC joint, SI joint and LAD; CBD 5 mm; NG tube; 35 HU; LI-RADS 4."),
        ({"ReferringPhysicianName": "Ng^Siew"}, "NG tube in place."),
        ({"OperatorsName": ["Wilson^A", "Hodgkin^B", "Crohn^C", "Paget^D", "Cobb^E", "Baker^F", "Gleason^G", "Kerley^H"]},
         "Wilson disease, Hodgkin lymphoma, Crohn's disease, Paget disease, Cobb angle 20, a Baker cyst, A Baker cyst, "
         "Gleason score 7, Kerley B lines, non-Hodgkin lymphoma."),
        ({"InstitutionName": "Wilson Memorial Clinic"}, "Wilson's disease."),
    ],
)  # fmt: skip
def test_words_of_a_header_that_mean_something_else_stay(values: dict[str, Any], text: str) -> None:
    assert cleaned(text, **values) == text


@pytest.mark.parametrize(
    ("values", "text", "secret"),
    [
        ({"OperatorsName": "HU"}, "Scanned with Dr. HU today.", "HU"),
        ({"OperatorsName": "Ng^Alan"}, "Scanned with Ng and NG, ALAN.", "ng"),
        ({"ReferringPhysicianName": "Wilson^Amy"}, "Dr. Wilson disease clinic; Amy Wilson lesion talk; asked Wilson.", "wilson"),
        ({"InstitutionName": "San Antonio Hospital"}, "Seen at San Antonio.", "antonio"),
        ({"InstitutionName": "Wilson Memorial Clinic"}, "Seen at Wilson.", "wilson"),
    ],
)  # fmt: skip
def test_such_words_go_where_they_name(values: dict[str, Any], text: str, secret: str) -> None:
    assert secret not in cleaned(text, **values).lower().replace("scanned", "")
