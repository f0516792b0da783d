"""A plain folder: ``cases.csv`` beside the files that it names, one row a scan (or a case without scans).

Columns (only ``case`` is required; rows with the same ``case`` are one case, and its first value of a column holds):

======================  ================================================================================
``case``                the case id
``patient``             who the case belongs to; keeps a patient's cases out of each other's folds and votes
``scan``                an image file, by its path relative to the CSV
``modality``, ``plane``  CR, CT, MR, US or OT; free text
``caption``             the report's words about this image
``history``, ``findings``  texts of the case
``age``, ``sex``        years; female, male or other
``split``               train, dev or test
``label.<set>``         class of the case in that label set; empty means unknown
``diagnosis``, ``confirmed_by``, ``differential``, ``treatment``, ``discussion``
                        the outcome: shown with a similar case, never embedded
======================  ================================================================================
"""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medclip.cases.case import Case, Outcome
from medclip.cases.manifest import describe
from medclip.cases.sources.base import Draft, Skipped
from medclip.errors import CaseError

NAME = "folder"
NEEDS_PATH = True

_OUTCOME = tuple(Outcome.model_fields)
_CASE = ("patient", "history", "findings", "age", "sex", "split", *_OUTCOME)
_SCAN = ("scan", "modality", "plane", "caption")


def _first(rows: list[dict[str, str]], column: str) -> str | None:
    return next((value for row in rows if (value := (row.get(column) or "").strip())), None)


def _stored_name(scan: str) -> str:
    """A name in the cases folder that two scans of one file name in different folders do not share."""
    path = Path(scan)
    return f"scans/{path.stem}-{hashlib.sha256(scan.encode()).hexdigest()[:8]}{path.suffix}"


def _draft(case_id: str, rows: list[dict[str, str]], folder: Path) -> Draft | Skipped:
    scans: list[dict[str, Any]] = []
    files: dict[str, Path | bytes] = {}
    for row in rows:
        named = (row.get("scan") or "").strip()
        if not named:
            continue
        source = folder / named
        if not source.is_file():
            return Skipped(case_id, f"the scan {named} is not found beside the CSV")
        file = _stored_name(named)
        files[file] = source
        about = {key: value for key in _SCAN[1:] if (value := (row.get(key) or "").strip())}
        scans.append({"file": file, **about})
    sets = [column for column in rows[0] if column and column.startswith("label.")]
    try:
        case = Case.model_validate(
            {
                "id": case_id,
                **{key: found for key in ("patient", "age", "sex", "split") if (found := _first(rows, key))},
                "scans": scans,
                "notes": [{"kind": k, "text": t} for k in ("history", "findings") if (t := _first(rows, k))],
                "labels": {column.removeprefix("label."): found for column in sets if (found := _first(rows, column))},
                "outcome": {key: found for key in _OUTCOME if (found := _first(rows, key))},
                "source": NAME,
            }
        )
    except ValidationError as error:
        return Skipped(case_id, describe(error))
    return Draft(case, files)


def draft(path: Path | None, *, seed: int) -> Iterator[Draft | Skipped]:  # noqa: ARG001
    """Yield every case of the CSV; `path` is the folder that holds ``cases.csv``, or a CSV of any name."""
    assert path is not None
    table = path / "cases.csv" if path.is_dir() else path
    if not table.is_file():
        raise CaseError(f"{table}: not found; write one, with at least the columns case and scan")
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaseError(f"{table}: is not a UTF-8 CSV file; save it as one ({error})") from error
    if "case" not in columns:
        raise CaseError(f"{table}: has no column named case; name one, so that rows can be grouped into cases")
    unknown = [c for c in columns if c not in ("case", *_CASE, *_SCAN) and not c.startswith("label.")]
    if unknown:
        raise CaseError(f"{table}: column {unknown[0]!r} is not known; labels are named label.<set>")
    groups: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows, start=2):
        case_id = (row.get("case") or "").strip()
        if not case_id:
            yield Skipped(f"line {number}", "its case column is empty")
            continue
        groups.setdefault(case_id, []).append(row)
    for case_id, members in groups.items():
        yield _draft(case_id, members, table.parent)
