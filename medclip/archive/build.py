"""Building an index: cases → embeddings → `CaseIndex`, with the serving model and the fitted diagnosers inside."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from medclip.archive.fitting import fit_answers, fitted_on
from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.cases.manifest import describe
from medclip.embedding.embedder import Array, EmbeddedCase
from medclip.embedding.shards import Skipped, embedded_locally, open_shards, read_shards, work_folder
from medclip.errors import ArchiveError
from medclip.files.outputs import check_free, new_folder
from medclip.files.plain import write_json
from medclip.files.workplaces import cleared
from medclip.fusion import Fuser
from medclip.fusion.case_vector import unit
from medclip.index import CaseIndex, Demands, Entry, Record, VectorView
from medclip.index.case_index import MANIFEST
from medclip.index.lock import writer_lock
from medclip.index.records import Fact
from medclip.modalities.text.vocabulary import words_of, write_vocabulary

__all__ = [
    "FIELDS",
    "MODEL",
    "PROBE",
    "REPORT",
    "VOCABULARY",
    "BuildReport",
    "Place",
    "build_index",
    "case_of",
    "create_index",
    "embedded_of",
    "entry_of",
    "model_of",
    "record_of",
    "turn_to_replace",
    "view_labels",
    "write_index",
]

MODEL, PROBE, REPORT, VOCABULARY = "model", "probe", "build-report.json", "vocabulary.json"


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


def view_labels(case: Case, kind: str, number: int) -> dict[str, str]:
    """The labels that hold for a view: a scan's own where it is one scan's."""
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
    views = [VectorView(v.kind, v.number, v.vector, view_labels(case, v.kind, v.number)) for v in embedded.views(fuser)]
    return Entry(record_of(case, embedded.content), views, embedded.thumbnails)


def record_of(case: Case, content: str) -> Record:
    """What an index keeps of a case beside its vectors and thumbnails.

    Args:
        content: hash of what the case was embedded from.
    """
    text = "\n\n".join(part for part in (case.report, case.note_text("history")) if part)
    return Record(case.id, case.patient, case.case_labels, _document(case), _facts(case), text, content)


def case_of(record: Record) -> Case:
    """The case that a record in an index is of.

    Raises:
        ArchiveError: its document is no valid case.
    """
    try:
        return Case.model_validate(record.document)
    except ValidationError as error:
        raise ArchiveError(
            f"case {record.id!r}: its record in the index is damaged ({describe(error)}); restore it from a backup"
        ) from error


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
    return EmbeddedCase(case_of(entry.record), numbers, block("scan"), block("report"), block("history"), measured)


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
        embedded: the cases; they are gone over three times, and few are in memory at a time.
    """
    create_index((entry_of(case, fuser) for case in embedded), fingerprint, folder, place or Place(), seed=seed)
    (folder / PROBE).mkdir()
    index = CaseIndex.open(folder)
    try:
        words = words_of(f"{e.case.report} {e.case.note_text('history')}" for e in embedded)
        write_vocabulary(folder / VOCABULARY, words)
        chosen = fitted_on(len(index), seed)
        sample = (one for position, one in enumerate(embedded) if position in chosen)
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


def turn_to_replace(out: Path) -> AbstractContextManager[None]:
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
    build is interrupted stays in a hidden folder beside `out`, and the next run goes on from there. One shard
    of cases is in memory at a time, and the vectors of those that the answers are fitted on (`fitting.FITTED`).

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
    with turn_to_replace(out), new_folder(out, force=force, marker=MANIFEST) as folder:
        source = ServingModel(serving, threads=threads)
        source.verify_probes()
        source.copy_to(folder / MODEL)
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
