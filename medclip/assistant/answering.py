"""A query that is embedded → its answer: who votes, what the labels are, which cases are shown, what each part changed."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medclip import DISCLAIMER, __version__
from medclip.archive.entries import case_of
from medclip.archive.filter_fields import label_sets_in
from medclip.archive.layout import manifest_of
from medclip.archive.novelty import Novelty
from medclip.assistant.answer import Answer, Contribution, NovelPart, NovelQuery, Ranking, similar_case
from medclip.assistant.asking import Among
from medclip.assistant.cautions import OUTDATED, TUNED, few_cases, no_answer, not_fitted_among
from medclip.assistant.refining import Display, ranking_by
from medclip.assistant.searches import Search, Searches
from medclip.assistant.showing import show
from medclip.assistant.vectors import QueryVectors
from medclip.bundle.layout import ServingManifest
from medclip.diagnosis.diagnoser import Diagnoser
from medclip.diagnosis.label_answer import LabelAnswer, answer_label_set
from medclip.diagnosis.neighbours import VOTERS, ballots_of, kinds_for
from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import Composition, Part
from medclip.index import CaseIndex, Hit

__all__ = ["Answering"]

Array = NDArray[np.float32]

_UNLIKE = {"answer": None, "withheld": "unlike the archive", "set": None}
"""What is said on every label set where nothing of the archive is like the query: what was measured does not hold for it."""


class Answering:
    """An index with its diagnosers: what it takes to answer without the model.

    What is *shown* are the cases that are most similar by the whole embedding, by words, too, or as a query was refined. Who
    *votes* are always the `VOTERS` cases that are most similar by what the frozen towers know: the answers were fitted on
    voters found so.
    """

    def __init__(
        self, index: CaseIndex, diagnosers: Sequence[Diagnoser] | None, novelty: Novelty | None, fuser: Fuser
    ) -> None:
        """Args as of `medclip.assistant.assistant.Assistant`."""
        self.index, self.novelty, self.fuser = index, novelty, fuser
        self.outdated = diagnosers is None
        self.diagnosers = list(diagnosers or ())

    @cached_property
    def _manifest(self) -> ServingManifest:
        return manifest_of(self.index)

    def answer_to(
        self,
        asked: QueryVectors,
        among: Among,
        *,
        by_vote_alone: bool = False,
        words: str = "",
        display: Display | None = None,
        searches: Searches | None = None,
    ) -> tuple[Answer, list[Hit]]:
        """The answer to a query that is embedded already, and who could vote.

        Args:
            by_vote_alone: the probes have seen the patient, so they are not asked.
            words: a text whose words rank the cases that are shown, too.
            display: how those that are shown are searched for, where it is not by the query alone.
            searches: in which those of the query are made already; they are made here where None.
        """
        if searches is None:
            searches = Searches(self.index, self.searches_for(asked, among, words, display))
        labels, voters, novelty = self._answered(asked, among, by_vote_alone, searches)
        if display is None:
            shown, refined = searches.hits(self._similar(asked, among, words)), None
        else:
            found = show(self.index, display, among, words)
            shown, refined = found.hits, display.applied.model_copy(update={"copies": found.copies})
        plain = shown
        if asked.rests and (words or refined is not None):
            plain = searches.hits(self._similar(asked, among))
        contributions = [
            self._contribution(labels, plain, part, asked.without(part), among, by_vote_alone, searches)
            for part in asked.rests
        ]
        cautions = self._of_answers(asked.composition, labels, len(voters), len(shown), among)
        answer = self._answer(asked.composition, labels, shown, ranking_by(display, words=bool(words)))
        known = {"contributions": contributions, "cautions": cautions, "novelty": novelty, "refined": refined}
        return answer.model_copy(update=known), voters

    def searches_for(self, asked: QueryVectors, among: Among, words: str, display: Display | None) -> list[Search]:
        """What `answer_to` searches for whatever it finds, except by a display."""
        found = [self._votes(asked, among)]
        if display is None:
            found.append(self._similar(asked, among, words))
        if asked.rests and (words or display is not None):
            found.append(self._similar(asked, among))
        for part in asked.rests:
            rest = asked.without(part)
            found += [self._votes(rest, among), self._similar(rest, among)]
        return found

    def _answered(
        self, asked: QueryVectors, among: Among, by_vote_alone: bool, searches: Searches
    ) -> tuple[list[LabelAnswer], list[Hit], NovelQuery | None]:
        """The answers, who could vote, and whether the archive holds anything like the query; where not, none is given."""
        labels, voters = self._diagnosed(asked, among, searches, by_vote_alone=by_vote_alone)
        novelty = self._judged(asked.parts)
        if novelty is not None and novelty.verdict == "unlike the archive":
            labels = [one.model_copy(update=_UNLIKE) for one in labels]
        return labels, voters, novelty

    def _judged(self, parts: Parts | None) -> NovelQuery | None:
        """Whether the archive holds anything like a query."""
        judged = None if parts is None or self.novelty is None else self.novelty.judge(parts)
        if judged is None:
            return None
        found = [NovelPart(part=one.kind, scan=one.scan, p=one.p, lies=one.lies) for one in judged.parts]
        return NovelQuery(p=judged.p, verdict="unlike the archive" if judged.unlike else "not told apart", parts=found)

    def _contribution(
        self,
        whole: Sequence[LabelAnswer],
        shown: Sequence[Hit],
        part: Part,
        rest: QueryVectors,
        among: Among,
        by_vote_alone: bool,
        searches: Searches,
    ) -> Contribution:
        """What one part of a query changed: the answer, and the cases shown by similarity, compared with those to the rest."""
        labels, _, _ = self._answered(rest, among, by_vote_alone, searches)
        hits = searches.hits(self._similar(rest, among))
        now = {found.label_set: {r.label: r.probability for r in found.ranked} for found in whole}
        shift = {
            found.label_set: sum(abs(now[found.label_set][r.label] - r.probability) for r in found.ranked) / 2
            for found in labels
            if found.label_set in now
        }
        return Contribution(
            part=part,
            new_neighbours=len({hit.case_id for hit in shown} - {hit.case_id for hit in hits}),
            shift=shift,
            without={found.label_set: found.answer for found in labels if found.label_set in shift},
        )

    def _of_answers(
        self, asked: Composition, labels: Sequence[LabelAnswer], voters: int, shown: int, among: Among
    ) -> list[str]:
        """What is to be known of the answers themselves."""
        if self.outdated:
            return [OUTDATED]
        found = few_cases(voters, shown, among.k, among.where)
        if voters and not labels:
            found.append(no_answer(asked, sorted({name for d in self.diagnosers for name in d.fits})))
        if labels and (changed := not_fitted_among(self.index)) is not None:
            found.append(changed)
        if labels and self._manifest.tuned:
            found.append(TUNED)
        return found

    def diagnose(self, patients: Sequence[tuple[Parts, Among]]) -> list[list[LabelAnswer]]:
        """The answers on every label set for what is known of each patient; all are searched for together."""
        asked = self._plain(patients)
        with self.index.snapshot():
            searches = Searches(self.index, (self._votes(*one) for one in asked))
            return [self._diagnosed(*one, searches)[0] for one in asked]

    def shown(self, patients: Sequence[tuple[Parts, Among]]) -> list[list[Hit]]:
        """The cases that are shown beside the answer for each patient; all are searched for together."""
        wanted = [self._similar(*one) for one in self._plain(patients)]
        with self.index.snapshot():
            searches = Searches(self.index, wanted)
            return [searches.hits(one) for one in wanted]

    def _plain(self, patients: Sequence[tuple[Parts, Among]]) -> list[tuple[QueryVectors, Among]]:
        """Queries of which nothing is told apart by its parts."""
        return [(QueryVectors(parts.composition, parts, self.fuser.fuse([parts]), {}), of) for parts, of in patients]

    def _diagnosed(
        self, asked: QueryVectors, among: Among, searches: Searches, *, by_vote_alone: bool = False
    ) -> tuple[list[LabelAnswer], list[Hit]]:
        voters = searches.hits(self._votes(asked, among))
        blocks = {} if asked.parts is None else self.fuser.blocks(asked.parts)
        return self._labels(asked.composition, blocks, voters, among, by_vote_alone=by_vote_alone), voters

    def _similar(self, asked: QueryVectors, among: Among, words: str = "") -> Search:
        """The k most similar cases, one a patient."""
        kinds = kinds_for(asked.composition)
        return Search(asked.whole, among.k, kinds, among.where, among.exclude_patient, words=words)

    def _votes(self, asked: QueryVectors, among: Among) -> Search:
        """Who votes: as many, and found as, those on whom the answers were fitted."""
        found = self._similar(asked, among)
        return found._replace(vector=self.fuser.untrained(found.vector), k=VOTERS)

    def _labels(
        self,
        composition: Composition,
        blocks: Mapping[Part, Array],
        voters: Sequence[Hit],
        among: Among,
        *,
        by_vote_alone: bool = False,
    ) -> list[LabelAnswer]:
        dictated = label_sets_in(among.where)  # whose voters were chosen by their class
        answered = (
            answer_label_set(
                d,
                composition,
                blocks,
                ballots_of(voters, d.label_set),
                by_vote_alone=by_vote_alone,
                promise=among.promise,
            )
            for d in self.diagnosers
            if (not among.label_sets or d.label_set in among.label_sets) and d.label_set not in dictated
        )
        return [found for found in answered if found is not None]

    def _answer(
        self, composition: Composition, labels: list[LabelAnswer], shown: Sequence[Hit], ranked_by: Ranking
    ) -> Answer:
        shares = {found.label_set: {v.case_id: v.share for v in found.voters} for found in labels}
        records = {kept.record.id: kept.record for kept in self.index.kept([hit.case_id for hit in shown])}
        similar = [
            similar_case(case_of(records.get(hit.case_id) or self.index.record(hit.case_id)), hit, shares)
            for hit in shown
        ]
        return Answer(
            disclaimer=DISCLAIMER,
            medclip_version=__version__,
            cautions=[],
            novelty=None,
            query=composition,
            transcripts=[],
            contributions=[],
            labels=labels,
            of=None,
            refined=None,
            ranked_by=ranked_by,
            similar=similar,
        )
