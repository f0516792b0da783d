"""What an assistant is asked, and what it gives back beside an answer."""

from dataclasses import dataclass

from medclip.assistant.answer import Answer
from medclip.assistant.record import Record
from medclip.diagnosis.diagnoser import Measured
from medclip.diagnosis.neighbours import VOTERS
from medclip.diagnosis.sets import Promise
from medclip.fusion.composition import Composition
from medclip.index.filters import Filter
from medclip.modalities.scan.pictures import ScanPictures

__all__ = ["Among", "Asked", "Capability", "Coverage", "Judged"]


@dataclass(frozen=True)
class Asked:
    """An answer, and the scans that were asked with, as they were read."""

    answer: Answer
    scans: list[ScanPictures]
    record: Record | None = None  # where one was asked for


@dataclass(frozen=True)
class Judged:
    """By whom classes are ruled out from sets of labels."""

    together: list[dict[str, float]]  # class → patients left out, of the classes that are judged together
    interval: tuple[float, float] | None  # of the coverage at `COVERAGE`, 9 in 10 archives; None: nothing is ruled out


@dataclass(frozen=True)
class Capability:
    """What an index can answer on one label set."""

    label_set: str
    patients: dict[str, int]  # class → patients
    measured: dict[Composition, Measured]  # what a query is made of → how good its answers are, on patients left out
    opinions: dict[Composition, dict[str, Measured]]  # the same of each opinion that is pooled, by itself
    sets: dict[Composition, Judged]


@dataclass(frozen=True)
class Coverage:
    """How far the archive's diagnoses repeat: the cap on naming a diagnosis from a similar case."""

    cases: int  # that have a diagnosis
    nameable: int  # of these, how many share its exact words with another patient's case


@dataclass(frozen=True)
class Among:
    """Which archived cases may be similar or vote, how many are shown, and what is answered."""

    k: int = VOTERS
    label_sets: tuple[str, ...] = ()  # all where there is none
    where: Filter | None = None
    exclude_patient: str | None = None
    promise: Promise | None = None  # what the sets of labels are to keep
