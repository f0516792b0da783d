"""An archived or held-out case posed as a query, as a new patient like it would be asked about."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from medclip.cases.case import Case
from medclip.embedding.embedder import Array, EmbeddedCase
from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import Composition

__all__ = ["Posed", "Question", "every_question", "pose", "question_showing", "scan_questions"]


@dataclass(frozen=True)
class Question:
    """Some of what is known of a case."""

    parts: Parts
    case: Case  # with the one scan alone, where only one is asked with

    @property
    def labels(self) -> dict[str, str]:
        """Label set → right class."""
        return self.case.case_labels

    @property
    def patient(self) -> str:
        """Whose case it is."""
        return self.case.patient


@dataclass(frozen=True)
class Posed(Question):
    """A question as a vector."""

    vector: Array  # (d,) unit vector

    @property
    def composition(self) -> Composition:
        """Of which parts it is."""
        return self.parts.composition


def question_showing(case: EmbeddedCase, shown: Collection[str]) -> Question | None:
    """The case as a query that shows those of these parts that it has; None where it has none of them."""
    parts = case.parts.only(shown)
    return Question(parts, case.case) if parts.there else None


def scan_questions(case: EmbeddedCase) -> Iterator[Question]:
    """Each scan alone, with its own labels."""
    for position, number in enumerate(case.numbers):
        yield Question(case.scan(position), case.case.model_copy(update={"scans": (case.case.scans[number],)}))


def every_question(case: EmbeddedCase) -> Iterator[Question]:
    """A case as all the queries that a new patient like it could make.

    Scans, one or all, or none; with report, history, both or neither; with measurements or without: as far as the case
    has them.
    """
    there = case.parts.there
    for flags in product((True, False), repeat=len(there)):
        shown = [name for name, wanted in zip(there, flags, strict=True) if wanted]
        if shown == ["scan"] and len(case.scans) == 1:
            continue  # the scan alone, below
        question = question_showing(case, shown)
        if question is not None:
            yield question
    yield from scan_questions(case)


def pose(questions: Sequence[Question], fuser: Fuser) -> list[Posed]:
    """The questions as vectors."""
    if not questions:
        return []
    vectors = fuser.fuse([one.parts for one in questions])
    return [Posed(one.parts, one.case, vector) for vector, one in zip(vectors, questions, strict=True)]
