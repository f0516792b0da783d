"""MedPix 2.0 in its published layout (Siragusa et al., doi 10.1007/s41019-025-00297-8; GitHub CHILab1/MedPix-2.0).

Label sets: ``modality`` (CT, MR; of each scan), ``location`` (five body regions) and ``category`` (the kind of
disease, `_CATEGORY`). Title, differential, diagnosis, treatment, discussion and topic state the answer: they go
into `Outcome`, which is never embedded. Captions and findings are report text; the history is its own note.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from medclip.cases.case import Case, Modality, Note, Outcome, Scan, Sex, Split
from medclip.cases.sources.base import Draft, Options, Skipped
from medclip.errors import CaseError, describe
from medclip.files.plain import read_regular

NAME = "medpix-2.0"
NEEDS_PATH = True
OPTIONS: frozenset[str] = frozenset()

_LICENCE = "U.S. National Library of Medicine, MedPix teaching file; see doi 10.1007/s41019-025-00297-8"

_CATEGORY = {
    "neoplasm": "neoplasm",
    "infection": "infection",
    "congenital": "congenital",
    "trauma": "trauma",
    "vascular": "vascular",
    "aneurysm": "vascular",
    "infarction": "vascular",
    "ischemia": "vascular",
    "hemorrhage": "vascular",
    "inflammatory": "inflammatory",
    "cyst": "cyst",
}
"""Leading word of ``Topic.Category`` → kind of disease; every other word is ``other``."""

# Text that a submitter left as the form had it says nothing of the patient.
_FORM_TEXT = re.compile(
    r"^\s*(replace this\b.*|n\s*/?\s*a\.?|none\.?|history \(can include.*?\)[.:]?|differential diagnosis for these.*)\s*$",
    re.IGNORECASE | re.DOTALL,
)


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip() or _FORM_TEXT.match(value):
        return None
    return value.strip()


def _age(value: Any) -> float | None:
    """Years from the form's free text: only a plain number is taken."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d{1,3}", value) and int(value) <= 120 else None


def _category(topic: dict[str, Any]) -> str | None:
    value = _text(topic.get("Category"))
    if value is None:
        return None
    return _CATEGORY.get(re.split(r"[\s,/]", value.lower(), maxsplit=1)[0], "other")


_LARGEST = 1 << 30  # bytes; as published, 3 MB


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        value = json.loads(read_regular(path, _LARGEST))
    except FileNotFoundError:
        raise CaseError(f"{path}: not found; name the folder of MedPix 2.0 that holds it") from None
    except (OSError, ValueError) as error:
        raise CaseError(f"{path}: cannot be read as JSON; fetch the file again ({type(error).__name__})") from error
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CaseError(f"{path}: is not a list of objects; fetch the file again")
    return cast(list[dict[str, Any]], value)


def _splits(path: Path) -> dict[str, Split]:
    """Case id → official split, from whichever ``data_<split>.jsonl`` files there are."""
    found: dict[str, Split] = {}
    splits: tuple[Split, ...] = ("train", "dev", "test")
    for split in splits:
        file = path / "splitted_dataset" / f"data_{split}.jsonl"
        if not file.is_file():
            continue
        for number, line in enumerate(read_regular(file, _LARGEST).splitlines(), start=1):
            try:
                found[str(json.loads(line)["U_id"])] = split
            except (ValueError, KeyError, TypeError):
                raise CaseError(f"{file} line {number}: is not a case; fetch the file again") from None
    return found


def _case(
    topic: dict[str, Any], descriptions: list[dict[str, Any]], split: Split | None, images: dict[str, Path]
) -> Draft:
    uid = str(topic["U_id"])
    record, subject = topic.get("Case") or {}, topic.get("Topic") or {}
    scans, files = [], {}
    for entry in descriptions:
        name = str(entry["image"])
        if name not in images:
            continue
        about = entry.get("Description") or {}
        modality = entry.get("Type") if entry.get("Type") in ("CT", "MR") else None
        file = f"scans/{images[name].name}"
        files[file] = images[name]
        scans.append(
            Scan(
                file=file,
                modality=cast(Modality | None, modality),
                plane=_text(about.get("Plane")),
                caption=_text(about.get("Caption")),
                labels={"modality": modality} if modality else {},
                licence=_LICENCE,
            )
        )
    ages = Counter(filter(None, (_age((e.get("Description") or {}).get("Age")) for e in descriptions)))
    sexes = Counter((e.get("Description") or {}).get("Sex") for e in descriptions)
    sex = sexes.most_common(1)[0][0] if sexes else None
    locations = {str(e["Location Category"]) for e in descriptions if e.get("Location Category")}
    labels = {"location": locations.pop()} if len(locations) == 1 else {}
    category = _category(subject)
    if category:
        labels["category"] = category
    kinds = (("history", "History"), ("findings", "Findings"))
    notes = [
        Note.model_validate({"kind": kind, "text": text}) for kind, key in kinds if (text := _text(record.get(key)))
    ]
    case = Case(
        id=uid,
        patient=uid,
        scans=tuple(scans),
        notes=tuple(notes),
        labels=labels,
        outcome=Outcome(
            diagnosis=_text(record.get("Case Diagnosis")) or _text(record.get("Title")),
            confirmed_by=_text(record.get("Diagnosis By")),
            differential=_text(record.get("Differential Diagnosis")),
            treatment=_text(record.get("Treatment & Follow Up")),
            discussion=_text(record.get("Discussion")) or _text(subject.get("Disease Discussion")),
        ),
        age=ages.most_common(1)[0][0] if ages else None,
        sex=cast(Sex | None, sex if sex in ("female", "male") else None),
        split=split,
        source=NAME,
    )
    return Draft(case, files)


def draft(path: Path | None, options: Options) -> Iterator[Draft | Skipped]:  # noqa: ARG001
    """Yield every case of a MedPix 2.0 folder; images are taken as ``.png`` (as published) or ``.jpg``."""
    assert path is not None
    topics = _read(path / "Case_topic.json")
    by_case: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in _read(path / "Descriptions.json"):
        if entry.get("U_id") and entry.get("image"):
            by_case[str(entry["U_id"])].append(entry)
    splits = _splits(path)
    images = {file.stem: file for ext in ("*.jpg", "*.png") for file in sorted((path / "images").glob(ext))}
    for number, topic in enumerate(topics, start=1):
        uid = str(topic.get("U_id") or f"entry-{number}")
        if not topic.get("U_id"):
            yield Skipped(uid, "has no U_id")
            continue
        entries = by_case[uid]
        missing = sorted(str(entry["image"]) for entry in entries if str(entry["image"]) not in images)
        if missing:
            yield Skipped(f"{uid}", f"{len(missing)} of its {len(entries)} images not found: {missing[0]} ...")
            continue
        try:
            yield _case(topic, entries, splits.get(uid), images)
        except ValidationError as error:
            yield Skipped(uid, describe(error))
