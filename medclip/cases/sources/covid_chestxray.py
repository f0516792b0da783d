"""COVID-19 image data collection in its published layout (Cohen et al., arXiv 2006.11988; June 2020).

One case is one patient's images of one day (`patientid` and `offset`), since a patient's later images show another
state. Label set ``finding``: COVID-19, other pneumonia, no finding; rows marked ``todo`` and findings that are
neither (ARDS of no stated cause) are unknown. Clinical notes often name the disease: they are kept as history with
the label words masked (`mask_label_words`), and the original stands in the outcome, which is never embedded.
"""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from medclip.cases.case import Case, Measurement, Modality, Note, Outcome, Scan
from medclip.cases.sources.base import Draft, Options, Skipped
from medclip.errors import CaseError, MeasurementError, describe
from medclip.modalities.measurements.values import standardise
from medclip.modalities.text.clean import mask_words

NAME = "covid-chestxray"
NEEDS_PATH = True
OPTIONS: frozenset[str] = frozenset()

COVID, PNEUMONIA, NONE = "COVID-19", "other pneumonia", "no finding"

_PNEUMONIA = [
    "sars",
    "pneumonia",
    "pneumocystis",
    "streptococcus",
    "klebsiella",
    "legionella",
    "mycoplasma",
    "lipoid",
    "influenza",
    "e.coli",
    "varicella",
    "bacterial",
    "viral",
    "fungal",
    "aspergillosis",
    "chlamydophila",
    "h1n1",
    "mers-cov",
    "nocardia",
    "herpes",
    "aspiration",
    "staphylococcus",
    "mrsa",
    "haemophilus",
]

# The words by which a note gives the finding away; `mask_words` replaces each with "[masked]".
LABEL_WORDS = (
    r"\S*covid\S*", r"sars\S*", r"\S*ncov\S*", r"n-?cov\S*", r"corona\s?virus\S*", r"pneumoni\w*", r"pneumocysti\w*", r"pcp",
    r"pjp", r"jirovec\w*", r"strep\w*", r"pneumococc\w*", r"klebsiella", r"legionell\w*", r"mycoplasma", r"lipoid",
    r"influenza\w*", r"h1n1", r"e\.?\s?coli", r"escherichia", r"varicella", r"bacteri\w*", r"viral", r"\w*virus\w*",
    r"ards", r"rt-?pcr", r"wuhan", r"hubei", r"china", r"swab\w*", r"epidemi\w*", r"pandemi\w*", r"outbreak",
    r"aspergill\w*", r"nocardi\w*", r"herpes", r"mers\S*", r"chlamyd\w*", r"mrsa", r"staph\w*", r"aspiration",
)  # fmt: skip

_MEASUREMENTS = {
    "temperature": "Cel",
    "pO2_saturation": "%",
    "leukocyte_count": "10*9/L",
    "neutrophil_count": "10*9/L",
    "lymphocyte_count": "10*9/L",
}
"""Column → UCUM unit; a value that is not plausible is a typing error and is left out."""

_MODALITY: dict[str, Modality] = {"X-ray": "CR", "CT": "CT"}


def finding_class(finding: str) -> str | None:
    """The class of the published finding text, or None where it is unknown."""
    words = finding.lower()
    if "covid" in words:
        return COVID
    if any(word in words for word in _PNEUMONIA):
        return PNEUMONIA
    return NONE if words.strip() == "no finding" else None


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").strip())
    except ValueError:
        return None


def _measurements(row: dict[str, str]) -> list[Measurement]:
    found = []
    for column, unit in _MEASUREMENTS.items():
        value = _number(row.get(column))
        if value is not None:
            with suppress(MeasurementError):
                found.append(standardise(column, value, unit))
    return found


def _outcome(rows: list[dict[str, str]], finding: str) -> Outcome:
    course = []
    if any(row.get("went_icu") == "Y" for row in rows):
        course.append("admitted to intensive care")
    if any(row.get("intubated") == "Y" for row in rows):
        course.append("intubated")
    survival = {row.get("survival") for row in rows} - {"", None}
    if len(survival) == 1:
        course.append("survived" if survival == {"Y"} else "died")
    notes = dict.fromkeys(text for row in rows if (text := (row.get("clinical_notes") or "").strip()))
    return Outcome(
        diagnosis=None if finding == "todo" else finding,
        treatment=("Course: " + ", ".join(course) + ".") if course else None,
        discussion="\n\n".join(notes) or None,
    )


def _case(patient: str, key: str, rows: list[dict[str, str]], folder: Path) -> Draft:
    scans, files = [], {}
    classes = {finding_class(row["finding"]) for row in rows}
    shared = classes.pop() if len(classes) == 1 else None
    for row in rows:
        source = folder / "images" / row["filename"]
        file = f"scans/{row['filename']}"
        files[file] = source
        label = finding_class(row["finding"])
        scans.append(
            Scan(
                file=file,
                modality=_MODALITY.get(row.get("modality") or ""),
                plane=row.get("view") or None,
                labels={"finding": label} if label and shared is None else {},
                licence=row.get("license") or None,
            )
        )
    notes = dict.fromkeys(text for row in rows if (text := (row.get("clinical_notes") or "").strip()))
    first = rows[0]
    age = _number(first.get("age"))
    masked = mask_words("\n\n".join(notes), LABEL_WORDS)
    case = Case(
        id=key,
        patient=f"covid-{patient}",
        scans=tuple(scans),
        notes=(Note(kind="history", text=masked),) if masked else (),
        measurements=tuple(_measurements(first)),
        labels={"finding": shared} if shared else {},
        outcome=_outcome(rows, first["finding"]),
        age=age if age is not None and age <= 120 else None,
        sex={"F": "female", "M": "male"}.get(first.get("sex") or ""),  # type: ignore[arg-type]
        source=NAME,
    )
    return Draft(case, files)


def draft(path: Path | None, options: Options) -> Iterator[Draft | Skipped]:  # noqa: ARG001
    """Yield every case of a covid-chestxray folder (``metadata.csv`` beside ``images/``)."""
    assert path is not None
    table = path / "metadata.csv"
    if not table.is_file():
        raise CaseError(f"{table}: not found; name the folder of covid-chestxray-dataset that holds it")
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    if not rows or not {"patientid", "offset", "finding", "filename"} <= set(rows[0]):
        raise CaseError(f"{table}: lacks the columns patientid, offset, finding, filename; fetch the file again")
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[(row["patientid"].strip(), (row["offset"] or "").strip())].append(row)
    images = {file.name for file in (path / "images").glob("*") if file.is_file()}
    for (patient, offset), members in groups.items():
        safe = re.sub(r"[^\w-]", "_", f"{patient}-{offset}" if offset else patient)
        key = f"covid-{safe or hashlib.sha256(members[0]['filename'].encode()).hexdigest()[:8]}"
        missing = [name for row in members if (name := row["filename"]) not in images]
        if missing:
            yield Skipped(key, f"{len(missing)} of its {len(members)} images not found in its folder images")
            continue
        try:
            yield _case(patient, key, members, path)
        except ValidationError as error:
            yield Skipped(key, describe(error))
