"""What an assistant is asked, and what it gives back beside an answer."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from medclip.assistant.answer import Answer, Heard
from medclip.assistant.record import Record, Source
from medclip.diagnosis.diagnoser import Measured
from medclip.diagnosis.neighbours import VOTERS
from medclip.diagnosis.sets import Promise
from medclip.errors import RefinementError
from medclip.fusion import Parts
from medclip.fusion.composition import Composition, Part
from medclip.index.filters import Filter
from medclip.modalities.scan.pictures import ScanPictures

__all__ = ["Among", "Asked", "Capability", "Coverage", "Judged", "Question"]


_OF_REPORT = ("report", "recording", "transcript")


@dataclass(frozen=True)
class Question:
    """What is known of a new patient: read, transcribed and embedded once, to be answered as often as one likes."""

    parts: Parts
    scans: tuple[ScanPictures, ...]  # as read
    history: tuple[str, ...]  # texts
    report: tuple[str, ...]  # texts, those of the recordings among them
    heard: tuple[Heard, ...]  # the recordings
    unknown: tuple[str, ...]  # measurements that the model does not know, which were left out
    sources: tuple[Source, ...]  # for a record
    model: str  # fingerprint of the one that embedded it

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts."""
        return (*self.history, *self.report)

    def less(self, without: Collection[Part]) -> "Question":
        """The question without some of its parts; the scans as read stay, to be shown.

        Raises:
            RefinementError: one is not there, or nothing would be left.
        """
        there = self.parts.there
        for part in without:
            if part not in there:
                raise RefinementError(f"without {part}: the query is of {', '.join(there)}; name one of these")
        if not set(there) - set(without):
            raise RefinementError(f"without {', '.join(without)}: nothing is left of the query; keep one of its parts")
        kinds = {kind for part in without for kind in (_OF_REPORT if part == "report" else (part,))}
        return replace(
            self,
            parts=self.parts.only(set(there) - set(without)),
            history=() if "history" in without else self.history,
            report=() if "report" in without else self.report,
            unknown=() if "measurements" in without else self.unknown,
            sources=tuple(source for source in self.sources if source.kind not in kinds),
        )


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
