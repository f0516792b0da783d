"""The answer on one label set, from a query's vector and its similar cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medclip.diagnosis.abstention import named
from medclip.diagnosis.diagnoser import Diagnoser
from medclip.diagnosis.voting import Ballot, vote
from medclip.fusion.composition import Composition
from medclip.label_sets import is_verified

__all__ = ["Answered", "LabelAnswer", "Out", "RankedLabel", "answer_label_set"]


class Out(BaseModel):
    """A part of what ``--json`` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RankedLabel(Out):
    """One class of a label set."""

    label: str
    probability: float = Field(description="calibrated combination of vote and probe")
    vote: float = Field(description="probability by the similar cases' vote")
    probe: float = Field(description="probability by the linear probe")


class LabelAnswer(Out):
    """The answer on one label set."""

    label_set: str = Field(description="FAMILY/CLASS for one class of a multi-label set")
    verified: bool = Field(description="false where the archive's labels were read from reports by a program")
    answer: str | None = Field(description="the most probable class, or null where the answer is withheld")
    ranked: list[RankedLabel] = Field(description="every class, most probable first")
    agree: bool = Field(description="whether vote and probe name the same class")
    held_out_accuracy: float = Field(description="share of right answers on archived patients left out")
    voters: int = Field(description="similar cases whose class is known")


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
        answer=named(ranked[0].label, ranked[0].probability),
        ranked=ranked,
        agree=int(by_vote.probabilities.argmax()) == int(probe.argmax()),
        held_out_accuracy=part.held_out_accuracy,
        voters=int((by_vote.weights > 0).sum()),
    )
    return Answered(answer, by_vote.weights.tolist())
