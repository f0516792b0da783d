"""The words by which reports name findings, from the package radiology-semantic-dict (MIT).

Its pathologies and findings with their synonyms, and a few words of description that it lacks.
"""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from medclip.errors import MissingDependencyError

__all__ = ["load_lexicon"]

_LONGEST = 5  # words
_KINDS = ("pathology", "finding")
_DESCRIBED = {
    "consolidation": (
        "consolidations",
        "airspace disease",
        "airspace opacity",
        "air space disease",
        "air space opacity",
    ),
    "opacity": ("opacities", "opacification", "infiltrate", "infiltrates"),
    "nodule": ("nodules", "nodular density", "nodular densities"),
    "mass": ("masses",),
    "granuloma": ("granulomas", "granulomatous disease", "calcified granuloma", "calcified granulomas"),
    "cardiomegaly": ("enlarged heart", "cardiac enlargement", "heart is enlarged", "enlarged cardiac silhouette"),
    "pleural effusion": ("effusion", "pleural fluid"),
    "atelectasis": ("atelectatic change", "atelectatic changes"),
    "emphysema": ("emphysematous change", "emphysematous changes", "hyperinflation", "hyperinflated", "hyperexpanded"),
    "scoliosis": ("scoliotic curvature", "dextroscoliosis", "levoscoliosis", "dextrocurvature", "levocurvature"),
    "fracture": (),
    "edema": ("oedema",),
    "hemorrhage": ("haemorrhage",),
    "cyst": ("cystic lesion",),
    "calcification": ("calcifications",),
    "lymphadenopathy": ("adenopathy", "enlarged lymph node", "enlarged lymph nodes"),
    "hydrocephalus": (),
    "midline shift": (),
    "ascites": (),
}
_VAGUE = {"normal", "fluid collection", "scar", "injury", "infection", "artifact", "inflammation", "mass effect", "tumor",
          "disease", "variant", "lesion", "calculus", "stone", "stones"}  # fmt: skip


def _plurals(term: str) -> Iterator[str]:
    yield term
    if not term.endswith("s"):
        yield f"{term[:-1]}ies" if term.endswith("y") else f"{term}s"
    if term.endswith("sis"):
        yield f"{term[:-2]}es"


def _term(name: str) -> str | None:
    """A name as it would stand in a report; None where it would not."""
    term = " ".join(re.sub(r"\(.*?\)", " ", name).lower().split())
    plain = re.fullmatch(r"[a-z][a-z '-]{3,}", term) and len(term.split()) <= _LONGEST
    return term if plain and term not in _VAGUE else None


def load_lexicon() -> dict[str, str]:
    """Term in lower case, plurals too → the name of its finding.

    A term that names one finding is never taken as another's synonym.

    Raises:
        MissingDependencyError: the lexicon's package is not installed.
    """
    try:
        package = import_module("radiology_semantic")
    except ImportError as error:
        raise MissingDependencyError("the lexicon of findings is not installed", "label") from error
    file = Path(str(package.__file__)).parent / "data" / "medical_concepts.json"
    concepts = [entry for entry in json.loads(file.read_text(encoding="utf-8")) if entry["concept_type"] in _KINDS]
    synonyms: dict[str, list[str]] = {name: list(others) for name, others in _DESCRIBED.items()}
    for entry in concepts:
        name = _term(entry["name"])
        if name is not None and name not in synonyms:
            synonyms[name] = []
        if name is not None and name not in _DESCRIBED:
            synonyms[name] += [term for other in entry["synonyms"] if (term := _term(other))]
    terms = {plural: name for name in synonyms for plural in _plurals(name) if plural == name or plural not in synonyms}
    described = {term: name for name, others in _DESCRIBED.items() for term in others}
    for name, others in synonyms.items():
        for other in others:
            for plural in _plurals(other):
                terms.setdefault(plural, name)
    return {**terms, **described}
