"""Building an index: cases → embeddings → `CaseIndex`, with the serving model and the fitted diagnosers inside."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from medclip.archive.entries import entry_of
from medclip.archive.filter_fields import FIELDS
from medclip.archive.fitting import fit_answers, fitted_on
from medclip.archive.layout import MODEL, PROBE, REPORT, VOCABULARY
from medclip.archive.map_upkeep import draw_map
from medclip.bundle.layout import Layout
from medclip.bundle.orientation import Orientation
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case, Skipped
from medclip.embedding.embedder import EmbeddedCase
from medclip.embedding.shards import embedded_locally, open_shards, read_shards, work_folder
from medclip.errors import ArchiveError
from medclip.files.outputs import check_free, new_folder
from medclip.files.plain import write_json
from medclip.files.workplaces import cleared
from medclip.fusion import Fuser
from medclip.index import CaseIndex, Demands, Entry
from medclip.index.case_index import MANIFEST
from medclip.index.lock import writer_lock
from medclip.modalities.text.vocabulary import words_of, write_vocabulary

__all__ = ["BuildReport", "Place", "build_index", "create_index", "turn_to_replace", "write_index"]


@dataclass(frozen=True)
class BuildReport:
    """What went into an index and what was left out."""

    cases: int
    views: int
    label_sets: list[str]
    skipped: dict[str, str] = field(default_factory=dict)  # case id → why nothing of it is in the index
    partial: dict[str, list[str]] = field(default_factory=dict)  # case id → scans and texts that were left out


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
    orientation: Orientation | None = None,
) -> list[str]:
    """Write vectors, catalogue, diagnosers and vocabulary into an existing folder; returns the label sets it can answer.

    Args:
        embedded: the cases; they are gone over three times, and few are in memory at a time.
        orientation: the model's, where it has one.
    """
    create_index((entry_of(case, fuser) for case in embedded), fingerprint, folder, place or Place(), seed=seed)
    (folder / PROBE).mkdir()
    index = CaseIndex.open(folder)
    try:
        words = words_of(f"{e.case.report} {e.case.note_text('history')}" for e in embedded)
        write_vocabulary(folder / VOCABULARY, words)
        chosen = fitted_on(len(index), seed)
        sample = (one for position, one in enumerate(embedded) if position in chosen)
        return fit_answers(index, sample, fuser, folder / PROBE, orientation=orientation, seed=seed)
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
                self.met.skipped[one.case_id] = one.reason
                continue
            self.met = replace(self.met, cases=self.met.cases + 1, views=self.met.views + len(one.seen()))
            if one.problems:
                self.met.partial[one.case.id] = list(one.problems)
            yield one


def turn_to_replace(out: Path) -> AbstractContextManager[None]:
    """The right to replace an index, where there is one: a change that is on its way into it would be lost."""
    return writer_lock(out) if (out / MANIFEST).is_file() else nullcontext()


def _draw(folder: Path, seed: int) -> None:
    index = CaseIndex.open(folder)
    try:
        draw_map(index, seed)
    finally:
        index.close()


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
        source.verify_references()
        source.copy_to(folder / MODEL)
        work = shards or work_folder(out)
        with open_shards(work, source.fingerprint, scratch=shards is None):
            files = embedded_locally(cases, cases_folder, source, work, progress)
            embedded = _Shards(work, source.fingerprint, files)
            if next(iter(embedded), None) is None:
                raise ArchiveError(
                    f"{cases_folder}: no case could be embedded; see  medclip cases check {cases_folder}"
                )
            label_sets = write_index(
                embedded,
                source.fuser,
                source.fingerprint,
                folder,
                seed=seed,
                place=place,
                orientation=source.orientation,
            )
            _draw(folder, seed)
            report = replace(embedded.met, label_sets=label_sets)
            write_json(folder / REPORT, asdict(report))
    if shards is None:
        cleared(work)
    return report
