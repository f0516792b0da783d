"""Building an index: cases → embeddings → `CaseIndex`, with the serving model and the fitted diagnosers inside."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
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
from medclip.embedder import Array, EmbeddedCase, ViewKind
from medclip.errors import ArchiveError
from medclip.files import check_free, cleared, new_folder, write_json
from medclip.fusion import Fuser, Parts
from medclip.fusion.case_vector import unit
from medclip.index import CaseIndex, Demands, Entry, Hit, Record, VectorView
from medclip.index.case_index import MANIFEST
from medclip.index.entry import Fact
from medclip.index.lock import writer_lock
from medclip.modalities.text.vocabulary import words_of
from medclip.shards import Skipped, embedded_locally, open_shards, read_shards, work_folder

__all__ = [
    "FIELDS",
    "FITTED",
    "MODEL",
    "PROBE",
    "REPORT",
    "VOCABULARY",
    "VOTERS",
    "BuildReport",
    "Place",
    "ballots_of",
    "build_index",
    "create_index",
    "embedded_of",
    "entry_of",
    "fit_answers",
    "fitted_on",
    "kinds_for",
    "model_of",
    "write_index",
]

MODEL, PROBE, REPORT, VOCABULARY = "model", "probe", "build-report.json", "vocabulary.json"
VOTERS = 10
"""How many similar cases are shown and vote, unless the user says otherwise; the diagnosers are fitted at this number."""


FITTED = 10_000
"""On how many cases the diagnosers are fitted at most: more change a linear probe little and take hours."""


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


FIELDS = {"age": "number", "sex": "text", "modality": "text", "plane": "text", "source": "text", "synthetic": "text"}
"""What a filter may always ask for; the labels (``label.NAME``) come with the cases."""


def _facts(case: Case) -> dict[str, Fact]:
    """What filters may ask of a case; where its scans differ, each of their values counts."""
    many: dict[str, set[str]] = defaultdict(set)
    for scan in case.scans:
        many["modality"] |= {scan.modality} if scan.modality else set()
        many["plane"] |= {scan.plane} if scan.plane else set()
        for name, label in case.scan_labels(scan).items():
            many[f"label.{name}"].add(label)
    for name, label in case.case_labels.items():
        many[f"label.{name}"].add(label)
    for name, value in (("sex", case.sex), ("source", case.source)):
        many[name] |= {value} if value else set()
    facts: dict[str, Fact] = {name: tuple(sorted(values)) for name, values in many.items() if values}
    if case.age is not None:
        facts["age"] = (float(case.age),)
    return {**facts, "synthetic": ("yes" if case.synthetic else "no",)}


def entry_of(embedded: EmbeddedCase, fuser: Fuser) -> Entry:
    """A case as it stands in an index."""
    case = embedded.case
    views = [
        VectorView(v.kind, v.number, v.vector, _view_labels(case, v.kind, v.number)) for v in embedded.views(fuser)
    ]
    text = "\n\n".join(part for part in (case.report, case.note_text("history")) if part)
    record = Record(case.id, case.patient, case.case_labels, _document(case), _facts(case), text, embedded.content)
    return Entry(record, views, embedded.thumbnails)


def embedded_of(entry: Entry, fuser: Fuser) -> EmbeddedCase:
    """The case back from its entry: a view of one part alone is that part, scaled."""
    parts: dict[str, list[Array]] = defaultdict(list)
    for view in entry.views:
        parts[view.kind].append(view.vector)
    empty = np.empty((0, fuser.base), np.float32)

    def block(kind: str) -> Array:
        return unit(np.stack(parts[kind])[:, : fuser.base]) if parts[kind] else empty

    measured = np.zeros(fuser.measurements, np.float32)
    if parts["measurements"]:
        measured = unit(parts["measurements"][0][fuser.base : fuser.base + fuser.measurements])
    numbers = tuple(view.number for view in entry.views if view.kind == "scan")
    case = Case.model_validate(entry.record.document)
    return EmbeddedCase(case, numbers, block("scan"), block("report"), block("history"), measured)


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


def fitted_on(count: int, seed: int) -> Collection[int]:
    """Which of so many cases the diagnosers are fitted on, by their positions: all, or a random part of `FITTED`."""
    if count <= FITTED:
        return range(count)
    return set(np.random.default_rng(seed).choice(count, FITTED, replace=False).tolist())


def fit_answers(
    index: CaseIndex, embedded: Sequence[EmbeddedCase], fuser: Fuser, folder: Path, *, seed: int = 0
) -> list[str]:
    """Fit and store a diagnoser for every label set that can have one; returns their names.

    Args:
        embedded: the cases at the positions `fitted_on`.
    """
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


@dataclass(frozen=True)
class Place:
    """Where the cases of an index are kept, and what searching them may cost."""

    backend: str = "faiss"
    uri: str | None = None
    files: str | None = None
    demands: Demands = field(default_factory=Demands)


def create_index(entries: Iterable[Entry], fingerprint: str, folder: Path, place: Place, *, seed: int = 0) -> None:
    """Fill an existing folder with entries, without model and answers."""
    CaseIndex.create(
        folder,
        entries,
        fingerprint=fingerprint,
        backend=place.backend,
        demands=place.demands,
        uri=place.uri,
        files=place.files,
        fields=FIELDS,
        seed=seed,
    )


def write_index(
    embedded: Iterable[EmbeddedCase],
    fuser: Fuser,
    fingerprint: str,
    folder: Path,
    *,
    seed: int = 0,
    place: Place | None = None,
) -> list[str]:
    """Write vectors, catalogue, diagnosers and vocabulary into an existing folder; returns the label sets it can answer.

    Args:
        embedded: the cases; they are gone over twice, and only those that the answers are fitted on are kept in memory.
    """
    create_index((entry_of(case, fuser) for case in embedded), fingerprint, folder, place or Place(), seed=seed)
    (folder / PROBE).mkdir()
    index = CaseIndex.open(folder)
    try:
        chosen, sample = fitted_on(len(index), seed), []

        def texts() -> Iterator[str]:
            for position, one in enumerate(embedded):
                if position in chosen:
                    sample.append(one.alone())
                yield f"{one.case.report} {one.case.note_text('history')}"

        write_json(folder / VOCABULARY, words_of(texts()))
        return fit_answers(index, sample, fuser, folder / PROBE, seed=seed)
    finally:
        index.close()


class _Shards:
    """Embedded cases on disk, and what was met when they were last gone over."""

    def __init__(self, folder: Path, fingerprint: str, files: Sequence[Path]) -> None:
        self._where = (folder, fingerprint, files)
        self.met = BuildReport(0, 0, [])

    def __iter__(self) -> Iterator[EmbeddedCase]:
        self.met = BuildReport(0, 0, [])
        for one in read_shards(*self._where):
            if isinstance(one, Skipped):
                self.met.skipped[one.case.id] = one.why
                continue
            self.met = replace(self.met, cases=self.met.cases + 1, views=self.met.views + len(one.seen()))
            if one.problems:
                self.met.partial[one.case.id] = list(one.problems)
            yield one


def _turn(out: Path) -> AbstractContextManager[None]:
    """The right to replace an index, where there is one: a change that is on its way into it would be lost."""
    return writer_lock(out) if (out / MANIFEST).is_file() else nullcontext()


def build_index(
    cases: Iterable[Case],
    cases_folder: Path,
    model: Path,
    out: Path,
    *,
    force: bool = False,
    seed: int = 0,
    threads: int | None = None,
    place: Place | None = None,
    shards: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BuildReport:
    """Build a self-contained index folder.

    A case of which nothing can be read is skipped and reported; it never stops the build. What was embedded when a
    build is interrupted stays in a hidden folder beside `out`, and the next run goes on from there. Of the cases a shard
    is in memory at a time, and those that the answers are fitted on (`FITTED`).

    Args:
        cases_folder: what the cases' file names are relative to.
        model: a model folder, verified before anything is written.
        place: where the cases are kept; in the folder itself where None.
        shards: embedded cases of this model, made by ``medclip embed``; those that are missing are made there.
        progress: called with each case id.

    Raises:
        BundleError: the model is damaged.
        ArchiveError: no case could be embedded, or another process is changing the index that would be replaced.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    serving = Layout(model).serving.root
    check_free(out, force=force, marker=MANIFEST)
    with _turn(out), new_folder(out, force=force, marker=MANIFEST) as folder:
        source = ServingModel(serving, threads=threads)
        source.verify_probes()
        shutil.copytree(serving, folder / MODEL)
        work = shards or work_folder(out)
        with open_shards(work, source.fingerprint, scratch=shards is None):
            files = embedded_locally(cases, cases_folder, source, work, progress)
            embedded = _Shards(work, source.fingerprint, files)
            if next(iter(embedded), None) is None:
                raise ArchiveError(
                    f"{cases_folder}: no case could be embedded; see  medclip cases check {cases_folder}"
                )
            label_sets = write_index(embedded, source.fuser, source.fingerprint, folder, seed=seed, place=place)
            report = replace(embedded.met, label_sets=label_sets)
            write_json(folder / REPORT, asdict(report))
    if shards is None:
        cleared(work)
    return report


def model_of(index: CaseIndex, *, threads: int | None = None) -> ServingModel:
    """The model inside an index.

    Raises:
        BundleError: it is damaged.
        ArchiveError: it is not the one that made the index's vectors.
    """
    model = ServingModel(index.attachment(MODEL), threads=threads)
    if model.fingerprint != index.fingerprint:
        raise ArchiveError(
            f"{index.folder}: its vectors were made by another model than the one inside; build it again"
        )
    return model
