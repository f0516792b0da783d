"""The answer on one label set, from what a query shows and the cases that vote on it."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medclip.diagnosis.abstention import LEAST_PATIENTS, named
from medclip.diagnosis.diagnoser import Diagnoser, Measured
from medclip.diagnosis.sets import Kind, LabelSet, Promise
from medclip.diagnosis.voting import Ballot
from medclip.fusion.composition import Composition, Part
from medclip.label_sets import is_verified
from medclip.metrics.probabilities import BINS, interval

__all__ = ["Alike", "LabelAnswer", "Out", "PromisedSet", "RankedLabel", "Voter", "answer_label_set"]


class Out(BaseModel):
    """A part of what ``--json`` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RankedLabel(Out):
    """One class of a label set."""

    label: str
    probability: float = Field(description="calibrated pool of vote and probes")
    vote: float = Field(description="probability by the voters and the archive's frequencies")
    probe: float | None = Field(
        description="probability by the linear probe on all that was asked with; null where it has seen the patient"
    )


class Alike(Out):
    """Answers to patients left out whose most probable class was about as probable."""

    least: float = Field(description="from which probability")
    most: float = Field(description="up to which")
    patients: int
    right: float = Field(description="share of right ones")


class PromisedSet(Out):
    """One of these labels is right, for as many new patients as is said (conformal prediction)."""

    labels: list[str] = Field(description="most probable first; the most probable one is always among them")
    empty: bool = Field(
        description="whether every label is less probable than the right one was for so many patients left out; the most "
        "probable one is named all the same"
    )
    coverage: float = Field(description="share of new patients whose label such a set holds")
    kind: Kind = Field(
        description="whether that holds for the patients of each class, or of all classes together; mixed: of each larger class, "
        "and of the rarer ones together"
    )
    interval: tuple[float, float] = Field(
        description="in which the coverage lies for 9 in 10 archives with as many patients"
    )
    patients: int = Field(description="archived patients left out by whom it was set")


class Voter(Out):
    """A case that voted."""

    case_id: str
    similarity: float = Field(description="cosine of what the frozen towers know of both")
    label: str = Field(description="the class it voted for")
    share: float = Field(description="of the whole vote")


class LabelAnswer(Out):
    """The answer on one label set."""

    label_set: str = Field(description="FAMILY/CLASS for one class of a multi-label set")
    verified: bool = Field(description="false where the archive's labels were read from reports by a program")
    answer: str | None = Field(description="the most probable class, or null where the answer is withheld")
    withheld: Literal["uncertain", "unlike the archive"] | None = Field(
        description="why there is no answer: no class is probable enough, or the archive holds nothing like the query"
    )
    ranked: list[RankedLabel] = Field(
        description="every class, most probable first; what is told of patients left out does not hold for a query unlike them"
    )
    set: PromisedSet | None = Field(
        description="null where too few patients could be left out to rule a label out, or the query is unlike the archive"
    )
    agree: bool = Field(description="whether vote and probe name the same class, as far as both were asked")
    held_out_accuracy: float | None = Field(
        description="share of right answers to such queries on archived patients left out; null where too few were"
    )
    held_out_interval: tuple[float, float] | None = Field(description="its 95 % interval")
    held_out_patients: int = Field(description="on how many patients it was measured")
    held_out_alike: Alike | None = Field(description="of those, the answers that were as sure as this one")
    commonest_class: str = Field(description="the class that most archived patients have")
    commonest_share: float = Field(description="share of them: how often it would be right to name it always")
    voters: list[Voter] = Field(description="the most similar cases whose class is known, one a patient")
    archive_share: float = Field(description="of the whole vote, what the archive's frequencies of the classes have")


def answer_label_set(
    diagnoser: Diagnoser,
    composition: Composition,
    blocks: Mapping[Part, NDArray[np.float32]],
    ballots: Sequence[Ballot],
    *,
    by_vote_alone: bool = False,
    promise: Promise | None = None,
) -> LabelAnswer | None:
    """Answer one label set from the blocks of a query's parts (`Fuser.blocks`) and its voters.

    None where nothing is fitted for queries of this composition, or nobody votes.

    Args:
        by_vote_alone: the probes have seen the patient, so they are not asked.
        promise: what the set of labels is to keep; 90 % of new patients where None.
    """
    fit = diagnoser.fits.get(composition)
    if fit is None or not any(ballot.label in diagnoser.classes for ballot in ballots):
        return None
    found = diagnoser.opinions(composition, blocks, ballots, by_vote_alone=by_vote_alone)
    pool, voted = found.pool[0], found.vote
    probe = found.probes[0][0] if found.probes else None
    measured = fit.measured_alone if by_vote_alone else fit.measured
    quoted = measured.patients >= LEAST_PATIENTS
    ranked = [
        RankedLabel(
            label=diagnoser.classes[i],
            probability=float(pool[i]),
            vote=float(voted.probabilities[i]),
            probe=None if probe is None else float(probe[i]),
        )
        for i in sorted(range(len(pool)), key=lambda i: (-pool[i], diagnoser.classes[i]))
    ]
    asked = promise or Promise()
    scores = fit.scores_alone if by_vote_alone else fit.scores
    found_set = scores.label_set(pool, asked)
    promised = None if found_set is None else _promised(found_set, diagnoser.classes, ranked, asked)
    usual = found_set if promise is None else scores.label_set(pool, Promise())  # what is named depends on no option
    alone = usual is not None and int(usual.within.sum()) == 1 and not usual.empty
    answer = named(ranked[0].label, ranked[0].probability, len(ranked), alone=alone)
    return LabelAnswer(
        label_set=diagnoser.label_set,
        verified=is_verified(diagnoser.label_set),
        answer=answer,
        withheld="uncertain" if answer is None else None,
        ranked=ranked,
        set=promised,
        agree=probe is None or int(voted.probabilities.argmax()) == int(probe.argmax()),
        held_out_accuracy=measured.accuracy if quoted else None,
        held_out_interval=interval(measured.accuracy, measured.patients) if quoted else None,
        held_out_patients=measured.patients,
        held_out_alike=_alike(measured, ranked[0].probability),
        commonest_class=max(diagnoser.classes, key=lambda label: diagnoser.patients[label]),
        commonest_share=float(diagnoser.prior.max()),
        voters=[
            Voter(case_id=ballot.case_id, similarity=ballot.similarity, label=ballot.label, share=float(share))
            for ballot, share in zip(ballots, voted.weights, strict=True)
            if share > 0 and ballot.label is not None
        ],
        archive_share=voted.archive,
    )


def _promised(found: LabelSet, classes: Sequence[str], ranked: Sequence[RankedLabel], promise: Promise) -> PromisedSet:
    within = {label for label, inside in zip(classes, found.within, strict=True) if inside}
    return PromisedSet(
        labels=[one.label for one in ranked if one.label in within],
        empty=found.empty,
        coverage=promise.coverage,
        kind=found.kind,
        interval=found.interval,
        patients=found.patients,
    )


def _alike(measured: Measured, probability: float) -> Alike | None:
    """What became of the answers in the same bin of the reliability diagram; None where too few are to be quoted."""
    number = min(int(probability * BINS), BINS - 1)
    own = next((one for one in measured.bins if one.number == number), None)
    patients = 0 if own is None else round(own.share * measured.patients)
    if own is None or patients < LEAST_PATIENTS:
        return None
    return Alike(least=number / BINS, most=(number + 1) / BINS, patients=patients, right=own.right)
