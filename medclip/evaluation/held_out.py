"""Measuring an assistant on cases that it has never seen."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclip.assistant.assistant import Among, Assistant
from medclip.cases.case import Case
from medclip.diagnosis.label_answer import LabelAnswer
from medclip.embedding.embedder import EmbeddedCase
from medclip.embedding.posing import Posed, pose, question_showing, scan_questions
from medclip.errors import CaseError
from medclip.evaluation.protocols import (
    LABEL_PROTOCOLS,
    SHOWN,
    Figure,
    Predicted,
    classification_figures,
    retrieval_figures,
    with_families,
)
from medclip.fusion import Fuser
from medclip.metrics.retrieval import measure_texts

__all__ = ["caption_figures", "measure_index", "measure_labels", "pose_under", "require_held_out"]

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


def _predicted(rows: Sequence[tuple[LabelAnswer, str]], method: str) -> Predicted:
    classes = sorted(ranked.label for ranked in rows[0][0].ranked)
    probabilities = []
    for answer, _ in rows:
        by_label = {
            r.label: {"vote": r.vote, "probe": r.probe, "combined": r.probability}[method] for r in answer.ranked
        }
        probabilities.append([by_label[label] for label in classes])
    return Predicted(classes, np.asarray(probabilities, np.float64), [label for _, label in rows])


def _majority(assistant: Assistant, label_set: str, labels: Sequence[str]) -> Predicted:
    """Always the class that most archived patients have."""
    patients = next(d.patients for d in assistant.diagnosers if d.label_set == label_set)
    classes = sorted(patients)
    share = np.asarray([patients[label] for label in classes], np.float64)
    return Predicted(classes, np.tile(share / share.sum(), (len(labels), 1)), labels)


def measure_labels(
    assistant: Assistant, held_out: Sequence[EmbeddedCase], fuser: Fuser, protocols: Sequence[str] = LABEL_PROTOCOLS
) -> list[Figure]:
    """Vote, probe, their combination and the majority class, under every label protocol and label set."""
    figures: list[Figure] = []
    for protocol in protocols:
        rows: dict[str, list[tuple[LabelAnswer, str]]] = defaultdict(list)
        for posed in pose_under(protocol, held_out, fuser):
            answers, _, _ = assistant.diagnose(posed.vector, posed.composition, Among(exclude_patient=posed.patient))
            for answer in answers:
                if answer.label_set in posed.labels:
                    rows[answer.label_set].append((answer, posed.labels[answer.label_set]))
        for label_set, answered in sorted(rows.items()):
            for method in ("vote", "probe", "combined"):
                figures += classification_figures(protocol, label_set, method, _predicted(answered, method))
            labels = [label for _, label in answered]
            figures += classification_figures(protocol, label_set, "majority", _majority(assistant, label_set, labels))
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
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Figure]:
    """Measure an index on cases that it has never seen, for example another hospital's.

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
    return [*retrieval, *measure_labels(assistant, held_out, embedder.fuser)]
