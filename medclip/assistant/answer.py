"""The answer to a query: what ``--json`` prints. Its JSON schema stands in ``docs/answer.schema.json``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medclip.diagnosis.diagnoser import Composition, Diagnoser
from medclip.diagnosis.voting import Ballot, vote
from medclip.label_sets import is_verified

__all__ = [
    "Answer",
    "Answered",
    "Contribution",
    "Heard",
    "LabelAnswer",
    "RankedLabel",
    "SimilarCase",
    "answer_label_set",
]

LEAST_PROBABILITY = 0.5
"""Below it an answer is more likely wrong than right, so it is withheld."""


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RankedLabel(_Out):
    """One class of a label set."""

    label: str
    probability: float = Field(description="calibrated combination of vote and probe")
    vote: float = Field(description="probability by the similar cases' vote")
    probe: float = Field(description="probability by the linear probe")


class LabelAnswer(_Out):
    """The answer on one label set."""

    label_set: str = Field(description="FAMILY/CLASS for one class of a multi-label set")
    verified: bool = Field(description="false where the archive's labels were read from reports by a program")
    answer: str | None = Field(description="the most probable class, or null where the answer is withheld")
    ranked: list[RankedLabel] = Field(description="every class, most probable first")
    agree: bool = Field(description="whether vote and probe name the same class")
    held_out_accuracy: float = Field(description="share of right answers on archived patients left out")
    voters: int = Field(description="similar cases whose class is known")


class SimilarCase(_Out):
    """One similar case of the archive."""

    case_id: str
    similarity: float = Field(description="cosine between the query and the view that matched")
    view: Literal["scan", "report", "history", "measurements", "fused"] = Field(
        description="which view of the case matched"
    )
    scan: int | None = Field(description="which scan matched, counted from 1; null for other views")
    labels: dict[str, str]
    vote_weights: dict[str, float] = Field(description="label set → this case's share of the vote")
    age: float | None
    sex: str | None
    impression: str | None = Field(description="the report's conclusion, not a verified diagnosis")
    diagnosis: str | None
    confirmed_by: str | None
    differential: str | None
    treatment: str | None
    history: str
    report: str
    scans: int
    synthetic: bool


class Contribution(_Out):
    """How the answer would differ without one modality of the query."""

    modality: Literal["scan", "text", "measurements"]
    new_neighbours: int = Field(description="similar cases that would not be among those shown without it")
    shift: dict[str, float] = Field(description="label set → total variation between the answers with and without it")
    without: dict[str, str] = Field(description="label set → most probable class without it")


class Heard(_Out):
    """What was understood of a recording, and searched like any text."""

    text: str
    language: str = Field(description="ISO 639-1")
    seconds: float
    sha256: str = Field(description="of the recording's file")
    model: str = Field(description="the speech model")


class Answer(_Out):
    """All that is answered to one query."""

    disclaimer: str
    medclip_version: str
    query: Composition = Field(description="what the query was made of")
    transcripts: list[Heard] = Field(description="of the query's recordings")
    contributions: list[Contribution] = Field(description="what each modality of the query changed, if several")
    labels: list[LabelAnswer]
    ranked_by: Literal["similarity", "similarity and words"] = Field(
        description="the order of the similar cases: their cosine, or that fused with the words that they share"
    )
    similar: list[SimilarCase] = Field(description="most similar first, one a patient")


@dataclass(frozen=True)
class Answered:
    """The answer on one label set, and each ballot's share of its vote."""

    answer: LabelAnswer
    weights: list[float]


def answer_label_set(
    diagnoser: Diagnoser, composition: Composition, vector: NDArray[np.float32], ballots: Sequence[Ballot]
) -> Answered | None:
    """Answer one label set from a query's (d,) vector and its similar cases.

    None where nothing is fitted for queries of this composition.
    """
    part = diagnoser.parts.get(composition)
    if part is None:
        return None
    by_vote = vote(ballots, diagnoser.classes, diagnoser.prior)
    probe = part.probe.probabilities(vector[None])[0]
    combined = part.combination.combine(by_vote.probabilities[None], probe[None])[0]
    order = sorted(range(len(combined)), key=lambda i: (-combined[i], diagnoser.classes[i]))
    ranked = [
        RankedLabel(
            label=diagnoser.classes[i],
            probability=float(combined[i]),
            vote=float(by_vote.probabilities[i]),
            probe=float(probe[i]),
        )
        for i in order
    ]
    answer = LabelAnswer(
        label_set=diagnoser.label_set,
        verified=is_verified(diagnoser.label_set),
        answer=ranked[0].label if ranked[0].probability >= LEAST_PROBABILITY else None,
        ranked=ranked,
        agree=int(by_vote.probabilities.argmax()) == int(probe.argmax()),
        held_out_accuracy=part.held_out_accuracy,
        voters=int((by_vote.weights > 0).sum()),
    )
    return Answered(answer, by_vote.weights.tolist())
