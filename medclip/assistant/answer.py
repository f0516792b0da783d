"""The answer to a query: what ``--json`` prints. Its JSON schema stands in ``docs/answer.schema.json``."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field

from medclip.cases.case import Case
from medclip.diagnosis.label_answer import LabelAnswer, Out
from medclip.fusion.composition import Composition, Part, ViewKind
from medclip.index import Hit

__all__ = [
    "Answer",
    "ArchivedCase",
    "Contribution",
    "Copy",
    "Heard",
    "MarkedRegion",
    "NovelPart",
    "NovelQuery",
    "Ranking",
    "Refined",
    "SimilarCase",
    "archived_case",
    "similar_case",
]

Ranking = Literal["similarity", "similarity and words", "refined similarity", "refined similarity and words"]


class ArchivedCase(Out):
    """One case of the archive as an answer shows it."""

    case_id: str
    labels: dict[str, str]
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


class SimilarCase(ArchivedCase):
    """One similar case; its labels are those of the view that matched."""

    similarity: float = Field(description="cosine between the query, as it was refined, and the view that matched")
    view: ViewKind = Field(description="which view of the case matched")
    scan: int | None = Field(description="which scan matched, counted from 1; null for other views")
    vote_weights: dict[str, float] = Field(description="label set → this case's share of the vote, if it voted")


class Contribution(Out):
    """How the answer would differ without one part of the query."""

    part: Part
    new_neighbours: int = Field(description="similar cases that would not be among those shown without it")
    shift: dict[str, float] = Field(description="label set → total variation between the answers with and without it")
    without: dict[str, str | None] = Field(
        description="label set → the answer without it, or null where it is withheld"
    )


class NovelPart(Out):
    """How unlike the archive one scan or text of a query is."""

    part: Part
    scan: int | None = Field(description="which scan of the query, counted from 1; null for texts")
    p: float = Field(description="share of the archive's own scans, histories or reports that are as unlike")
    lies: str | None = Field(
        description="how a scan seems to lie that is unlike by that alone: upside down, inverted ..."
    )


class NovelQuery(Out):
    """Whether the archive holds anything like the query."""

    p: float = Field(description="of one part its own; of several 1.25 times the harmonic mean of theirs")
    verdict: Literal["not told apart", "unlike the archive"] = Field(
        description="unlike below 0.05: so is one in twenty queries of the archive's own kind; not told apart is no proof "
        "that the archive holds the like"
    )
    parts: list[NovelPart]


class Heard(Out):
    """What was understood of a recording, and searched like any text."""

    text: str
    language: str = Field(description="ISO 639-1")
    seconds: float
    sha256: str = Field(description="of the recording's file")
    model: str = Field(description="the speech model")


class MarkedRegion(Out):
    """A rectangle on a scan of the query."""

    scan: int = Field(description="counted from 1")
    slice: int | None = Field(description="of those that were read, counted from 1; null for the middle one")
    box: tuple[float, float, float, float] = Field(description="left, top, right, bottom as shares of the picture")


class Copy(Out):
    """A case that is hidden, since one of its scans looks the same as one of a case that is shown above it."""

    case_id: str
    of: str = Field(description="the case that is shown")


class Refined(Out):
    """What was refined about the query."""

    like: list[str] = Field(description="ids of the cases to which the query was drawn")
    unlike: list[str] = Field(description="ids of the cases from which it was drawn away, and which are hidden")
    without: list[Part] = Field(description="parts that were taken out: the whole answer is that to the rest")
    region: MarkedRegion | None = Field(description="what the cases shown were searched by")
    distinct: bool = Field(description="whether cases that look like one above are hidden")
    weights: list[float] | None = Field(description="of the query, the mean of the liked and that of the unliked cases")
    views: list[ViewKind] = Field(description="the kinds of view that were searched")
    copies: list[Copy] = Field(description="hidden by `distinct`")


class Answer(Out):
    """All that is answered to one query."""

    disclaimer: str
    medclip_version: str
    cautions: list[str] = Field(
        description="what to know first: that a text was probably not understood, the patient is archived already ..."
    )
    novelty: NovelQuery | None = Field(
        description="null where it cannot be told: an archived case asked as if new, too few patients, an earlier model"
    )
    of: ArchivedCase | None = Field(
        description="the archived case that was asked about, with what it turned out to be; null for a new patient"
    )
    query: Composition = Field(description="what the query was made of")
    transcripts: list[Heard] = Field(description="of the query's recordings")
    contributions: list[Contribution] = Field(description="what each part of the query changed, if there are several")
    labels: list[LabelAnswer]
    refined: Refined | None = Field(
        description="null where nothing was; it bears on the similar cases alone, but for `without`: who votes and every label "
        "are those of the query itself"
    )
    ranked_by: Ranking = Field(
        description="the order of the similar cases: their cosine to the query, or to the query as refined by marks or a "
        "region, alone or fused with the words that they share"
    )
    similar: list[SimilarCase] = Field(
        description="those shown, most similar first, one a patient; who votes stands with each label set"
    )


def archived_case(case: Case) -> ArchivedCase:
    """An archived case as it is shown where it is asked about."""
    return ArchivedCase(**_shown(case), labels=case.case_labels)


def similar_case(case: Case, hit: Hit, shares: Mapping[str, Mapping[str, float]]) -> SimilarCase:
    """An archived case as it is shown, found by one of its views.

    Args:
        shares: label set → case id → share of the vote.
    """
    return SimilarCase(
        **_shown(case),
        labels=hit.labels,
        similarity=hit.similarity,
        view=cast(ViewKind, hit.kind),
        scan=hit.number + 1 if hit.kind == "scan" else None,
        vote_weights={name: own[case.id] for name, own in shares.items() if case.id in own},
    )


def _shown(case: Case) -> dict[str, Any]:
    """What is shown of a case, however it was found."""
    return {
        "case_id": case.id,
        "age": case.age,
        "sex": case.sex,
        "impression": case.outcome.impression,
        "diagnosis": case.outcome.diagnosis,
        "confirmed_by": case.outcome.confirmed_by,
        "differential": case.outcome.differential,
        "treatment": case.outcome.treatment,
        "history": case.note_text("history"),
        "report": case.report,
        "scans": len(case.scans),
        "synthetic": case.synthetic,
    }
