"""Measuring an assistant on cases that it has never seen."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclip.assistant.assistant import Among, Assistant
from medclip.cases.case import Case
from medclip.diagnosis.diagnoser import Diagnoser
from medclip.diagnosis.label_answer import LabelAnswer
from medclip.diagnosis.neighbours import ballots_of
from medclip.diagnosis.voting import vote
from medclip.embedding.embedder import EmbeddedCase
from medclip.embedding.posing import Posed, pose, question_showing, scan_questions
from medclip.errors import CaseError
from medclip.evaluation.class_coverage import class_coverage_figures
from medclip.evaluation.gain import Holdings, gain_figures
from medclip.evaluation.protocols import (
    LABEL_PROTOCOLS,
    SHOWN,
    Figure,
    Predicted,
    classification_figures,
    patient_weights,
    retrieval_figures,
    with_families,
)
from medclip.evaluation.subgroups import Answered, subgroup_figures
from medclip.fusion import Fuser
from medclip.metrics.retrieval import measure_texts

__all__ = ["caption_figures", "measure_index", "measure_labels", "measure_shown", "pose_under", "require_held_out"]

Vector = NDArray[np.float32]


def pose_under(protocol: str, cases: Sequence[EmbeddedCase], fuser: Fuser) -> list[Posed]:
    """Unseen cases as the queries of a label protocol; a case that lacks what the protocol asks with asks with the rest.

    A case asks only if it has the modality that the protocol's name begins with.
    """
    if protocol == "scan-only":
        return pose([question for case in cases for question in scan_questions(case)], fuser)
    first, *_ = shown = SHOWN[protocol]
    asked = [question_showing(case, shown) for case in cases if question_showing(case, [first]) is not None]
    return pose([question for question in asked if question is not None], fuser)


def require_held_out(assistant: Assistant, cases: Sequence[Case]) -> None:
    """Refuse cases that the index holds, or whose patient it holds.

    Raises:
        CaseError: there is such a case.
    """
    ids = assistant.index.contents()
    seen = [case.id for case in cases if case.id in ids or assistant.index.cases_of_patient(case.patient)]
    if seen:
        raise CaseError(
            f"{len(seen)} of the cases (the first: {seen[0]}) or their patients are in the index; "
            f"measure it on cases that it has never seen"
        )


@dataclass(frozen=True)
class _Row:
    """A query, and what the index says of it on one label set."""

    answer: LabelAnswer
    stated: float  # accuracy of the index's answers to such queries
    right: str
    posed: Posed


def _predicted(rows: Sequence[_Row], method: str) -> Predicted:
    classes = sorted(ranked.label for ranked in rows[0].answer.ranked)
    probabilities = []
    for row in rows:
        by_label = {
            r.label: {"vote": r.vote, "probe": r.probe, "combined": r.probability}[method] for r in row.answer.ranked
        }
        probabilities.append([by_label[label] for label in classes])
    whole = method == "combined"
    promised = [row.answer.set for row in rows]
    return Predicted(
        classes,
        np.asarray(probabilities, np.float64),
        [row.right for row in rows],
        [row.posed.patient for row in rows],
        [row.stated for row in rows] if whole else None,
        np.asarray([[one is None or label in one.labels for label in classes] for one in promised]) if whole else None,
    )


def _majority(diagnoser: Diagnoser, rows: Sequence[_Row]) -> Predicted:
    """Always the class that most archived patients have."""
    probabilities = np.tile(diagnoser.prior, (len(rows), 1))
    return Predicted(diagnoser.classes, probabilities, [row.right for row in rows], [row.posed.patient for row in rows])


def measure_labels(
    assistant: Assistant,
    held_out: Sequence[EmbeddedCase],
    protocols: Sequence[str] = LABEL_PROTOCOLS,
    keep: Callable[[Answered], None] = lambda _: None,
) -> list[Figure]:
    """Vote, probe, the answer that pools them and the majority class, under every label protocol and label set.

    Beside them stands what the similar cases that are shown hold (`gain_figures`).

    Args:
        keep: gets the answers of every protocol and label set, for `subgroup_figures`.
    """
    figures: list[Figure] = []
    known = {diagnoser.label_set: diagnoser for diagnoser in assistant.diagnosers}
    holdings = Holdings.of(assistant.index)
    for protocol in protocols:
        rows: dict[str, list[_Row]] = defaultdict(list)
        queries = pose_under(protocol, held_out, assistant.fuser)
        found = assistant.diagnose([(one.parts, Among(exclude_patient=one.patient)) for one in queries])
        asked = list(zip(queries, found, strict=True))
        for posed, answers in asked:
            labels = posed.labels
            for answer in answers:
                if answer.label_set in labels:
                    stated = known[answer.label_set].fits[posed.composition].measured.accuracy
                    rows[answer.label_set].append(_Row(answer, stated, labels[answer.label_set], posed))
        figures += gain_figures(protocol, assistant, holdings, asked)
        figures += _called_unlike(protocol, assistant, queries)
        for label_set, answered in sorted(rows.items()):
            keep(Answered(protocol, label_set, _predicted(answered, "combined"), [row.posed.case for row in answered]))
            for method in ("vote", "probe", "combined"):
                figures += classification_figures(protocol, label_set, method, _predicted(answered, method))
            figures += classification_figures(protocol, label_set, "majority", _majority(known[label_set], answered))
    return with_families(figures)


def _called_unlike(protocol: str, assistant: Assistant, asked: Sequence[Posed]) -> list[Figure]:
    """Of how many patients like the archive's the queries are called unlike it; it should be `LEVEL`."""
    judged = [] if assistant.novelty is None else [assistant.novelty.judge(one.parts) for one in asked]
    known = [(found.unlike, one.patient) for found, one in zip(judged, asked, strict=False) if found is not None]
    if not known:
        return []
    patients = [patient for _, patient in known]
    value = float(np.average([unlike for unlike, _ in known], weights=patient_weights(patients)))
    return [Figure(protocol, None, "novelty", "called_unlike", value, None, len(set(patients)))]


def measure_shown(
    assistant: Assistant, held_out: Sequence[EmbeddedCase], method: str, protocols: Sequence[str]
) -> list[Figure]:
    """What the cases that are shown would say if they voted: how good the whole embedding ranks, a fuser's part in it.

    Args:
        method: the name that the figures get.
    """
    figures: list[Figure] = []
    for protocol in protocols:
        posed = pose_under(protocol, held_out, assistant.fuser)
        shown = assistant.shown([(one.parts, Among(exclude_patient=one.patient)) for one in posed])
        for d in assistant.diagnosers:
            rows = [(one, hits) for one, hits in zip(posed, shown, strict=True) if d.label_set in one.labels]
            if not rows:
                continue
            votes = [vote(ballots_of(hits, d.label_set), d.classes, d.prior).probabilities for _, hits in rows]
            labels, patients = [one.labels[d.label_set] for one, _ in rows], [one.patient for one, _ in rows]
            predicted = Predicted(d.classes, np.stack(votes), labels, patients)
            figures += classification_figures(protocol, d.label_set, method, predicted)
    return with_families(figures)


def caption_figures(
    scans: Vector, scan_cases: NDArray[np.int64], captions: Vector, caption_cases: NDArray[np.int64]
) -> list[Figure]:
    """Both directions of retrieval between held-out scans and captions; none where there is no caption."""
    measured = measure_texts(scans, scan_cases, captions, caption_cases)
    if measured is None:
        return []
    return [
        *retrieval_figures("caption-to-scan", measured.text_to_scan),
        *retrieval_figures("scan-to-caption", measured.scan_to_text),
    ]


def measure_index(
    folder: Path,
    cases: Sequence[Case],
    cases_folder: Path,
    *,
    by: Sequence[str] = (),
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Figure]:
    """Measure an index on cases that it has never seen, for example another hospital's.

    Args:
        by: fields (`read_fields`) by whose groups the answers are measured, too.

    Raises:
        CaseError: the index holds one of the cases or of their patients, or none of them can be embedded.
        ArchiveError, BundleError: the index is damaged.
    """
    assistant = Assistant.open(folder, threads=threads)
    require_held_out(assistant, cases)
    embedder = assistant.embedder
    held_out: list[EmbeddedCase] = []
    scans: list[Vector] = []
    captions: list[Vector] = []
    scan_cases: list[int] = []
    caption_cases: list[int] = []
    for number, result in enumerate(embedder.cases(cases, cases_folder)):
        if not isinstance(result, EmbeddedCase):
            continue
        held_out.append(result)
        progress(result.case.id)
        for scan, vector in zip(result.numbers, result.scans, strict=True):
            scans.append(vector)
            scan_cases.append(number)
            if caption := result.case.scans[scan].caption:
                captions.append(embedder.texts([caption])[0])
                caption_cases.append(number)
    if not held_out:
        raise CaseError(f"{cases_folder}: no case could be embedded; see  medclip cases check {cases_folder}")
    retrieval = (
        caption_figures(np.stack(scans), np.asarray(scan_cases), np.stack(captions), np.asarray(caption_cases))
        if captions
        else []
    )
    answers: list[Answered] = []
    labels = measure_labels(assistant, held_out, keep=answers.append)
    return [*retrieval, *labels, *class_coverage_figures(answers), *subgroup_figures(answers, by)]
