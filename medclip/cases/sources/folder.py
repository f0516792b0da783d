"""A plain folder: ``cases.csv`` beside the files that it names, one row a scan (or a case without scans).

Columns (only ``case`` is required; rows with the same ``case`` are one case, and its first value of a column holds; where
they name two patients, the case is left out):

======================  ================================================================================
``case``                the case id
``patient``             who the case belongs to; keeps a patient's cases out of each other's folds and votes
``scan``                an image file, or the folder of a DICOM series, by its path relative to the CSV and below it
``modality``, ``plane``  CR, CT, MR, US or OT; free text
``caption``             the report's words about this image
``history``, ``findings``  texts of the case
``history.audio``, ``findings.audio``
                        recordings of the same; ``medclip cases transcribe`` adds what is said in them
``measure.<name>``      a vital sign or laboratory value with its UCUM unit, such as 38.9 Cel
``age``, ``sex``        years; female, male or other
``split``               train, dev or test
``label.<set>``         class of the case in that label set; empty means unknown
``impression``, ``diagnosis``, ``confirmed_by``, ``differential``, ``treatment``, ``discussion``
                        the outcome: shown with a similar case, never embedded
======================  ================================================================================
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medclip.cases.case import Case
from medclip.cases.sources.base import Draft, Options, Skipped
from medclip.cases.table import CASE_COLUMNS, NOTE_KINDS, Row, case_fields, first, grouped_rows, two_patients
from medclip.errors import CaseError, MeasurementError, ScanError, describe
from medclip.files.plain import permissions
from medclip.modalities.scan.read import as_tiff, read_scan

NAME = "folder"
NEEDS_PATH = True
OPTIONS: frozenset[str] = frozenset({"allow_outside"})

_SCAN = ("scan", "modality", "plane", "caption")
_AUDIO = {kind: f"{kind}.audio" for kind in NOTE_KINDS}


def _stored_name(folder: str, named: str, suffix: str) -> str:
    """A name in the cases folder that two files of one name in different folders do not share."""
    return f"{folder}/{Path(named).stem}-{hashlib.sha256(named.encode()).hexdigest()[:8]}{suffix}"


def _beside(folder: Path, named: str, allow_outside: bool) -> Path:
    """The file or folder that a row names.

    A link counts as what it leads to, so that a CSV from elsewhere cannot have files of this machine copied.

    Raises:
        CaseError: it is not there, is neither a plain file nor a folder, or lies outside the CSV's folder.
    """
    try:
        source = (folder / named).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise CaseError(f"{named} is not found beside the CSV") from None
    if not allow_outside and not source.is_relative_to(folder.resolve()):
        raise CaseError(f"{named} lies outside the CSV's folder; copy it there, or allow it with --allow-outside")
    if not source.is_file() and not source.is_dir():
        raise CaseError(f"{named} is neither a file nor a folder")
    return source


def _draft(case_id: str, rows: list[Row], folder: Path, allow_outside: bool) -> Draft | Skipped:
    if (fault := two_patients(rows)) is not None:
        return Skipped(case_id, fault)
    scans: list[dict[str, Any]] = []
    files: dict[str, Path | bytes] = {}
    mode = 0o777
    for row in rows:
        named = (row.get("scan") or "").strip()
        if not named:
            continue
        try:
            source = _beside(folder, named, allow_outside)
        except CaseError as error:
            return Skipped(case_id, f"the scan {error}")
        about = {key: value for key in _SCAN[1:] if (value := (row.get(key) or "").strip())}
        if source.is_dir():
            try:
                for member in source.iterdir():
                    _beside(folder, str(member), allow_outside)
                series = read_scan(source)
            except (ScanError, CaseError) as error:
                return Skipped(case_id, str(error))
            file = _stored_name("scans", named, ".tif")
            files[file] = as_tiff(series.pictures)
            mode &= permissions(source)
            about |= {"window": series.window} if series.window else {}
        else:
            file = _stored_name("scans", named, Path(named).suffix)
            files[file] = source
        scans.append({"file": file, **about})
    recordings = []
    for kind, column in _AUDIO.items():
        if recorded := first(rows, column):
            try:
                source = _beside(folder, recorded, allow_outside)
            except CaseError as error:
                return Skipped(case_id, f"the recording {error}")
            if source.is_dir():
                return Skipped(case_id, f"the recording {recorded} is a folder")
            file = _stored_name("recordings", recorded, Path(recorded).suffix)
            files[file] = source
            recordings.append({"file": file, "kind": kind})
    known = {"scans": scans, "recordings": recordings, "source": NAME}
    try:
        case = Case.model_validate({"id": case_id, **case_fields(rows), **known})
    except ValidationError as error:
        return Skipped(case_id, describe(error))
    except MeasurementError as error:
        return Skipped(case_id, str(error))
    return Draft(case, files, mode)


def draft(path: Path | None, options: Options) -> Iterator[Draft | Skipped]:
    """Yield every case of the CSV; `path` is the folder that holds ``cases.csv``, or a CSV of any name."""
    assert path is not None
    table = path / "cases.csv" if path.is_dir() else path
    groups, empty = grouped_rows(table, "case", (*CASE_COLUMNS, *_SCAN, *_AUDIO.values()))
    for number in empty:
        yield Skipped(f"line {number}", "its case column is empty")
    for case_id, members in groups.items():
        yield _draft(case_id, members, table.parent, options.allow_outside)
