"""From a record of an answer to the same answer, or to what has changed since; and how the answer comes about."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medclip import __version__
from medclip.assistant.answer import Answer, NovelQuery, SimilarCase
from medclip.assistant.assistant import Among, Assistant
from medclip.assistant.cautions import of_the_index
from medclip.assistant.record import Archive, Labels, Record, Shown, archive_state, display_of, vectors_of
from medclip.assistant.vectors import QueryVectors
from medclip.diagnosis.diagnoser import probes_of
from medclip.diagnosis.label_answer import LabelAnswer, PromisedSet
from medclip.diagnosis.neighbours import ballots_of
from medclip.errors import RecordError
from medclip.index import Hit

__all__ = ["Explanation", "Opinion", "asked_at", "explain"]

_SAME = 1e-9
"""Up to this difference two numbers are the same: what the very same computation gives again. Another processor's float32
may differ by 1e-7, and is told as a difference."""

_TOLD = 5
"""Classes of a label set whose numbers are told, those that moved most first."""


@dataclass(frozen=True)
class Opinion:
    """What one opinion says of a query; the pool is the softmax over classes of Σ weight · ln probability."""

    name: str  # frequencies, vote, or the parts that a probe reads
    weight: float
    probabilities: dict[str, float]  # class → probability


@dataclass(frozen=True)
class Explanation:
    """The answer to what a record asked, as the index gives it now."""

    record: Record
    answer: Answer
    since: list[str]  # what else than the answer is not as it was, as plain sentences
    moved: list[str]  # what of the answer is not as it was; nothing where it is the same
    opinions: dict[str, list[Opinion]]  # label set → what is pooled; the voters stand in the answer

    @property
    def same(self) -> bool:
        """Whether the answer is the same, to the last digit."""
        return not self.moved

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "same": self.same,
            "asked_at": asked_at(self.record),
            "since": self.since,
            "moved": self.moved,
            "opinions": {name: [asdict(one) for one in said] for name, said in self.opinions.items()},
            "answer": self.answer.model_dump(mode="json"),
        }


def asked_at(record: Record) -> str:
    """When a record was made, for a reader."""
    return f"{record.asked_at:%Y-%m-%d %H:%M:%S} UTC"


def explain(assistant: Assistant, record: Record, name: str) -> Explanation:
    """Answer again from a record, without its texts, scans and the model's network.

    Args:
        name: of the record, for messages.

    Raises:
        RecordError: it is of another model than the index', or its vectors are not such.
        FilterError: its filter asks for a field that the index has no more.
    """
    index, query, before = assistant.index, record.query, record.archive
    if before.model != index.fingerprint:
        raise RecordError(
            f"{name}: is of another model than that of {index.folder}, to which its vectors mean nothing; name the index "
            "that was asked"
        )
    try:
        asked, display = vectors_of(query, assistant.fuser), display_of(query, assistant.fuser)
    except ValueError as error:
        raise RecordError(f"{name}: {error}; ask anew with  --record") from error
    with index.snapshot():
        now, there = archive_state(index), index.contents(sorted(record.contents))
        own = next((one for one in query.left_out if one in there), None)
        patient = None if own is None else index.record(own).patient
        where = None if query.where is None else index.filter(query.where)
        among = Among(query.k, tuple(query.label_sets), where, patient, query.promise)
        alone = bool(query.left_out)
        answer, voters = assistant.answer_to(asked, among, by_vote_alone=alone, display=display)
        opinions = {one.label_set: _opinions(assistant, one, asked, voters, alone) for one in answer.labels}
    since = [*_since(before, now, record.medclip_version), *_of_cases(record.contents, there)]
    if alone and own is None:
        since.append("Of the patient who was left out no case is archived any more.")
    by_words = record.answer.ranked_by != answer.ranked_by
    if by_words:
        since.append(
            "The similar cases were ranked by words, too. A record holds no text, so those below are ranked by cosine alone "
            "and not compared with those of then; who votes does not depend on words."
        )
    moved = [
        *_labels_moved(record.answer.labels, answer.labels, sets=query.promise is not None),
        *([] if by_words else _similar_moved(record.answer.similar, answer.similar)),
        *_contributions_moved(record, answer),
        *_novelty_moved(record.answer.novelty, answer.novelty),
        *_listed("cautions", _of_answer(record.answer.cautions), _of_answer(answer.cautions)),
    ]
    answer = answer.model_copy(update={"cautions": [*record.answer.noted, *answer.cautions]})
    return Explanation(record, answer, since, moved, opinions)


def _opinions(
    assistant: Assistant, found: LabelAnswer, asked: QueryVectors, voters: Sequence[Hit], alone: bool
) -> list[Opinion]:
    """What is pooled to the answer on one label set, in the order of `Fit.weights`."""
    diagnoser = next(one for one in assistant.diagnosers if one.label_set == found.label_set)
    blocks = {} if asked.parts is None else assistant.fuser.blocks(asked.parts)
    ballots = ballots_of(voters, found.label_set)
    said = diagnoser.opinions(asked.composition, blocks, ballots, by_vote_alone=alone)
    fit = diagnoser.fits[asked.composition]
    names = ("frequencies", "vote", *(() if alone else probes_of(asked.composition)))
    rows = (diagnoser.prior, said.vote.probabilities, *(probe[0] for probe in said.probes))
    return [
        Opinion(name, weight, dict(zip(diagnoser.classes, row.tolist(), strict=True)))
        for name, weight, row in zip(names, fit.alone if alone else fit.weights, rows, strict=True)
    ]


def _since(before: Archive, now: Archive, version: str) -> list[str]:
    found = []
    if version != __version__:
        found.append(f"It was answered by medclip {version}, this is {__version__}.")
    if before.digest != now.digest:
        found.append(
            f"The index has changed: it held {before.cases} cases and holds {now.cases} (changes until then: "
            f"{before.generation}, until now: {now.generation})."
        )
    elif before.generation != now.generation:
        found.append("The index holds the same cases, but was changed or compacted in between.")
    if before.answers != now.answers:
        found.append("The answers were fitted anew (index compact).")
    return found


def _of_cases(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What became of the cases that the record names."""
    gone = [one for one in before if one not in now]
    updated = [one for one in before if one in now and now[one] != before[one]]
    told = (("no longer archived", gone), ("updated since", updated))
    return [f"Of the cases that took part, {what}: {', '.join(some)}." for what, some in told if some]


def _differ(one: float | None, other: float | None) -> bool:
    return one != other if one is None or other is None else not abs(one - other) <= _SAME


def _numbers_moved(what: str, before: Mapping[str, float | None], now: Mapping[str, float | None]) -> list[str]:
    """One line on the numbers that are not what they were, those that moved most first."""
    moved = [one for one in {**before, **now} if _differ(before.get(one), now.get(one))]
    moved.sort(key=lambda one: -abs((now.get(one) or 0) - (before.get(one) or 0)))
    if not moved:
        return []
    told = (f"{one} {_number(before.get(one))} → {_number(now.get(one))}" for one in moved[:_TOLD])
    more = f", and {len(moved) - _TOLD} more" if len(moved) > _TOLD else ""
    return [f"{what}: {', '.join(told)}{more}"]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _of_answer(cautions: Sequence[str]) -> list[str]:
    return [one for one in cautions if not of_the_index(one)]  # how the index changed is told by itself


def _listed(what: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    """One line on what was there and is no more, and on what is new."""
    sides = (
        ("no longer", [one for one in before if one not in now]),
        ("new", [one for one in now if one not in before]),
    )
    told = [f"{side}: {', '.join(some)}" for side, some in sides if some]
    return [f"{what}: {'; '.join(told)}"] if told else [f"{what}: in another order"] if [*before] != [*now] else []


def _labels_moved(before: Sequence[Labels], now: Sequence[LabelAnswer], *, sets: bool) -> list[str]:
    """What of the labels is not as it was.

    Args:
        sets: whether there were sets of labels then.
    """
    then = {one.label_set: one for one in before}
    found = _listed("label sets answered", list(then), [one.label_set for one in now])
    for one in now:
        if (old := then.get(one.label_set)) is None:
            continue
        name = one.label_set
        if old.answer != one.answer:
            found.append(f"{name}: {old.answer or 'undecided'} → {one.answer or 'undecided'}")
        if sets and old.set != one.set:
            found.append(f"{name}, not ruled out: {_set(old.set)} → {_set(one.set)}")
        for what in ("probability", "vote", "probe"):
            sides = ({row.label: getattr(row, what) for row in side.ranked} for side in (old, one))
            found += _numbers_moved(f"{name}, {what}", *sides)
        voters = [[voter.case_id for voter in side.voters] for side in (old, one)]
        shares = [{voter.case_id: voter.share for voter in side.voters} for side in (old, one)]
        found += _listed(f"{name}, voters", *voters) or _numbers_moved(f"{name}, shares of the vote", *shares)
    return found


def _set(promised: PromisedSet | None) -> str:
    if promised is None:
        return "nothing could be"
    low, high = promised.interval
    return f"{', '.join(promised.labels)} ({promised.kind}, {low:.4f} to {high:.4f}, {promised.patients} patients)"


def _similar_moved(before: Sequence[Shown], now: Sequence[SimilarCase]) -> list[str]:
    cases = [[one.case_id for one in side] for side in (before, now)]
    if found := _listed("similar cases", *cases):
        return found
    views = [[f"{one.case_id} by its {one.view}, {one.scan}" for one in side] for side in (before, now)]
    cosines = ({one.case_id: one.similarity for one in side} for side in (before, now))
    return _listed("similar cases, matched by", *views) or _numbers_moved("similar cases, cosine", *cosines)


def _novelty_moved(before: NovelQuery | None, now: NovelQuery | None) -> list[str]:
    verdicts = [[] if one is None else [one.verdict] for one in (before, now)]
    p_values = ({} if one is None else {"all of it": one.p} for one in (before, now))
    return _listed("the query", *verdicts) or _numbers_moved("the query's novelty, p", *p_values)


def _contributions_moved(record: Record, answer: Answer) -> list[str]:
    then, now = ({one.part: one for one in given.contributions} for given in (record.answer, answer))
    found = []
    for part in {**then, **now}:
        old, new = then.get(part), now.get(part)
        plain = [None if one is None else (one.new_neighbours, one.without) for one in (old, new)]
        shifts = ({} if one is None else dict(one.shift) for one in (old, new))
        if plain[0] != plain[1] or _numbers_moved("", *shifts):
            found.append(f"without the {part}: the answer differs from itself by other than it did")
    return found
