"""Building an index: cases → embeddings → `CaseIndex`, with the serving model and the fitted diagnosers inside."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.diagnosis.diagnoser import COMPOSITIONS, Composition, Example, fit_diagnoser
from medclip.diagnosis.store import save_diagnosers
from medclip.diagnosis.voting import Ballot
from medclip.embedder import Array, EmbeddedCase, Embedder, ViewKind
from medclip.errors import ArchiveError
from medclip.folders import new_folder, write_json
from medclip.fusion import Fuser, Parts
from medclip.index import CaseIndex
from medclip.index.case_index import MANIFEST, Entry, Hit, Record, VectorView
from medclip.modalities.text.vocabulary import words_of

__all__ = [
    "MODEL",
    "PROBE",
    "REPORT",
    "VOCABULARY",
    "VOTERS",
    "BuildReport",
    "ballots_of",
    "build_index",
    "kinds_for",
    "write_index",
]

MODEL, PROBE, REPORT, VOCABULARY = "model", "probe", "build-report.json", "vocabulary.json"
VOTERS = 10
"""How many similar cases are shown and vote, unless the user says otherwise; the diagnosers are fitted at this number."""


@dataclass(frozen=True)
class BuildReport:
    """What went into an index and what was left out."""

    cases: int
    views: int
    label_sets: list[str]
    skipped: dict[str, str] = field(default_factory=dict)  # case id → why nothing of it is in the index
    partial: dict[str, list[str]] = field(default_factory=dict)  # case id → scans and texts that were left out


def _document(case: Case) -> dict[str, object]:
    """What is shown of a similar case."""
    return case.model_dump(mode="json", exclude_defaults=True)


def _view_labels(case: Case, kind: str, number: int) -> dict[str, str]:
    return case.scan_labels(case.scans[number]) if kind == "scan" else case.case_labels


def _entry(embedded: EmbeddedCase, fuser: Fuser) -> Entry:
    case = embedded.case
    views = [
        VectorView(v.kind, v.number, v.vector, _view_labels(case, v.kind, v.number)) for v in embedded.views(fuser)
    ]
    return Entry(Record(case.id, case.patient, case.case_labels, _document(case)), views, embedded.thumbnails)


def kinds_for(composition: Composition) -> tuple[ViewKind, ...]:
    """Which views of the archive a query is compared with.

    A query of several modalities is compared with whole cases: with single views it would be drawn to any case of a
    like history, whatever its scans show.
    """
    alone: dict[Composition, tuple[ViewKind, ...]] = {
        "scan": ("scan", "fused"),
        "text": ("report", "history", "fused"),
        "measurements": ("measurements", "fused"),
    }
    return alone.get(composition, ("fused",))


def ballots_of(hits: Sequence[Hit], label_set: str) -> list[Ballot]:
    """Similar cases as voters on one label set; each speaks for the view by which it was found."""
    return [Ballot(hit.case_id, hit.similarity, hit.labels.get(label_set)) for hit in hits]


@dataclass(frozen=True)
class _Posed:
    """An archived case posed as a query of one composition."""

    vector: Array
    patient: str
    labels: dict[str, str]
    weight: float


def _posed(cases: Sequence[EmbeddedCase], fuser: Fuser) -> dict[Composition, list[_Posed]]:
    """Every case as the queries that a new patient like it could make.

    Scans, one or all, or none; with report, history, both or neither; with measurements or without: as far as the case
    has them.
    """
    asked: list[tuple[EmbeddedCase, Parts, dict[str, str]]] = []
    for case in cases:
        labels = case.case.case_labels
        for scans, report, history, values in product((True, False), repeat=4):
            if scans > bool(len(case.scans)) or report > bool(len(case.report)) or history > bool(len(case.history)):
                continue
            if values > bool(np.any(case.measurements)) or not (scans or report or history or values):
                continue
            parts = case.parts(scans=scans, report=report, history=history, measured=values)
            if parts.composition == "scan" and len(case.scans) == 1:
                continue  # the scan alone, below
            asked.append((case, parts, labels))
        for position, number in enumerate(case.numbers):
            asked.append((case, case.scan(position), case.case.scan_labels(case.case.scans[number])))
    vectors = fuser.fuse([parts for _, parts, _ in asked])
    count = Counter((id(case), parts.composition) for case, parts, _ in asked)
    posed: dict[Composition, list[_Posed]] = {composition: [] for composition in COMPOSITIONS}
    for (case, parts, labels), vector in zip(asked, vectors, strict=True):
        weight = 1 / count[id(case), parts.composition]
        posed[cast(Composition, parts.composition)].append(_Posed(vector, case.case.patient, labels, weight))
    return posed


def _fit(index: CaseIndex, embedded: Sequence[EmbeddedCase], fuser: Fuser, seed: int, folder: Path) -> list[str]:
    """Fit and store a diagnoser for every label set that can have one; returns their names."""
    posed = _posed(embedded, fuser)
    hits: dict[Composition, list[list[Hit]]] = {
        composition: index.search(
            np.stack([row.vector for row in rows]),
            VOTERS,
            kinds=kinds_for(composition),
            exclude_patients=[row.patient for row in rows],
            one_per_patient=True,
        )
        if rows
        else []
        for composition, rows in posed.items()
    }
    label_sets = sorted({name for rows in posed.values() for row in rows for name in row.labels})
    fitted = []
    for label_set in label_sets:
        examples: dict[Composition, Sequence[Example]] = {
            composition: [
                Example(row.vector, row.patient, row.labels[label_set], row.weight, ballots_of(found, label_set))
                for row, found in zip(rows, hits[composition], strict=True)
                if label_set in row.labels
            ]
            for composition, rows in posed.items()
        }
        diagnoser = fit_diagnoser(label_set, examples, seed=seed)
        if diagnoser is not None:
            fitted.append(diagnoser)
    save_diagnosers(fitted, folder)
    return [diagnoser.label_set for diagnoser in fitted]


def write_index(
    embedded: Sequence[EmbeddedCase], fuser: Fuser, fingerprint: str, folder: Path, *, seed: int = 0
) -> list[str]:
    """Write vectors, catalogue and diagnosers into an existing folder; returns the label sets it can answer."""
    CaseIndex.create(folder, (_entry(case, fuser) for case in embedded), fingerprint=fingerprint)
    (folder / PROBE).mkdir()
    index = CaseIndex.open(folder)
    try:
        return _fit(index, embedded, fuser, seed, folder / PROBE)
    finally:
        index.close()


def build_index(
    cases: Sequence[Case],
    cases_folder: Path,
    model: Path,
    out: Path,
    *,
    force: bool = False,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BuildReport:
    """Build a self-contained index folder.

    A case of which nothing can be read is skipped and reported; it never stops the build.

    Args:
        cases_folder: what the cases' file names are relative to.
        model: a model folder, verified before anything is written.
        progress: called with each case id.

    Raises:
        BundleError: the model is damaged.
        ArchiveError: no case could be embedded.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    serving = Layout(model).serving.root
    with new_folder(out, force=force, marker=MANIFEST) as folder:
        source = ServingModel(serving, threads=threads)
        source.verify_probes()
        shutil.copytree(serving, folder / MODEL)
        embedded: list[EmbeddedCase] = []
        skipped: dict[str, str] = {}
        for result in Embedder(source).cases(cases, cases_folder):
            if isinstance(result, EmbeddedCase):
                embedded.append(result)
                progress(result.case.id)
            else:
                skipped[result[0].id] = result[1]
                progress(result[0].id)
        if not embedded:
            raise ArchiveError(f"{cases_folder}: no case could be embedded; see  medclip cases check {cases_folder}")
        label_sets = write_index(embedded, source.fuser, source.fingerprint, folder, seed=seed)
        write_json(folder / VOCABULARY, words_of(f"{e.case.report} {e.case.note_text('history')}" for e in embedded))
        report = BuildReport(
            cases=len(embedded),
            views=sum(len(case.seen()) for case in embedded),
            label_sets=label_sets,
            skipped=skipped,
            partial={case.case.id: list(case.problems) for case in embedded if case.problems},
        )
        write_json(folder / REPORT, asdict(report))
    return report
