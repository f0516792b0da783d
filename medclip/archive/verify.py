"""Whether an index folder is what medclip made: what ``medclip index verify`` asks of every file in it.

Checksums show damage. They have no key: whoever can change a file can change its checksum, too, and an index is to be
trusted as far as those who may write its folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medclip.archive.fitted import FITTED_AMONG, read_fitted
from medclip.archive.layout import ATTACHMENTS, MODEL, PROBE, REPORT, VOCABULARY, fuser_of, model_of, orientation_of
from medclip.archive.map_upkeep import map_faults, map_notes
from medclip.archive.novelty import NOVELTY, NOVELTY_TENSORS, read_novelty
from medclip.bundle.layout import ServingLayout
from medclip.cases.case import Case
from medclip.diagnosis.store import DIAGNOSERS, TENSORS, load_diagnosers, probe_is_sealed
from medclip.errors import MedclipError
from medclip.files.plain import unreadable
from medclip.files.sealed import read_json
from medclip.fusion.composition import PARTS
from medclip.index import CaseIndex
from medclip.index.case_index import MANIFEST
from medclip.modalities.text.vocabulary import read_vocabulary, vocabulary_is_sealed

__all__ = ["Verified", "read_report", "verify_index"]


@dataclass(frozen=True)
class Verified:
    """What was found."""

    faults: list[str]
    notes: list[str]  # what is no fault, but should be known
    mended: list[str]


def verify_index(folder: Path, *, repair: bool = False) -> Verified:
    """Check every file of an index folder.

    Args:
        repair: first make damaged search structures anew from the stored vectors.

    Raises:
        ArchiveError: the folder is no index, or its cases cannot be read at all.
        OutputError: something is to be mended, and the folder cannot be written.
    """
    index = CaseIndex.open_for_repair(folder)
    try:
        mended = index.repair() if repair else []
        faults: list[str] = []
        for check in (CaseIndex.verify, _documents, _model, _probe, _others, _novelty, _fitted, map_faults):
            try:
                faults += check(index)
            except MedclipError as error:
                faults.append(str(error))
        return Verified(faults, [] if faults else list(_notes(index)), mended)
    finally:
        index.close()


def _documents(index: CaseIndex) -> list[str]:
    """What is shown of a case must be of that case."""
    found = []
    for record in index.records():
        try:
            case = Case.model_validate(record.document)
        except ValidationError:
            found.append(f"{index.folder}: the document of case {record.id!r} is no case")
        else:
            if (case.id, case.patient) != (record.id, record.patient):
                found.append(f"{index.folder}: the document of case {record.id!r} is of another case or patient")
    return found


def _model(index: CaseIndex) -> list[str]:
    model_of(index).verify_references()
    return []


def _probe(index: CaseIndex) -> list[str]:
    fuser = fuser_of(index)
    load_diagnosers(index.attachment(PROBE), {part: fuser.width_of(part) for part in PARTS})
    return []


def _novelty(index: CaseIndex) -> list[str]:
    read_novelty(index.attachment(PROBE), fuser_of(index), orientation_of(index))
    return []


def _fitted(index: CaseIndex) -> list[str]:
    read_fitted(index)
    return []


def _others(index: CaseIndex) -> list[str]:
    """The words for the speech model, and the report, which is for people to read."""
    found = []
    for name, read, remedy in (
        (VOCABULARY, read_vocabulary, "medclip index compact  makes it anew"),
        (REPORT, read_report, "delete it"),
    ):
        file = index.attachment(name)
        try:
            read(file)
        except OSError as error:
            found.append(f"{file}: {unreadable(error)}; {remedy}")
        except ValueError as error:
            found.append(f"{file}: is damaged ({error}); {remedy}")
    return found


def read_report(file: Path) -> dict[str, Any]:
    """What a build said of the cases that it left out; empty where there is no such file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    try:
        found = read_json(file)
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError("is no report")
    return found


def _notes(index: CaseIndex) -> Iterator[str]:
    """What is no fault: files that nothing vouches for, and files that are none of the index's."""
    probe, words = index.attachment(PROBE), index.attachment(VOCABULARY)
    vouched = {
        index.folder / MANIFEST: index.is_sealed,
        probe / DIAGNOSERS: probe_is_sealed(probe),
        words: vocabulary_is_sealed(words),
    }
    for file, known in vouched.items():
        if not known:
            yield f"{file}: has no checksum, since an older medclip made it; medclip index compact  adds it"
    yield from map_notes(index)
    model = ServingLayout(index.attachment(MODEL))
    own = {
        index.folder: set(index.names(ATTACHMENTS)),
        probe: {DIAGNOSERS, TENSORS, NOVELTY, NOVELTY_TENSORS, FITTED_AMONG},
        model.root: {file.name for file in (model.manifest, *model.listed("every", ("every",)))},
    }
    for folder, names in own.items():
        for path in sorted(folder.iterdir()):
            if path.name not in names:
                yield f"{path}: is none of the index's files, so nothing was checked of it"
