"""What the rules of de-identification take out and leave, a row for each way that they once went wrong."""

import itertools
from time import process_time
from typing import Any

import pytest

from medclip.cases.privacy.header import identifiers_of
from medclip.cases.privacy.scrub import OLD, REMOVED, Scrubber
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
                "10 mm stone", "1500 ml effusion", "2019 exam", "10000 ng/ml marker", "B12 deficiency",
                "C3-C4 stenosis"]  # fmt: skip
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
        "Mr J Ravindranath", "Dr P Hettiarachchi", "Dr JR Smith", "MRS HUBER", "MRS ANDERSON", "DR TORRES", "MS ORTIZ",
        "DR NEWTON", "Mr B J Ortiz", "MR. HUBER", "DR SMITH", "dr smith",
        "Dr. Şahin",
        "Dr. Čapek", "Dr. al-Ghamdi", "Sra. Maria Lopez", "Dra. Ximena Ibarra", "Sister Noura", "Dr. WU", "Dr John A Smith",
        "Pt Name: Anna Huber", "PatientName: Huber^Anna", "Huber^Anna", "王^小明",
    ],
)  # fmt: skip
def test_a_name_goes_after_any_title_or_as_a_header_writes_it(named: str) -> None:
    found = cleaned(f"On Tuesday {named}, no mass.")
    assert found.endswith(f"{REMOVED}, no mass.")
    assert found.replace(f"{REMOVED}, no mass.", "").removeprefix("On Tuesday ").strip() in {
        "", "Mr", "Dr", "Dr.", "MRS", "MR.", "MS", "DR", "dr", "Sra.", "Dra.", "Sister", "Pt Name:", "PatientName:"
    }  # fmt: skip


def test_all_who_get_a_copy_are_removed() -> None:
    assert cleaned("cc: Dr A Jones, Dr B Khan") == f"cc: Dr {REMOVED}"


@pytest.mark.parametrize(
    "text",
    [
        "Dr CT Chest. MR ANGIOGRAPHY OF THE HEAD. MS PLAQUES. MRS SHOWS CHOLINE.",
        "MR TECHNIQUE: AXIAL. MR RIGHT KNEE. DR LEFT HAND. MS VS ADEM. MR COMPARISON: NONE. MS FLARE. DR PORTABLE CHEST.",
        "MR IMAGES. MR MIP images. On MR. This is MS. The rest. DR to review. Ask dr to call.",
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


# ---- ages, days without a year, findings that look like either


@pytest.mark.parametrize(
    "written",
    ["93F, fell.", "Pt is 93F", "93/M", "Age/Sex: 93/M", "93Y/F", "93yoF with cough", "93 female with cough",
     "Nonagenarian, fell.", "Recently turned 93.", "M/93, fell.", "093Y"],
)  # fmt: skip
def test_an_age_over_89_goes_in_short_forms_too(written: str) -> None:
    found = cleaned(written)
    assert OLD in found
    assert "93" not in found.replace(OLD, "")
    younger = written.replace("93", "67").replace("Nonagenarian", "Septuagenarian")
    assert cleaned(younger) == younger


@pytest.mark.parametrize("written", ["DOB 1931", "YOB: 1931", "born 1931", "Huber (1931)", "*1931"])
def test_a_year_of_birth_goes(written: str) -> None:
    found = cleaned(f"Female, {written}, follow-up of 1999.", PatientBirthDate="19310214", PatientName="Huber^A")
    assert "1931" not in found
    assert found.endswith("follow-up of 1999.")


@pytest.mark.parametrize(
    ("written", "values"),
    [(written, {"StudyDate": "20240304"}) for written in
     ("study 3/4", "of 3/4", "from 3/4", "prior 3/4", "seen (3/4)", "study: 4/3", "vom 4.3.")]
    + [(written, {"PatientBirthDate": "19310214"}) for written in ("birthday 2/14", "born 14.2.", "DOB 2/14", "DOB: 14/2")]
    + [(written, {}) for written in
       ("Compared to 3/4", "CT from 11/2", "prior study of 11/2", "on march 4th", "Mar-04", "March the 4th", "3. mars",
        "4 august")],
)  # fmt: skip
def test_a_day_without_a_year_goes(written: str, values: dict[str, str]) -> None:
    found = cleaned(f"Stable, {written}, no mass.", **values)
    assert REMOVED in found
    assert not set("1234") & set(found)


@pytest.mark.parametrize(
    "text",
    [
        "Grade of 3/4, score 3/4, Deauville 3/4, BI-RADS 3/4, 3/4 nodes, strength 3/4, murmur of 3/4, reduced to 3/4 of normal.",
        "Compared to 3/4 of patients. A 4th ventricle may 4 be. Decreased from 3/4 strength. Level (3/4).",
        "Compared to 1/2 dose. Involves lesions from 3/4 to 4/4, of 3/4 thickness, with 3/4 flow. CT with 3/4 pitch.",
        "PA/lat\n", "Ring at C5 dot hemorrhage.", "Ext: 123 degrees.", "DECT 120 kV", "WBC 120/M", "2 march fractures",
        "CC: Architectural distortion", "CC: Chest pain", "CC: Hematuria", "Contact: Isolation", "Exam no: 4 mm nodule",
        "mother: Breast cancer at 45; father: Prostate cancer",
        "white cell 11.2", "white cell 11200", "cell 3.5 2.1 cm", "02/15 nodes positive", "N1 (4/05) M0", "image 12/05",
        "TR/TE 5/2000", "Signed: Normal", "Patient: Supine", "T1 3DT", "Temp 101F, fever 103F, of 99F.", "Tc 99M sestamibi",
        "Sister Hospital", "In 120 female patients.", "CPR for 30 minutes.", "Daughter cysts. Daughter Cysts. Sister chromatid.",
        "Mother denies pain.", "母亲高血压，父亲曾患白血病", "Pager to be worn.",
        "The mass was noted.In the liver.", "Prior exam of 3/4 cores.",
        "A 97 mm mass turned 93 degrees.", "A ratio of 3.4, SUV of 4.3 in station 7, with 3-4 nodules. A ratio of 3.4.",
    ],
)  # fmt: skip
def test_findings_that_look_like_identifiers_stay(text: str) -> None:
    assert cleaned(text, StudyDate="20240304") == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Daughter Maria says no.", "Maria"), ("Husband Jose", "Jose"), ("老伴李秀英代诉", "李秀英"),
        ("Mother: Maria has asthma.", "Maria"),
        ("Bleep 4711", "4711"), ("blp 471", "471"), ("pgr: 47112", "47112"), ("DECT 4711", "4711"), ("extn 4711", "4711"),
        ("anna.huber at nhs dot net", "nhs"), ("huber at mail dot nhs dot uk", "huber"), ("anna.huber at nhs.net", "huber"),
        ("See klinikum-graz.com.", "klinikum"),
        ("Aadhaar 4711 1234 5678", "5678"), ("PAN ABCDE1234F", "1234"), ("DNI 12345678Z", "5678"), ("NIE X1234567L", "4567"),
        ("CPR 140231-1234", "1234"), ("CHI 1402311234", "1234"), ("AHV 756.1234.5678.97", "5678"), ("BSN 123456782", "6782"),
        ("GMC 7123456", "3456"), ("NPI: 1234567893", "7893"), ("DEA AB1234563", "4563"), ("Medicare 1EG4-TE5-MK73", "MK73"),
        ("19811228-9874", "9874"), ("811228-9874", "9874"), ("No mass.\nJD/mk\n", "JD/mk"), ("Typed by: Priya", "Priya"),
        ("cc: Anna Huber", "Huber"), ("Patient: Anna Huber", "Huber"), ("Signed: Huber", "Huber"),
    ],
)  # fmt: skip
def test_relatives_pagers_and_national_numbers_go(text: str, secret: str) -> None:
    found = cleaned(text)
    assert REMOVED in found
    assert secret not in found


@pytest.mark.parametrize(
    "piece",
    ["1", "a", "A.", "Aa-", "Aa ", "-", " ", "王", "MRN no. ", "A1-", "A1", "1/", "Dr ", "a.", "a at ", "1 A", "No^", "3/4 ", "(",
     "Mr J ", "CT of ", "ID-1"],
)  # fmt: skip
def test_a_text_of_one_piece_repeated_costs_no_more_than_its_length(piece: str) -> None:
    scrubber = Scrubber(
        identifiers_of(header_of(PatientName="Huber^Anna", PatientID="MRN-998877", StudyDate="20240517"))
    )

    def seconds(size: int) -> float:
        start = process_time()
        scrubber.scrub(piece * (size // len(piece)))
        return process_time() - start

    short = seconds(15_000)
    assert seconds(60_000) < 10 * short + 1  # the square of the length would make it 16 times as long
