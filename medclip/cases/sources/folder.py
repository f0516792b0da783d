"""A plain folder: ``cases.csv`` or ``cases.xlsx`` beside the files that it names, one row a scan (or a case without scans).

Columns (only ``case`` is required; rows with the same ``case`` are one case, and its first value of a column holds; where
they name two patients, the case is left out):

======================  ================================================================================
``case``                the case id
``patient``             who the case belongs to; keeps a patient's cases out of each other's folds and votes
``scan``                an image file, or the folder of a DICOM series, by its path relative to the table and below it
``modality``, ``plane``  CR, CT, MR, US or OT, or a usual word for one; free text
``caption``             the report's words about this image
``history``, ``findings``  texts of the case
``history.audio``, ``findings.audio``
                        recordings of the same; ``medclip cases transcribe`` adds what is said in them
``measure.<name>``      a vital sign or laboratory value with its unit, such as 38.9 Cel or 38.9 °C
``age``, ``sex``        54, 54Y, 018M; female, male or other, F, M or O
``split``               train, dev or test; training ...
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
from medclip.cases.sources.base import Draft, Item, Options, Remark, Skipped
from medclip.cases.table import (
    CASE_COLUMNS,
    NOTE_KINDS,
    Mistake,
    Row,
    case_fields,
    mistakes_in,
    read_table,
    told,
    two_patients,
    without_key,
)
from medclip.errors import CaseError, ScanError, describe
from medclip.files.plain import permissions
from medclip.identifiers import id_fault
from medclip.modalities.scan.read import as_tiff, read_scan

NAME = "folder"
NEEDS_PATH = True
OPTIONS: frozenset[str] = frozenset({"allow_outside", "encoding", "sheet"})

_SCAN = ("scan", "modality", "plane", "caption")
_AUDIO = {kind: f"{kind}.audio" for kind in NOTE_KINDS}


def _stored_name(folder: str, named: str, suffix: str) -> str:
    """A name in the cases folder that two files of one name in different folders do not share."""
    return f"{folder}/{Path(named).stem}-{hashlib.sha256(named.encode()).hexdigest()[:8]}{suffix}"


class _Files:
    """The files that the rows of one case name."""

    def __init__(self, folder: Path, allow_outside: bool) -> None:
        self._folder, self._allow_outside = folder, allow_outside
        self.scans: list[dict[str, Any]] = []
        self.recordings: list[dict[str, Any]] = []
        self.files: dict[str, Path | bytes] = {}
        self.places: dict[str, str] = {}  # file → where the table names it
        self.mode = 0o777
        self.mistakes: list[Mistake] = []

    def _beside(self, named: str) -> Path:
        """The file or folder that a cell names.

        A link counts as what it leads to, so that a table from elsewhere cannot have files of this machine copied.

        Raises:
            CaseError: it is not there, is neither a plain file nor a folder, or lies outside the table's folder.
        """
        try:
            source = (self._folder / named).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise CaseError("is not found beside the table") from None
        if not self._allow_outside and not source.is_relative_to(self._folder.resolve()):
            raise CaseError("lies outside the table's folder; copy it there, or allow it with --allow-outside")
        if not source.is_file() and not source.is_dir():
            raise CaseError("is neither a file nor a folder")
        return source

    def _series(self, source: Path, file: str) -> dict[str, Any]:
        """Read the folder of a series; returns what to keep of how.

        Raises:
            CaseError: a file in it is a link to elsewhere, or no scan can be made of them.
        """
        for member in source.iterdir():
            self._beside(str(member))
        try:
            series = read_scan(source)
        except ScanError as error:
            raise CaseError(without_name(error, source)) from error
        self.files[file] = as_tiff(series.pictures)
        self.mode &= permissions(source)
        return {"window": series.window} if series.window else {}

    def add_scan(self, row: Row) -> None:
        """The scan of a row, if it has one."""
        if not (named := row.get("scan")):
            return
        try:
            source = self._beside(named)
            file = _stored_name("scans", named, ".tif" if source.is_dir() else Path(named).suffix)
            if file in self.files:
                raise CaseError(f"is the same as in {self.places[file]}; name each scan once")
            about = {key: value for key in _SCAN[1:] if (value := row.get(key))}
            if source.is_dir():
                about |= self._series(source, file)
            else:
                self.files[file] = source
        except CaseError as error:
            self.mistakes.append(Mistake(row.line, "scan", str(error)))
            return
        self.places[file] = f"line {row.line}, column scan"
        self.scans.append({"file": file, **about})

    def add_recording(self, kind: str, rows: list[Row]) -> None:
        """The first recording that the rows of a case name for a kind of note."""
        column = f"{kind}.audio"
        row = next((row for row in rows if row.get(column)), None)
        if row is None:
            return
        try:
            source = self._beside(row[column])
            if source.is_dir():
                raise CaseError("is a folder; name the recording in it")
            file = _stored_name("recordings", row[column], Path(row[column]).suffix)
            if file in self.files:
                raise CaseError(f"is the same as in {self.places[file]}; name each recording once")
        except CaseError as error:
            self.mistakes.append(Mistake(row.line, column, str(error)))
            return
        self.files[file] = source
        self.places[file] = f"line {row.line}, column {column}"
        self.recordings.append({"file": file, "kind": kind})


def without_name(error: Exception, file: Path) -> str:
    """What an error says of a file, without the file's name, which may be a patient's."""
    return str(error).removeprefix(f"{file}: ").replace(f"{file}/", "")


def _identifiers(case_id: str, rows: list[Row]) -> Iterator[Mistake]:
    if (fault := id_fault(case_id)) is not None:
        yield Mistake(rows[0].line, "case", fault)
    for row in rows:
        if (patient := row.get("patient")) and (fault := id_fault(patient)) is not None:
            yield Mistake(row.line, "patient", fault)


def _draft(case_id: str, rows: list[Row], folder: Path, allow_outside: bool) -> Draft | Skipped:
    named = _Files(folder, allow_outside)
    for row in rows:
        named.add_scan(row)
    for kind in _AUDIO:
        named.add_recording(kind, rows)
    fields = case_fields(rows)
    mistakes = [*mistakes_in(rows), *_identifiers(case_id, rows), *named.mistakes]
    if not mistakes and not (named.scans or named.recordings or fields["notes"] or fields["measurements"]):
        what = "its case has neither a scan, a text, a recording nor a measurement; give it one"
        mistakes.append(Mistake(rows[0].line, None, what))
    if reason := "; ".join(part for part in (two_patients(rows), told(mistakes)) if part):
        return Skipped(case_id, reason)
    known = {"scans": named.scans, "recordings": named.recordings, "source": NAME}
    try:
        case = Case.model_validate({"id": case_id, **fields, **known})
    except ValidationError as error:
        return Skipped(case_id, f"line {rows[0].line}: {describe(error)}")
    return Draft(case, named.files, named.mode, named.places)


def _table(path: Path) -> Path:
    """The table of a folder, or the one that was named.

    Raises:
        CaseError: the folder holds two.
    """
    if not path.is_dir():
        return path
    found = [file for name in ("cases.csv", "cases.xlsx") if (file := path / name).exists()]
    if len(found) > 1:
        raise CaseError(f"{path}: holds cases.csv and cases.xlsx; name the one to import")
    return found[0] if found else path / "cases.csv"


def draft(path: Path | None, options: Options) -> Iterator[Item]:
    """Yield every case of the table; `path` is the folder that holds it as ``cases.csv``, or a table of any name."""
    assert path is not None
    file = _table(path)
    columns = (*CASE_COLUMNS, *_SCAN, *_AUDIO.values())
    table = read_table(file, "case", columns, encoding=options.encoding, sheet=options.sheet)
    if table.remark:
        yield Remark(table.remark)
    for row in table.loose:
        yield Skipped(f"line {row.line}", without_key(row, "case"))
    for case_id, members in table.groups.items():
        yield _draft(case_id, members, file.parent, options.allow_outside)
