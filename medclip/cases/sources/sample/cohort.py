"""A synthetic cohort that the program draws itself, so that everything runs without any data.

Phantom scans with one of three lesions or none, history and report text with varied wording and negations, and a
diagnosis. Label sets: ``modality`` (CR, CT), ``location`` (Thorax, Abdomen, Head) and ``finding`` (nodule,
collection, cyst, none). Every case is marked synthetic, and so is every picture. The same seed draws the same cohort.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medclip.cases.case import Case, Modality, Note, Outcome, Scan, Sex, Split
from medclip.cases.sources.base import Draft, Options, Skipped
from medclip.cases.sources.sample.phantoms import LESIONS, REGIONS, Anatomy, Lesion, Region, draw

NAME = "sample"
NEEDS_PATH = False
OPTIONS: frozenset[str] = frozenset({"seed"})

COUNT = 160

_LOCATION = {"chest radiograph": "Thorax", "chest CT": "Thorax", "abdomen CT": "Abdomen", "head CT": "Head"}
_ORGAN = {
    "chest radiograph": ("lung", "pleural space"),
    "chest CT": ("lung", "pleural space"),
    "abdomen CT": ("upper abdomen", "flank"),
    "head CT": ("hemisphere", "subdural space"),
}
_IMAGE = {
    "chest radiograph": ("Frontal radiograph of the chest", "Chest film", "Upright chest radiograph"),
    "chest CT": ("Axial CT of the chest", "Chest CT at the level of the hila", "Unenhanced thoracic CT"),
    "abdomen CT": ("Axial CT of the abdomen", "Abdominal CT", "CT through the upper abdomen"),
    "head CT": ("Axial CT of the head", "Unenhanced head CT", "CT of the brain"),
}
_SEEN: dict[Lesion, tuple[str, ...]] = {
    "nodule": (
        "a well-defined round dense nodule in the {side} {organ}",
        "a solitary rounded opacity on the {side}, in keeping with a solid mass of the {organ}",
        "a solid nodule of the {side} {organ} with smooth margins",
    ),
    "collection": (
        "a dependent fluid collection in the {side} {space} with a meniscus",
        "layering fluid on the {side}, filling the lower part of the {space}",
        "a large {side} sided effusion of the {space}",
    ),
    "cyst": (
        "a thin-walled cystic lesion in the {side} {organ} with a low-density centre",
        "a round lucent lesion with a dense rim in the {side} {organ}",
        "a simple cyst of the {side} {organ}",
    ),
    "none": ("no focal abnormality", "normal appearances", "no acute finding in the {organ}"),
}
_ABSENT: dict[Lesion, tuple[str, ...]] = {
    "nodule": ("No nodule or mass.", "There is no solid lesion."),
    "collection": ("No effusion.", "No fluid collection is seen."),
    "cyst": ("No cystic change.", "No cavity or cyst."),
    "none": (),
}
_HISTORY: dict[Lesion, tuple[str, ...]] = {
    "nodule": ("weight loss over three months", "an incidental finding on screening", "tiredness and weight loss"),
    "collection": ("fever and worsening pain for a week", "a fall two weeks ago", "shortness of breath and fever"),
    "cyst": ("vague discomfort for years", "an incidental finding on screening", "mild discomfort"),
    "none": ("a routine check before surgery", "vague discomfort", "a fall, now without symptoms"),
}


@dataclass(frozen=True)
class _Turned:
    diagnosis: str
    confirmed_by: str
    treatment: str


_OUTCOME: dict[Lesion, dict[str, _Turned]] = {
    "nodule": {
        "Thorax": _Turned("Pulmonary hamartoma", "Biopsy", "Wedge resection; no recurrence at one year."),
        "Abdomen": _Turned("Focal nodular hyperplasia", "MR and follow-up", "Observation."),
        "Head": _Turned("Meningioma", "Histology", "Resection; adjuvant therapy not needed."),
    },
    "collection": {
        "Thorax": _Turned("Parapneumonic effusion", "Pleural fluid analysis", "Drainage and antibiotics for ten days."),
        "Abdomen": _Turned("Retroperitoneal abscess", "Culture of aspirate", "Percutaneous drainage and antibiotics."),
        "Head": _Turned("Chronic subdural haematoma", "Surgery", "Burr-hole drainage."),
    },
    "cyst": {
        "Thorax": _Turned("Bronchogenic cyst", "MR", "Elective excision."),
        "Abdomen": _Turned("Simple hepatic cyst", "Ultrasound", "None needed."),
        "Head": _Turned("Arachnoid cyst", "MR follow-up", "Observation; unchanged after two years."),
    },
    "none": {
        place: _Turned("No abnormality", "Clinical follow-up", "None needed.")
        for place in ("Thorax", "Abdomen", "Head")
    },
}


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _report(region: Region, lesion: Lesion, anatomy: Anatomy, rng: np.random.Generator) -> tuple[str, str]:
    """Caption and findings text, worded at random."""
    organ, space = _ORGAN[region]
    seen = _pick(rng, _SEEN[lesion]).format(side=anatomy.lesion_side, organ=organ, space=space)
    caption = f"{_pick(rng, _IMAGE[region])} shows {seen}."
    absent = [_pick(rng, _ABSENT[other]) for other in LESIONS if other not in (lesion, "none") and rng.random() < 0.7]
    verb = _pick(rng, ("There is", "The study demonstrates", "Images show"))
    rng.shuffle(absent)
    return caption, " ".join([f"{verb} {seen}.", *absent])


def draft(path: Path | None, options: Options) -> Iterator[Draft | Skipped]:  # noqa: ARG001
    """Yield `COUNT` cases; every tenth patient has two."""
    rng = np.random.default_rng(options.seed)
    anatomy, patient = Anatomy.of(rng), ""
    for number in range(1, COUNT + 1):
        case_id = f"sample-{number:03d}"
        if number % 10 != 0:
            anatomy, patient = Anatomy.of(rng), f"patient-{number:03d}"
        region = REGIONS[int(rng.integers(len(REGIONS)))]
        lesion = LESIONS[int(rng.integers(len(LESIONS)))]
        modality: Modality = "CR" if region == "chest radiograph" else "CT"
        caption, findings = _report(region, lesion, anatomy, rng)
        sex: Sex = "female" if rng.random() < 0.5 else "male"
        age = int(rng.integers(20, 90))
        history = f"{age} year old {'woman' if sex == 'female' else 'man'} with {_pick(rng, _HISTORY[lesion])}."
        files: dict[str, Path | bytes] = {
            f"scans/{case_id}-{i}.png": draw(region, lesion, anatomy, rng) for i in range(int(rng.integers(1, 3)))
        }
        turned = _OUTCOME[lesion][_LOCATION[region]]
        split: Split = "dev" if number % 5 == 0 or (number + 1) % 10 == 0 else "train"
        yield Draft(
            Case(
                id=case_id,
                patient=patient,
                scans=tuple(Scan(file=name, modality=modality, caption=caption) for name in files),
                notes=(Note(kind="history", text=history), Note(kind="findings", text=findings)),
                labels={"modality": modality, "location": _LOCATION[region], "finding": lesion},
                outcome=Outcome(
                    diagnosis=turned.diagnosis, confirmed_by=turned.confirmed_by, treatment=turned.treatment
                ),
                age=age,
                sex=sex,
                split=split,
                source=NAME,
                synthetic=True,
            ),
            files,
        )
