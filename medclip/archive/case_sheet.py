"""A case as a reader meets it when walking the archive: one line of a list, or the whole of it."""

from dataclasses import dataclass, field
from typing import Literal

from medclip.cases.case import Labels, Measurement

__all__ = ["CaseLine", "CaseSheet", "NearCase", "ScanSheet", "TextSheet"]


@dataclass(frozen=True)
class CaseLine:
    """A case as a list shows it; its patient is not named."""

    case_id: str
    modality: list[str]  # of its scans, each once
    age: float | None  # years
    sex: str | None
    labels: Labels
    diagnosis: str | None
    confirmed_by: str | None
    scans: int
    first_scan: int | None  # number of the first scan that has a thumbnail, from 0; None where none has
    synthetic: bool
    fields: dict[str, list[str] | list[float]]  # all that filters and sorting go by: field → values


@dataclass(frozen=True)
class ScanSheet:
    """A scan as the case's document knows it."""

    number: int  # from 0, as thumbnails are numbered
    file: str  # relative to the cases folder that it was built from; the index keeps a thumbnail alone
    modality: str | None
    plane: str | None
    caption: str | None
    window: str | None
    labels: Labels  # that hold for this scan
    licence: str | None
    thumbnail: bool  # whether the index has one


@dataclass(frozen=True)
class TextSheet:
    """One text of a case."""

    kind: Literal["history", "findings"]
    text: str
    dictated: bool  # a transcript
    model: str | None = None  # that transcribed it


@dataclass(frozen=True)
class NearCase:
    """A neighbour of a case."""

    similarity: float  # cosine
    view: str  # which view of it matched
    scan: int | None  # which scan matched, from 0
    case: CaseLine


@dataclass(frozen=True)
class CaseSheet:
    """One case whole: everything that the index keeps of it, without its patient and its vectors."""

    case_id: str
    age: float | None  # years
    sex: str | None
    labels: Labels
    synthetic: bool
    scans: list[ScanSheet]
    texts: list[TextSheet]
    measurements: list[Measurement]
    impression: str | None  # the report's conclusion, not a verified diagnosis
    diagnosis: str | None
    confirmed_by: str | None
    differential: str | None
    treatment: str | None
    discussion: str | None
    source: str | None  # where it was imported from
    split: str | None
    content: str  # hash of what it was embedded from
    views: list[str]  # of what there is a vector: kinds, each once
    fields: dict[str, list[str] | list[float]]  # what filters ask for
    same_patient: list[str]  # ids of the patient's other cases
    neighbours: list[NearCase] = field(default_factory=list)  # most similar first, one a patient, of other patients
