"""Taking an index elsewhere: back up, export, import."""

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from medclip.archive.build import Place, create_index, turn_to_replace
from medclip.archive.entries import record_of, view_labels
from medclip.archive.fitted import restamp
from medclip.archive.layout import ATTACHMENTS
from medclip.archive.map_upkeep import fit_map
from medclip.cases.case import Case
from medclip.errors import ArchiveError, describe
from medclip.files.outputs import check_free, new_file, new_folder
from medclip.files.plain import unreadable
from medclip.fusion.composition import VIEW_KINDS
from medclip.index import CaseIndex, Entry
from medclip.index.case_index import MANIFEST
from medclip.index.exchange import MARK, Export, read_export, write_export
from medclip.index.folder import copy_plain

__all__ = ["back_up", "export_index", "import_index"]

_LARGEST, _WIDEST = 256 << 10, 1024  # bytes and pixels of a thumbnail; medclip makes 256 pixels, some 10 KB


def back_up(folder: Path, out: Path) -> None:
    """Copy an index, while others read it, into a new folder that is an index itself.

    Raises:
        ArchiveError: the index is damaged, or another process is changing it.
        OutputError: `out` exists, the disk is full, or the place cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        with new_folder(out, marker=MANIFEST) as copy:
            index.copy_to(copy, ATTACHMENTS)
    finally:
        index.close()


def export_index(folder: Path, out: Path, *, force: bool = False) -> int:
    """Write everything that an index holds into one file; returns the number of cases.

    Raises:
        ArchiveError: the index is damaged.
        OutputError: `out` exists (without `force`), the disk is full, or the place cannot be written.
    """
    index = CaseIndex.open(folder)
    try:
        with index.snapshot(), new_file(out, marker=MARK, force=force) as partial:
            return write_export(partial, index)
    finally:
        index.close()


def import_index(file: Path, attachments: Path, out: Path, place: Place, *, force: bool = False) -> int:
    """Make an index of an export, of whatever backend; returns the number of cases.

    Every case is held against its checksum on the way, and their number against the export's. The checksums have no key,
    so that of a case only its document is believed: it must be a valid case of the same id, patient and labels, and what
    filters and words go by is made of it anew.

    Args:
        attachments: the index that was exported, whose model and probe go along.

    Raises:
        ArchiveError: the export is damaged, or not of that index.
        OutputError: `out` exists (without `force`), the disk is full, or the place cannot be written.
    """
    export = read_export(file)
    with closing(CaseIndex.open(attachments)) as source:
        if source.fingerprint != export.fingerprint:
            raise ArchiveError(f"{file}: was exported from an index of another model than {attachments}'s")
        check_free(out, force=force, marker=MANIFEST)
        with turn_to_replace(out), new_folder(out, force=force, marker=MANIFEST) as folder:
            create_index(_as_made(export, source.dimension), source.fingerprint, folder, place)
            for name in ATTACHMENTS:
                if (attachments / name).exists():
                    try:
                        copy_plain(attachments / name, folder / name)
                    except PermissionError as error:
                        raise ArchiveError(f"{error.filename}: {unreadable(error)}") from error
            with closing(CaseIndex.open(folder)) as index:
                if len(index) != export.cases:
                    raise ArchiveError(f"{file}: {export.cases} cases were exported and {len(index)} arrived")
                restamp(index, source)
                fit_map(index)
    return export.cases


def _as_made(export: Export, dimension: int) -> Iterator[Entry]:
    """The cases of an export as an index would make them of their documents.

    Raises:
        ArchiveError: one is not what its document says.
    """
    for entry in export.entries():
        fault = None
        try:
            case = Case.model_validate(entry.record.document)
        except ValidationError as error:
            fault = f"its document is no case ({describe(error)})"
        else:
            fault = _fault(entry, case, dimension)
        if fault is not None:
            raise ArchiveError(
                f"{export.file}: case {entry.record.id[:200]!r} cannot be imported: {fault}; export again"
            )
        yield Entry(record_of(case, entry.record.content), entry.views, entry.thumbnails)


def _fault(entry: Entry, case: Case, dimension: int) -> str | None:
    record, scans = entry.record, len(case.scans)
    if (case.id, case.patient) != (record.id, record.patient):
        return "its document is of another case or patient"
    if case.case_labels != record.labels:
        return "its labels are not those of its document"
    for view in entry.views:
        if view.kind not in VIEW_KINDS or view.number >= (scans if view.kind == "scan" else 1):
            return "it has a vector of something that its document lacks"
        if view.vector.shape != (dimension,):
            return "its vectors are of another width than the model's"
        if view.labels != view_labels(case, view.kind, view.number):
            return "the labels of a vector are not those of its document"
    if any(number >= scans or not _is_thumbnail(jpeg) for number, jpeg in entry.thumbnails.items()):
        return "it has a thumbnail that is no small JPEG of one of its scans"
    return None


def _is_thumbnail(jpeg: bytes) -> bool:
    if len(jpeg) > _LARGEST:
        return False
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return max(image.size) <= _WIDEST
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
