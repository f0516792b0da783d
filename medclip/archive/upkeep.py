"""Keeping an index current: add, update, remove, compact."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from medclip.archive.entries import embedded_of, entry_of
from medclip.archive.fitting import fit_answers, fitted_on
from medclip.archive.layout import PROBE, VOCABULARY, model_of
from medclip.archive.leftovers import CaseReport, clear_leftovers, forget_embedded, strangers
from medclip.archive.map_file import read_map
from medclip.archive.map_upkeep import draw_map, forget_on_map, keep_map
from medclip.cases.case import Case, Skipped
from medclip.diagnosis.store import DIAGNOSERS
from medclip.embedding.shards import (
    content_of,
    embedded_locally,
    open_shards,
    read_shards,
    shards_with,
    work_folder,
)
from medclip.errors import ArchiveError
from medclip.files.outputs import named_failures, new_folder, readable_as, replaced_file
from medclip.files.workplaces import cleared
from medclip.index import CaseIndex
from medclip.index.records import Entry, Removed
from medclip.modalities.text.vocabulary import words_of, write_vocabulary

__all__ = [
    "Change",
    "Removal",
    "change_cases",
    "compact_index",
    "remove_cases",
]


@dataclass(frozen=True)
class Change:
    """What an add or update did."""

    written: list[str] = field(default_factory=list)  # case ids
    unchanged: list[str] = field(default_factory=list)  # there already, from the same files
    left: dict[str, str] = field(default_factory=dict)  # case id → why it was left as it is
    partial: dict[str, list[str]] = field(default_factory=dict)  # case id → scans and texts that could not be read


@dataclass(frozen=True)
class Removal:
    """What was deleted, and what still holds a trace of it."""

    removed: list[Removed]  # of the index
    deleted: list[str]  # what else held them in and beside it
    traces: list[str]


_ASKED = 500  # cases that are looked up at a time


def change_cases(
    folder: Path,
    cases: Iterable[Case],
    cases_folder: Path,
    *,
    update: bool,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Change:
    """Embed the cases that the index does not hold and insert them, all or none.

    Nobody else changes the index from the first case to the last. What was embedded when it is interrupted is not
    embedded again; one shard of cases is in memory at a time.

    Args:
        update: instead, embed the cases that the index holds and whose record or files have changed, and replace them.
        progress: called with each case id.

    Raises:
        ArchiveError: the index is damaged, or another process is changing it.
        BundleError: its model is damaged.
        OutputError: the disk is full, or the folder cannot be written.
    """
    index = CaseIndex.open_to_change(folder)
    try:
        with index.changing():
            clear_leftovers(folder)
            change = Change()
            drawn, before = read_map(index), index.generation()
            wanted = _wanted(index, cases, cases_folder, update, change, progress)
            first = next(wanted, None)
            if first is not None:
                _embed(index, chain([first], wanted), cases_folder, update, threads, change, progress)
            keep_map(index, drawn, before, change.written)
            cleared(work_folder(folder))
            return change
    finally:
        index.close()


def _wanted(
    index: CaseIndex,
    cases: Iterable[Case],
    cases_folder: Path,
    update: bool,
    change: Change,
    progress: Callable[[str], None],
) -> Iterator[Case]:
    """The cases that are to be embedded; what becomes of the others is put down in `change`."""
    given = iter(cases)
    while batch := list(islice(given, _ASKED)):
        known = index.contents([case.id for case in batch])
        for case in batch:
            if case.id in known and known[case.id] == content_of(case, cases_folder):
                change.unchanged.append(case.id)
            elif update and case.id not in known:
                change.left[case.id] = "is not in the index; medclip index add"
            elif not update and case.id in known:
                change.left[case.id] = "is in the index and has changed; medclip index update"
            else:
                yield case
                continue
            progress(case.id)


def _embed(
    index: CaseIndex,
    cases: Iterable[Case],
    cases_folder: Path,
    update: bool,
    threads: int | None,
    change: Change,
    progress: Callable[[str], None],
) -> None:
    """Embed cases and put them into the index."""
    model = model_of(index, threads=threads)
    work = work_folder(index.folder)
    with open_shards(work, model.fingerprint, scratch=True):
        files = embedded_locally(cases, cases_folder, model, work, progress)

        def entries() -> Iterator[Entry]:
            for one in read_shards(work, model.fingerprint, files):
                if isinstance(one, Skipped):
                    change.left[one.case_id] = one.reason
                    continue
                change.written.append(one.case.id)
                if one.problems:
                    change.partial[one.case.id] = list(one.problems)
                yield entry_of(one, model.fuser)

        found = entries()
        first = next(found, None)
        if first is not None:
            (index.update if update else index.add)(chain([first], found))


def remove_cases(folder: Path, case_ids: Sequence[str], patient: str | None = None) -> Removal:
    """Delete cases, or all of a patient's, from an index and from what runs that were killed left of them beside it.

    The index itself comes last, so that a removal that is killed finds the rest again when it is repeated.

    Raises:
        ArchiveError: there is no such case or patient, or another process is changing the index.
        OutputError: the folder cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        with index.changing(), named_failures(folder):
            index.tidy()
            busy = clear_leftovers(folder)
            of_patient = index.cases_of_patient(patient) if patient is not None else []
            wanted = list(dict.fromkeys([*case_ids, *of_patient]))
            there = index.contents(wanted)
            report = CaseReport.read(folder)
            _require_known(folder, case_ids, None if of_patient else patient, {*there, *report.names()})
            deleted = []
            try:
                deleted += [f"{file}: embedded cases" for file in forget_embedded(folder, wanted, patient)]
            except BlockingIOError:
                busy.append(work_folder(folder))
            deleted += report.forget(wanted)
            deleted += forget_on_map(index, wanted)
            removed = index.remove([case_id for case_id in wanted if case_id in there])
            traces = [*index.traces(), *_traces(folder, wanted, patient, busy)]
            if removed:
                traces.append(
                    "the probe was fitted and the map laid out with them, and the list of frequent words counts theirs, until  "
                    "compact"
                )
            if patient is not None and report.names() - set(wanted):
                traces.append(
                    f"{report.file}: names cases without their patient; remove those of the patient by case id"
                )
            return Removal(removed, deleted, traces)
    finally:
        index.close()


def _require_known(folder: Path, case_ids: Sequence[str], patient: str | None, known: set[str]) -> None:
    """Refuse ids of which nothing is found, before anything is deleted."""
    work = work_folder(folder)
    what = next(
        (
            f"case {case_id!r}"
            for case_id in case_ids
            if case_id not in known and not shards_with(work, [case_id], None)
        ),
        None,
    )
    if what is None and patient is not None and not shards_with(work, (), patient):
        what = "case of that patient"
    if what is not None:
        left = strangers(folder, case_ids, patient)
        beside = f"; what other commands that were killed left may hold it: {', '.join(left)}"
        raise ArchiveError(f"{folder}: has no {what}; check the id{beside if left else ''}")


def _traces(folder: Path, case_ids: Sequence[str], patient: str | None, busy: Sequence[Path]) -> list[str]:
    """What may hold the cases outside the index's own files."""
    return [
        *(
            f"{place}: a process is at work there and may hold them; remove them again when it is done"
            for place in busy
        ),
        *(
            f"{place}: is of another command that is at work or was killed, and may hold them; run it again, or delete it"
            for place in strangers(folder, case_ids, patient)
        ),
        "what was made of them elsewhere holds them: the cases folder, backups, exports, what  medclip embed  wrote, and "
        "models that were trained on them; delete those and make them anew",
    ]


def compact_index(folder: Path, *, seed: int = 0) -> list[str]:
    """Build the search structure anew, erase what was deleted, and fit the answers and the map to the cases there are.

    Returns:
        The label sets that the index can answer now.

    Raises:
        ArchiveError, BundleError: the index or its model is damaged, or another process is changing it.
        OutputError: the disk is full, or the folder cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        with index.changing():
            clear_leftovers(folder)
            model = model_of(index)
            fuser = model.fuser
            index.compact()
            words = words_of(record.text for record in index.records())
            chosen = fitted_on(len(index), seed)
            sample = (
                embedded_of(Entry(record, index.views_of(record.id), {}), fuser)
                for position, record in enumerate(index.records())
                if position in chosen
            )
            with new_folder(index.attachment(PROBE), force=True, marker=DIAGNOSERS) as fresh:
                fitted = fit_answers(index, sample, fuser, fresh, orientation=model.orientation, seed=seed)
                readable_as(folder, fresh)
            with replaced_file(index.attachment(VOCABULARY)) as partial:
                write_vocabulary(partial, words)
            draw_map(index, seed)
            return fitted
    finally:
        index.close()
