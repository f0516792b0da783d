"""What a case is: one patient's presentation, the scans and texts of it, and what it turned out to be.

Everything here is immutable and validated. The JSON form of a `Case` is one line of ``cases.jsonl``
(`medclip.cases.manifest`); docs/how-to/own-cases.md shows one written by hand.
"""

import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from medclip.identifiers import id_fault
from medclip.label_sets import ABSENT, PRESENT, family_of
from medclip.modalities.measurements.measurement import AGE, SEX, SEX_VALUE, Measurement

__all__ = [
    "LONGEST_NAME",
    "OLDEST_AGE",
    "Case",
    "Labels",
    "Measurement",
    "Modality",
    "Note",
    "NoteKind",
    "Outcome",
    "Part",
    "Recording",
    "Scan",
    "Sex",
    "Skipped",
    "Split",
]

Modality = Literal["CR", "CT", "MR", "US", "OT"]
"""DICOM modality codes (PS3.3 C.7.3.1.1.1): radiograph, CT, MR, ultrasound, other."""

NoteKind = Literal["history", "findings"]
"""Which part of the record a note is. `findings` is report text; captions stand with their scan."""

Sex = Literal["female", "male", "other"]
Split = Literal["train", "dev", "test"]


LONGEST_NAME = 200  # characters of a label set and a class
OLDEST_AGE = 130  # years


def _identifier(value: str) -> str:
    if (fault := id_fault(value)) is not None:
        raise ValueError(fault)
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME, strip_whitespace=True)]
Labels = dict[Name, Name]
"""Label set → class. A label set that is not there is *unknown*, never absent. See `medclip.label_sets` for several at once."""


_LONGEST_NAME = 255  # bytes


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not path.strip():
        raise ValueError("must be a relative path inside the cases folder, with forward slashes")
    if any(unicodedata.category(ch) in ("Cc", "Cs") for ch in path):
        raise ValueError("must not hold a control character")
    if any(len(part.encode()) > _LONGEST_NAME for part in pure.parts):
        raise ValueError(f"must not have a part of over {_LONGEST_NAME} bytes, which no file system takes")
    return path


FileName = Annotated[str, AfterValidator(_inside)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scan(_Record):
    """One image, series or volume of a case."""

    file: FileName  # relative to the cases folder
    modality: Modality | None = None  # how it was acquired; a fact for the reader, never an input of the model
    plane: str | None = None  # "Axial", "PA", ...
    caption: str | None = None  # the report's words about this very image
    window: str | None = None  # how its stored values became grey, recorded at import: "C 40 W 400 (file)"
    labels: Labels = Field(default_factory=dict)  # labels of this scan alone; they override the case's
    licence: str | None = None


class Note(_Record):
    """One text of a case that may be embedded."""

    kind: NoteKind
    text: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Recording(_Record):
    """One dictation of a case. Its transcript counts as a note; without one it is silent."""

    file: FileName  # relative to the cases folder
    kind: NoteKind  # what is dictated
    transcript: str | None = None  # by ``medclip cases transcribe``
    sha256: str | None = None  # of the file that was transcribed
    model: str | None = None  # that transcribed it


class Outcome(_Record):
    """What the case turned out to be. It states the answer, so it is shown with a similar case and never embedded."""

    impression: str | None = None  # the report's conclusion: somebody's reading, not a verified diagnosis
    diagnosis: str | None = None
    confirmed_by: str | None = None  # how the diagnosis was verified
    differential: str | None = None
    treatment: str | None = None
    discussion: str | None = None

    @property
    def exact(self) -> str | None:
        """The diagnosis, whatever its capitals and the spaces around it; None where there is none."""
        return (self.diagnosis or "").strip().lower() or None


class Case(_Record):
    """One case: scans, texts, measurements, labels and outcome of one patient's presentation.

    `patient` keeps a patient's cases together in every split, vote and fold; where it is not given, the case is
    its own patient.
    """

    id: Identifier
    patient: Identifier
    scans: tuple[Scan, ...] = ()
    notes: tuple[Note, ...] = ()
    recordings: tuple[Recording, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    labels: Labels = Field(default_factory=dict)
    outcome: Outcome = Outcome()
    age: Annotated[float, Field(ge=0, le=OLDEST_AGE)] | None = None  # years
    sex: Sex | None = None
    split: Split | None = None  # the published or chosen split, if there is one
    source: str | None = None  # where it was imported from
    synthetic: bool = False  # drawn by a program, not acquired from a patient

    @model_validator(mode="before")
    @classmethod
    def _own_patient(cls, data: object) -> object:
        if isinstance(data, dict) and "patient" not in data and "id" in data:
            return {**data, "patient": data["id"]}
        return data

    @model_validator(mode="after")
    def _has_evidence(self) -> "Case":
        if not (self.scans or self.notes or self.recordings or self.measurements):
            raise ValueError("a case needs at least one scan, note, recording or measurement")
        files = [scan.file for scan in self.scans] + [recording.file for recording in self.recordings]
        if len(set(files)) != len(files):
            raise ValueError("two of its scans or recordings name the same file")
        for label_set, value in [pair for labels in self._all_labels() for pair in labels.items()]:
            if family_of(label_set) is not None and value not in (PRESENT, ABSENT):
                raise ValueError(f"label {label_set} is one of several at once: it is {PRESENT} or {ABSENT}")
        return self

    def _all_labels(self) -> list[Labels]:
        return [self.labels, *(scan.labels for scan in self.scans)]

    def scan_labels(self, scan: Scan) -> Labels:
        """The labels that hold for one scan: the case's, overridden by the scan's own."""
        return {**self.labels, **scan.labels}

    @property
    def case_labels(self) -> Labels:
        """The labels that hold for the case as a whole: its own, and those on which all of its scans agree."""
        agreed: Labels = {}
        if self.scans:
            first, *rest = self.scans
            agreed = {k: v for k, v in first.labels.items() if all(scan.labels.get(k) == v for scan in rest)}
        conflicting = {k for scan in self.scans for k in scan.labels} - set(agreed)
        return {k: v for k, v in {**self.labels, **agreed}.items() if k not in conflicting}

    def note_text(self, kind: NoteKind) -> str:
        """All notes and transcripts of one kind, joined by blank lines; empty where there is none."""
        written = [note.text for note in self.notes if note.kind == kind]
        spoken = [r.transcript for r in self.recordings if r.kind == kind and r.transcript]
        return "\n\n".join([*written, *spoken])

    @property
    def measured(self) -> dict[str, float | Measurement]:
        """By name: age in years, sex as −1 to 1, and the measurements, each with its unit.

        Of several values of one name the first holds.
        """
        values: dict[str, float | Measurement] = {}
        if self.age is not None:
            values[AGE] = self.age
        if self.sex is not None:
            values[SEX] = SEX_VALUE[self.sex]
        for measurement in self.measurements:
            values.setdefault(measurement.name, measurement)
        return values

    @property
    def report(self) -> str:
        """The report text: the findings, then each distinct caption, joined by blank lines."""
        captions = dict.fromkeys(scan.caption for scan in self.scans if scan.caption)
        return "\n\n".join(part for part in (self.note_text("findings"), *captions) if part)


@dataclass(frozen=True)
class Skipped:
    """A case that could not be drafted, or of which nothing could be embedded."""

    case_id: str
    reason: str  # one line, with no patient data but the case id


@dataclass(frozen=True)
class Part(Skipped):
    """What was left out of a case that is kept, or belongs to no case; `case_id` may name its file instead."""
