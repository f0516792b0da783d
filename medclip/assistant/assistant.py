"""The whole product in one object: ``Assistant.open(index).query(...)`` → `Answer`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from medclip import DISCLAIMER, __version__
from medclip.archive.entries import case_of
from medclip.archive.layout import PROBE, VOCABULARY, model_of
from medclip.assistant.answer import Answer, Contribution, Heard, SimilarCase
from medclip.assistant.cautions import cautions_of
from medclip.diagnosis.diagnoser import Diagnoser
from medclip.diagnosis.label_answer import LabelAnswer, answer_label_set
from medclip.diagnosis.neighbours import VOTERS, ballots_of, kinds_for
from medclip.diagnosis.store import load_diagnosers
from medclip.embedding.embedder import Embedder
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable
from medclip.fusion import Parts
from medclip.fusion.composition import MODALITIES, Composition, Modality, ViewKind, composition_of
from medclip.index import CaseIndex, Hit
from medclip.index.filters import Filter
from medclip.modalities.scan.pictures import ScanPictures
from medclip.modalities.speech.models import DEFAULT
from medclip.modalities.speech.transcribe import Transcriber
from medclip.modalities.text.vocabulary import read_vocabulary

__all__ = ["Among", "Asked", "Assistant", "Capability", "Coverage"]


@dataclass(frozen=True)
class Asked:
    """An answer, and the scans that were asked with, as they were read."""

    answer: Answer
    scans: list[ScanPictures]


@dataclass(frozen=True)
class Capability:
    """What an index can answer on one label set."""

    label_set: str
    patients: dict[str, int]  # class → patients
    held_out_accuracy: dict[str, float]  # what a query is made of → share of right answers on patients left out


@dataclass(frozen=True)
class Coverage:
    """How far the archive's diagnoses repeat: the cap on naming a diagnosis from a similar case."""

    cases: int  # that have a diagnosis
    nameable: int  # of these, how many share its exact words with another patient's case


@dataclass(frozen=True)
class Among:
    """Which archived cases may be similar, how many are shown, and what is answered."""

    k: int = VOTERS
    label_sets: tuple[str, ...] = ()  # all where there is none
    where: Filter | None = None
    exclude_patient: str | None = None
    words: str = ""  # the cases whose texts share them rank, too


class Assistant:
    """An opened index folder with its own model and diagnosers."""

    def __init__(self, index: CaseIndex, diagnosers: Sequence[Diagnoser], embedder: Embedder | None) -> None:
        self.index = index
        self.diagnosers = list(diagnosers)
        self._embedder = embedder

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None, mmap: bool = True) -> "Assistant":
        """Open an index folder; its model is verified against its checksums and stored probes.

        Args:
            mmap: map search structures from their files instead of reading them.

        Raises:
            ArchiveError: the folder is no index, is damaged, or its model is not the one that made its vectors.
            BundleError: its model is damaged.
        """
        index = CaseIndex.open(folder, mmap=mmap)
        model = model_of(index, threads=threads)
        model.verify_references()
        return cls(index, load_diagnosers(index.attachment(PROBE), index.dimension), Embedder(model))

    @classmethod
    def open_without_model(cls, folder: Path) -> "Assistant":
        """Open an index folder for questions that embed nothing, such as `similar`.

        Raises:
            ArchiveError: the folder is no index or is damaged.
        """
        index = CaseIndex.open(folder)
        return cls(index, load_diagnosers(index.attachment(PROBE), index.dimension), None)

    @property
    def embedder(self) -> Embedder:
        """The index's own embedder."""
        if self._embedder is None:
            raise ArchiveError(f"{self.index.folder}: was opened without its model, so nothing can be embedded")
        return self._embedder

    def query(
        self,
        scans: Sequence[Path] = (),
        texts: Sequence[str] = (),
        values: Mapping[str, float] | None = None,
        *,
        recordings: Sequence[Path] = (),
        speech_model: str = DEFAULT,
        k: int = VOTERS,
        label_sets: Sequence[str] = (),
        where: str | None = None,
        exclude_patient: str | None = None,
        words: bool | None = None,
    ) -> Asked:
        """Answer for a new patient.

        Args:
            recordings: dictations, which are transcribed and go on as texts.
            speech_model: as `medclip.modalities.speech.models` knows it.
            values: measurements by name, in the units that the model knows them in (`Embedder.coding`).
            k: how many similar cases, one a patient, are shown and vote.
            label_sets: which to answer; all where none is named.
            where: only archived cases of which this expression (`medclip.index.filters`) is true; neither others are
                shown, nor do they vote. The probe was fitted on all.
            exclude_patient: a patient whose archived cases are left out.
            words: whether the cases whose reports share the texts' words rank, too (reciprocal rank fusion); where
                None, they do if the query is of text alone.

        Raises:
            FilterError: `where` cannot be understood.
            ScanError, TextError, SpeechError, MeasurementError: an input cannot be used.
            MissingDependencyError: there are recordings, and the extra ``speech`` is not installed.
            ArchiveError: a label set is not one that the index can answer.
        """
        self._check(label_sets)
        among = Among(k, tuple(label_sets), self._filter(where), exclude_patient)
        heard = self._transcribe(recordings, speech_model)
        said = [*texts, *(one.text for one in heard)]
        query = self.embedder.query(scans, said, values or {})
        fuser, parts = self.embedder.fuser, query.parts
        composition = parts.composition
        rests = {name: parts.without(name) for name in MODALITIES if name in composition.split("+")}
        without = rests if len(rests) > 1 else {}
        with self.index.snapshot():
            asked_words = composition == "text" if words is None else words
            whole = replace(among, words="\n".join(said) if asked_words else "")
            answer = self._answer(fuser.fuse([parts])[0], composition, whole)
            contributions = [self._contribution(answer, name, rest, among) for name, rest in without.items()]
            cautions = cautions_of(self.index, self.embedder, said, parts)
        known = {"contributions": contributions, "transcripts": heard, "cautions": cautions}
        return Asked(answer.model_copy(update=known), query.scans)

    def _transcribe(self, recordings: Sequence[Path], model: str) -> list[Heard]:
        if not recordings:
            return []
        transcriber = Transcriber(model, threads=self.embedder.model.towers.threads)
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

    def _contribution(
        self,
        answer: Answer,
        modality: Modality,
        rest: Parts,
        among: Among,
    ) -> Contribution:
        """What one modality of a query changed: the answer compared with that to the rest."""
        labels, hits, _ = self.diagnose(self.embedder.fuser.fuse([rest])[0], rest.composition, among)
        shown = {case.case_id for case in answer.similar}
        now = {found.label_set: {r.label: r.probability for r in found.ranked} for found in answer.labels}
        shift = {
            found.label_set: sum(abs(now[found.label_set][r.label] - r.probability) for r in found.ranked) / 2
            for found in labels
            if found.label_set in now
        }
        return Contribution(
            modality=modality,
            new_neighbours=len(shown - {hit.case_id for hit in hits}),
            shift=shift,
            without={found.label_set: found.ranked[0].label for found in labels if found.label_set in shift},
        )

    def similar(
        self, case_id: str, *, k: int = VOTERS, label_sets: Sequence[str] = (), where: str | None = None
    ) -> Answer:
        """Answer for an archived case as if it were new: its own patient's cases are left out.

        Raises:
            ArchiveError: there is no such case, or a label set is not one that the index can answer.
            FilterError: `where` cannot be understood.
        """
        self._check(label_sets)
        with self.index.snapshot():
            record = self.index.record(case_id)
            kinds = {view.kind: view.vector for view in self.index.views_of(case_id)}
            composition = composition_of(
                scan="scan" in kinds, text="report" in kinds or "history" in kinds, measurements="measurements" in kinds
            )
            among = Among(k, tuple(label_sets), self._filter(where), record.patient)
            return self._answer(kinds["fused"], composition, among)

    def _filter(self, where: str | None) -> Filter | None:
        return None if where is None else self.index.filter(where)

    def diagnose(
        self,
        vector: NDArray[np.float32],
        composition: Composition,
        among: Among | None = None,
    ) -> tuple[list[LabelAnswer], list[Hit], dict[str, list[float]]]:
        """The label answers for a (d,) unit vector, the similar cases, and each one's share of the vote by label set."""
        among = among or Among()
        hits = self.index.search(
            vector[None],
            among.k,
            kinds=kinds_for(composition),
            where=among.where,
            exclude_patients=[among.exclude_patient],
            one_per_patient=True,
            words=[among.words] if among.words else [],
        )[0]
        answers, weights = [], {}
        for diagnoser in self.diagnosers:
            if among.label_sets and diagnoser.label_set not in among.label_sets:
                continue
            found = answer_label_set(diagnoser, composition, vector, ballots_of(hits, diagnoser.label_set))
            if found is not None:
                answers.append(found.answer)
                weights[diagnoser.label_set] = found.weights
        return answers, hits, weights

    def capabilities(self) -> list[Capability]:
        """What the index can answer, by label set."""
        return [
            Capability(d.label_set, d.patients, {name: part.held_out_accuracy for name, part in d.parts.items()})
            for d in self.diagnosers
        ]

    def coverage(self) -> Coverage:
        """How many archived cases could be named exactly by a case of another patient."""
        named = [(case_of(r).outcome.diagnosis, r.patient) for r in self.index.records()]
        pairs = {(diagnosis.strip().lower(), patient) for diagnosis, patient in named if diagnosis}
        patients = Counter(diagnosis for diagnosis, _ in pairs)
        known = [diagnosis.strip().lower() for diagnosis, _ in named if diagnosis]
        return Coverage(len(known), sum(patients[diagnosis] > 1 for diagnosis in known))

    def _check(self, label_sets: Sequence[str]) -> None:
        known = [diagnoser.label_set for diagnoser in self.diagnosers]
        for name in label_sets:
            if name not in known:
                raise ArchiveError(
                    f"{self.index.folder}: cannot answer label set {name!r}; it can answer {', '.join(known) or 'none'}"
                )

    def _answer(
        self,
        vector: NDArray[np.float32],
        composition: Composition,
        among: Among,
    ) -> Answer:
        answers, hits, weights = self.diagnose(vector, composition, among)
        similar = []
        for rank, hit in enumerate(hits):
            record = self.index.record(hit.case_id)
            case = case_of(record)
            similar.append(
                SimilarCase(
                    case_id=case.id,
                    similarity=hit.similarity,
                    view=cast(ViewKind, hit.kind),
                    scan=hit.number + 1 if hit.kind == "scan" else None,
                    labels=hit.labels,
                    vote_weights={name: shares[rank] for name, shares in weights.items()},
                    age=case.age,
                    sex=case.sex,
                    impression=case.outcome.impression,
                    diagnosis=case.outcome.diagnosis,
                    confirmed_by=case.outcome.confirmed_by,
                    differential=case.outcome.differential,
                    treatment=case.outcome.treatment,
                    history=case.note_text("history"),
                    report=case.report,
                    scans=len(case.scans),
                    synthetic=case.synthetic,
                )
            )
        return Answer(
            disclaimer=DISCLAIMER,
            medclip_version=__version__,
            cautions=[],
            query=composition,
            transcripts=[],
            contributions=[],
            labels=answers,
            ranked_by="similarity and words" if among.words else "similarity",
            similar=similar,
        )
