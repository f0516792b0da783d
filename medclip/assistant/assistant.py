"""The whole product in one object: ``Assistant.open(index).query(...)`` → `Answer`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medclip.archive.entries import case_of
from medclip.archive.filter_fields import read_filter
from medclip.archive.layout import PROBE, VOCABULARY, fuser_of, manifest_of, model_of, orientation_of
from medclip.archive.novelty import Novelty, read_novelty
from medclip.assistant.answer import Heard, archived_case
from medclip.assistant.answering import Answering
from medclip.assistant.asking import Among, Asked, Capability, Coverage, Judged, Question
from medclip.assistant.cautions import archived_already, foreign, left_out, searches_of_its_own
from medclip.assistant.record import record_of, sources_of
from medclip.assistant.refining import Refinement, crop, display_of
from medclip.assistant.searches import Search, Searches
from medclip.assistant.vectors import QueryVectors, query_vectors
from medclip.bundle.layout import ServingManifest
from medclip.bundle.serving import ServingModel
from medclip.diagnosis.diagnoser import Diagnoser
from medclip.diagnosis.neighbours import VOTERS
from medclip.diagnosis.sets import Promise, Scores
from medclip.diagnosis.store import load_diagnosers
from medclip.embedding.embedder import Embedder
from medclip.errors import ArchiveError, NotThereError, RefinementError
from medclip.files.plain import unreadable
from medclip.fusion import Fuser
from medclip.fusion.composition import PARTS, composed
from medclip.index import CaseIndex
from medclip.index.filters import Filter
from medclip.modalities.measurements.shared_units import Amount
from medclip.modalities.speech.models import DEFAULT
from medclip.modalities.speech.transcribe import Transcriber
from medclip.modalities.text.vocabulary import read_vocabulary

__all__ = ["Among", "Asked", "Assistant", "Capability", "Coverage", "Question"]

Array = NDArray[np.float32]

_AS_ASKED = Refinement()


class _Posed(NamedTuple):
    """A question as the index is asked."""

    question: Question  # less what is taken out of it
    asked: QueryVectors
    region: Array | None  # (1, d)
    words: str  # a text whose words rank the cases that are shown, too
    own: Mapping[str, Search]  # each of its scans and texts by name, searched for among those that are archived


class Assistant(Answering):
    """An opened index folder with its own model and diagnosers."""

    def __init__(
        self,
        index: CaseIndex,
        diagnosers: Sequence[Diagnoser] | None,
        novelty: Novelty | None,
        fuser: Fuser,
        embedder: Embedder | None,
    ) -> None:
        """An assistant of what was opened already.

        Args:
            diagnosers: None where an earlier medclip fitted them.
            novelty: None where an earlier medclip built the index or trained its model.
            fuser: of the index's model; its network is needed only to ask with several parts.
        """
        super().__init__(index, diagnosers, novelty, fuser)
        self._embedder = embedder

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None, mmap: bool = True, verify: bool = False) -> "Assistant":
        """Open an index folder; its model is verified against its checksums and stored probes.

        Args:
            mmap: map search structures from their files instead of reading them.
            verify: anew, even if the model is remembered to have been found well and no file of it changed since.

        Raises:
            ArchiveError: the folder is no index, is damaged, or its model is not the one that made its vectors.
            BundleError: its model is damaged.
        """
        index = CaseIndex.open(folder, mmap=mmap)
        return cls.of(index, model_of(index, threads=threads, again=verify), verify=verify)

    @classmethod
    def of(cls, index: CaseIndex, model: ServingModel, *, verify: bool = False) -> "Assistant":
        """An assistant of an opened index and its model, of which the stored probes are verified here.

        Args:
            verify: as of `open`.

        Raises:
            ArchiveError, BundleError: as `open`.
        """
        (model.verify_references if verify else model.require_references)()
        novelty = read_novelty(index.attachment(PROBE), model.fuser, model.orientation)
        return cls(index, _diagnosers(index, model.fuser), novelty, model.fuser, Embedder(model))

    @classmethod
    def open_without_model(cls, folder: Path) -> "Assistant":
        """Open an index folder for questions that embed nothing, such as `similar`.

        Raises:
            ArchiveError: the folder is no index or is damaged.
            BundleError: the manifest of its model is damaged.
        """
        index = CaseIndex.open(folder)
        fuser = fuser_of(index)
        novelty = read_novelty(index.attachment(PROBE), fuser, orientation_of(index))
        return cls(index, _diagnosers(index, fuser), novelty, fuser, None)

    @property
    def embedder(self) -> Embedder:
        """The index's own embedder."""
        if self._embedder is None:
            raise ArchiveError(f"{self.index.folder}: was opened without its model, so nothing can be embedded")
        return self._embedder

    def query(
        self,
        scans: Sequence[Path] = (),
        history: Sequence[str] = (),
        values: Mapping[str, Amount] | None = None,
        *,
        report: Sequence[str] = (),
        recordings: Sequence[Path] = (),
        speech_model: str = DEFAULT,
        k: int = VOTERS,
        label_sets: Sequence[str] = (),
        where: str | None = None,
        exclude_patient: str | None = None,
        words: bool | None = None,
        promise: Promise | None = None,
        record: bool = False,
        refinement: Refinement = _AS_ASKED,
    ) -> Asked:
        """Answer for a new patient: `ask` and `answer` in one.

        Args:
            history: texts of what is known beside the scans.
            report: texts of what was found on them.
            recordings: dictations of what was found, which are transcribed and go on as report.
            speech_model: as `medclip.modalities.speech.models` knows it.
            values: measurements by name; a number is in the unit that the model knows it in (`Embedder.coding`).
            k: how many similar cases, one a patient, are shown.
            label_sets: which to answer; all where none is named.
            where: only archived cases of which this expression (`medclip.index.filters`) is true; neither others are
                shown, nor do they vote. The probes were fitted on all.
            exclude_patient: a patient whose archived cases are left out; the vote alone answers then, since the probes were
                fitted on them.
            words: whether the cases whose reports share the texts' words rank, too, among those shown (reciprocal rank
                fusion); where None, they do if the query is of text alone.
            promise: what the sets of labels are to keep.
            record: make a record, too, from which `medclip.assistant.explanation.explain` answers again.
            refinement: as of `answer`.

        Raises:
            RefinementError: the refinement does not fit the query.
            FilterError: `where` cannot be understood.
            ScanError, TextError, SpeechError, MeasurementError: an input cannot be used.
            MissingDependencyError: there are recordings, and the extra ``speech`` is not installed.
            ArchiveError: a label set is not one that the index can answer, or `exclude_patient` has no case.
        """
        self._check(label_sets, exclude_patient)
        self._filter(where)
        question = self.ask(
            scans, history, values, report=report, recordings=recordings, speech_model=speech_model
        )  # fmt: skip
        return self.answer(
            question, k=k, label_sets=label_sets, where=where, exclude_patient=exclude_patient, words=words,
            promise=promise, record=record, refinement=refinement,
        )  # fmt: skip

    def ask(
        self,
        scans: Sequence[Path] = (),
        history: Sequence[str] = (),
        values: Mapping[str, Amount] | None = None,
        *,
        report: Sequence[str] = (),
        recordings: Sequence[Path] = (),
        speech_model: str = DEFAULT,
        most_pixels: int | None = None,
    ) -> Question:
        """Read, transcribe and embed what is known of a new patient, for `answer`.

        Args:
            history, values, report, recordings, speech_model: as of `query`.
            most_pixels: of all scans together, slices counted; as many as there are where None.

        Raises:
            ScanError, TextError, SpeechError, MeasurementError, MissingDependencyError, ArchiveError: as of `query`.
        """
        heard = self.transcribe(recordings, speech_model)
        said = [one.text for one in heard]
        query = self.embedder.query(scans, history, [*report, *said], values or {}, most_pixels=most_pixels)
        sources = sources_of(scans, history, report, [one.sha256 for one in heard], said)
        return Question(
            query.parts,
            tuple(query.scans),
            tuple(history),
            (*report, *said),
            tuple(heard),
            query.unknown,
            tuple(sources),
            self.index.fingerprint,
        )

    def answer(
        self,
        question: Question,
        *,
        k: int = VOTERS,
        label_sets: Sequence[str] = (),
        where: str | None = None,
        exclude_patient: str | None = None,
        words: bool | None = None,
        promise: Promise | None = None,
        record: bool = False,
        refinement: Refinement = _AS_ASKED,
    ) -> Asked:
        """Answer a question, as often as one likes and from several threads at once; no file of it is read again.

        Args:
            k, label_sets, where, exclude_patient, words, promise, record: as of `query`.
            refinement: what is changed about it. Its marks, region and `distinct` bear on the cases that are shown alone; who
                votes, and so the labels, stay those of the question less what `without` names.

        Raises:
            FilterError, ArchiveError: as of `query`, or a marked case is not there.
            RefinementError: the refinement does not fit the question.
        """
        [asked] = self.answer_many(
            [question], k=k, label_sets=label_sets, where=where, exclude_patient=exclude_patient, words=words,
            promise=promise, record=record, refinement=refinement,
        )  # fmt: skip
        return asked

    def answer_many(
        self,
        questions: Sequence[Question],
        *,
        k: int = VOTERS,
        label_sets: Sequence[str] = (),
        where: str | None = None,
        exclude_patient: str | None = None,
        words: bool | None = None,
        promise: Promise | None = None,
        record: bool = False,
        refinement: Refinement = _AS_ASKED,
    ) -> list[Asked]:
        """Answer several questions of one state of the index; they are searched for together, which is quicker in a large one.

        Args:
            k, label_sets, where, exclude_patient, words, promise, record, refinement: as of `answer`, for each of them.

        Raises:
            FilterError, ArchiveError, RefinementError: as of `answer`; then none is answered.
        """
        if any(question.model != self.index.fingerprint for question in questions):
            raise RefinementError("the question was embedded by another model than this index'; ask it anew")
        self._check(label_sets, exclude_patient)
        among = Among(k, tuple(label_sets), self._filter(where), exclude_patient, promise)
        posed = [self._posed(question, refinement, words, among) for question in questions]
        answered = []
        with self.index.snapshot():
            left = self.index.cases_of_patient(exclude_patient) if record and exclude_patient is not None else []
            displays = [display_of(self.index, one.asked, refinement, one.region) for one in posed]
            pairs = list(zip(posed, displays, strict=True))
            searches = Searches(self.index, (
                search for one, display in pairs
                for search in (*self.searches_for(one.asked, among, one.words, display), *one.own.values())
            ))  # fmt: skip
            for one, display in pairs:
                answer, voters = self.answer_to(
                    one.asked, among, by_vote_alone=exclude_patient is not None, words=one.words, display=display,
                    searches=searches,
                )  # fmt: skip
                question, noted, recorded = one.question, [], None
                if voters:
                    noted = [
                        *archived_already(one.own, searches),
                        *foreign(self.embedder, question.texts),
                        *left_out(question.unknown, self.embedder.coding.names),
                    ]
                if record:
                    recorded = record_of(
                        self.index, one.asked, answer, k=k, label_sets=label_sets, where=where, promise=promise,
                        left_out=left, sources=question.sources, noted=noted, display=display,
                    )  # fmt: skip
                known = {"transcripts": list(question.heard), "cautions": [*noted, *answer.cautions]}
                answered.append(Asked(answer.model_copy(update=known), list(question.scans), recorded))
        return answered

    def _posed(self, question: Question, refinement: Refinement, words: bool | None, among: Among) -> "_Posed":
        """All of a question that is worked out before the index is looked into."""
        region = self._region(question, refinement)
        question = question.less(refinement.without)
        only_text = region is None and not {"scan", "measurements"}.intersection(question.parts.there)
        return _Posed(
            question,
            query_vectors(self.fuser, question.parts),
            region,
            "\n".join(question.texts) if (only_text if words is None else words) else "",
            searches_of_its_own(self.fuser, question.parts, among.where, among.exclude_patient),
        )

    def _region(self, question: Question, refinement: Refinement) -> Array | None:
        """(1, d) of the region that was marked, which is prepared and embedded like a whole scan."""
        if refinement.region is None:
            return None
        [vector] = self.embedder.scans([crop(question.scans, refinement.region)])
        nothing = question.parts.only([])
        return self.fuser.fuse([replace(nothing, scans=vector[None])])

    def transcribe(self, recordings: Sequence[Path], speech_model: str = DEFAULT) -> list[Heard]:
        """Write recordings down, one by one, with the archive's own words in the model's ear.

        Raises:
            SpeechError: one cannot be read, or nobody speaks in it.
            MissingDependencyError: the extra ``speech`` is not installed.
            ArchiveError: as `vocabulary`.
        """
        if not recordings:
            return []
        transcriber = Transcriber(speech_model, threads=self.embedder.model.towers.threads)
        vocabulary = self.vocabulary()
        return [Heard(**asdict(transcriber.transcribe(file, vocabulary))) for file in recordings]

    def vocabulary(self) -> list[str]:
        """The words of the archive's texts, most frequent first.

        Raises:
            ArchiveError: their file is missing or damaged.
        """
        file = self.index.attachment(VOCABULARY)
        try:
            return read_vocabulary(file)
        except OSError as error:
            raise ArchiveError(f"{file}: {unreadable(error)}; medclip index compact  makes it anew") from error
        except ValueError as error:
            raise ArchiveError(f"{file}: is damaged ({error}); medclip index compact  makes it anew") from error

    def similar(
        self,
        case_id: str,
        *,
        k: int = VOTERS,
        label_sets: Sequence[str] = (),
        where: str | None = None,
        promise: Promise | None = None,
        record: bool = False,
        refinement: Refinement = _AS_ASKED,
    ) -> Asked:
        """Answer for an archived case as if it were new: its own patient's cases are left out.

        The probes were fitted on the case itself, so the vote alone answers, by a calibration of its own.

        Args:
            record: as of `query`.
            refinement: as of `answer`; an archived case can be asked with neither less of it nor a region.

        Raises:
            ArchiveError: there is no such case, or a marked one, or a label set is not one that the index can answer.
            FilterError: `where` cannot be understood.
            RefinementError: the refinement does not fit.
        """
        self._check(label_sets)
        if refinement.without or refinement.region is not None:
            raise RefinementError(
                f"case {case_id}: an archived case is asked with as a whole; take a part out of it, or mark a region, in a "
                "query of its files"
            )
        with self.index.snapshot():
            case = self.index.record(case_id)
            patient = case.patient
            kinds = {view.kind: view.vector for view in self.index.views_of(case_id)}
            composition = composed([part for part in PARTS if part in kinds])
            among = Among(k, tuple(label_sets), self._filter(where), patient, promise)
            asked, recorded = QueryVectors(composition, None, kinds["fused"][None], {}), None
            display = display_of(self.index, asked, refinement)
            answer, _ = self.answer_to(asked, among, by_vote_alone=True, display=display)
            if record:
                own = self.index.cases_of_patient(patient)
                recorded = record_of(
                    self.index, asked, answer, k=k, label_sets=label_sets, where=where, promise=promise, left_out=own,
                    case_id=case_id, display=display,
                )  # fmt: skip
        return Asked(answer.model_copy(update={"of": archived_case(case_of(case))}), [], recorded)

    def _filter(self, where: str | None) -> Filter | None:
        known = {diagnoser.label_set: diagnoser.classes for diagnoser in self.diagnosers}
        return None if where is None else read_filter(self.index, where, known)

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of the measurements that a query may have."""
        return tuple(self._manifest.measurements.names)

    @cached_property
    def _manifest(self) -> ServingManifest:
        return manifest_of(self.index) if self._embedder is None else self._embedder.model.manifest

    def capabilities(self) -> list[Capability]:
        """What the index can answer, by label set."""
        return [
            Capability(
                d.label_set,
                d.patients,
                {name: fit.measured for name, fit in d.fits.items()},
                {name: dict(fit.parts) for name, fit in d.fits.items()},
                {name: _judged(d, fit.scores) for name, fit in d.fits.items()},
            )
            for d in self.diagnosers
        ]

    def coverage(self) -> Coverage:
        """How many archived cases could be named exactly by a case of another patient."""
        named = [(case_of(r).outcome.exact, r.patient) for r in self.index.records()]
        patients = Counter(diagnosis for diagnosis, _ in set(named))
        known = [diagnosis for diagnosis, _ in named if diagnosis]
        return Coverage(len(known), sum(patients[diagnosis] > 1 for diagnosis in known))

    def _check(self, label_sets: Sequence[str], exclude_patient: str | None = None) -> None:
        known = [diagnoser.label_set for diagnoser in self.diagnosers]
        for name in label_sets:
            if name not in known and not self.outdated:
                raise NotThereError(
                    f"{self.index.folder}: cannot answer label set {name!r}; it can answer {', '.join(known) or 'none'}"
                )
        if exclude_patient is not None and not self.index.cases_of_patient(exclude_patient):
            raise NotThereError(
                f"{self.index.folder}: has no case of the patient to be left out; check --exclude-patient"
            )


def _judged(diagnoser: Diagnoser, scores: Scores) -> Judged:
    patients = scores.patients.tolist()
    together = [{diagnoser.classes[i]: patients[i] for i in group.classes} for group in scores.groups]
    return Judged(together, scores.interval(Promise()))


def _diagnosers(index: CaseIndex, fuser: Fuser) -> list[Diagnoser] | None:
    return load_diagnosers(index.attachment(PROBE), {part: fuser.width_of(part) for part in PARTS})
