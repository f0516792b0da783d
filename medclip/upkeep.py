"""Keeping an index current: add, update, remove, compact."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclip.archive import (
    PROBE,
    REPORT,
    VOCABULARY,
    embedded_of,
    entry_of,
    fit_answers,
    model_of,
    vocabulary_of,
    work_folder,
)
from medclip.cases.case import Case
from medclip.diagnosis.store import DIAGNOSERS
from medclip.errors import ArchiveError
from medclip.files import new_folder, replaced_file, write_json
from medclip.index import CaseIndex
from medclip.index.catalogue import Removed
from medclip.modalities.text.vocabulary import write_vocabulary
from medclip.shards import Skipped, content_of, embedded_locally, read_shards

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

    removed: list[Removed]
    traces: list[str]


def change_cases(
    folder: Path,
    cases: Sequence[Case],
    cases_folder: Path,
    *,
    update: bool,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Change:
    """Embed the cases that the index does not hold and insert them, all or none.

    What was embedded when it is interrupted is not embedded again.

    Args:
        update: instead, embed the cases that the index holds and whose record or files have changed, and replace them.
        progress: called with each case id.

    Raises:
        ArchiveError: the index is damaged, or another process is changing it.
        BundleError: its model is damaged.
        OutputError: the disk is full, or the folder cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        known = index.contents()
        change = Change()
        wanted = []
        for case in cases:
            if case.id in known and known[case.id] == content_of(case, cases_folder):
                change.unchanged.append(case.id)
            elif update and case.id not in known:
                change.left[case.id] = "is not in the index; medclip index add"
            elif not update and case.id in known:
                change.left[case.id] = "is in the index and has changed; medclip index update"
            else:
                wanted.append(case)
                continue
            progress(case.id)
        if not wanted:
            return change
        model = model_of(index, threads=threads)
        work = work_folder(folder)
        made = embedded_locally(wanted, cases_folder, model, work, progress)
        entries = []
        for one in read_shards(work, model.fingerprint, made):
            if isinstance(one, Skipped):
                change.left[one.case.id] = one.why
                continue
            entries.append(entry_of(one, model.fuser))
            change.written.append(one.case.id)
            if one.problems:
                change.partial[one.case.id] = list(one.problems)
        if entries:
            (index.update if update else index.add)(entries)
        shutil.rmtree(work)
        return change
    finally:
        index.close()


def remove_cases(folder: Path, case_ids: Sequence[str], patient: str | None = None) -> Removal:
    """Delete cases, or all of a patient's, and say what of them is left anywhere in the folder.

    Raises:
        ArchiveError: there is no such case or patient, or another process is changing the index.
        OutputError: the folder cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        wanted = list(case_ids)
        if patient is not None:
            of_patient = index.cases_of_patient(patient)
            if not of_patient:
                raise ArchiveError(f"{folder}: has no case of that patient; check the id")
            wanted += of_patient
        removed = index.remove(wanted)
        _forget_in_report(index, {one.case_id for one in removed})
        stats = index.stats()
        traces = []
        if stats.get("deleted but in structure"):
            traces.append("the search structure holds the vectors, masked, until  medclip index compact")
        if stats.get("words deleted but indexed"):
            traces.append("the index of words holds their words, without the case, until  medclip index compact")
        traces.append("the probe was fitted with them, and the list of frequent words counts theirs, until  compact")
        traces.append("backups that were made before hold them: delete those and make one anew")
        return Removal(removed, traces)
    finally:
        index.close()


def _forget_in_report(index: CaseIndex, gone: set[str]) -> None:
    file = index.attachment(REPORT)
    if not file.is_file():
        return
    report = json.loads(file.read_bytes())
    for part in ("skipped", "partial"):
        report[part] = {case_id: why for case_id, why in report.get(part, {}).items() if case_id not in gone}
    with replaced_file(file) as partial:
        write_json(partial, report)


def compact_index(folder: Path, *, seed: int = 0) -> list[str]:
    """Choose and build the search structure anew, erase what was deleted, and fit the answers to the cases there are.

    Returns:
        The label sets that the index can answer now.

    Raises:
        ArchiveError, BundleError: the index or its model is damaged, or another process is changing it.
        OutputError: the disk is full, or the folder cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        fuser = model_of(index).fuser
        index.compact()
        embedded = [embedded_of(entry, fuser) for entry in index.entries()]
        with new_folder(index.attachment(PROBE), force=True, marker=DIAGNOSERS) as fresh:
            fitted = fit_answers(index, embedded, fuser, fresh, seed=seed)
        with replaced_file(index.attachment(VOCABULARY)) as partial:
            write_vocabulary(partial, vocabulary_of(one.case for one in embedded))
        return fitted
    finally:
        index.close()
