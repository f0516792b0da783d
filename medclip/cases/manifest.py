"""A cases folder: ``cases.jsonl``, one `Case` a line, beside the files that it names.

::

    CASES/
      cases.jsonl          one case a line, UTF-8
      import-report.json   what an import left out, and why (absent if the folder was written by hand)
      .medclip-cases       says that medclip made the folder (absent if it was written by hand), so that --force may replace it
      scans/...            the files that the lines name, by paths relative to CASES
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from medclip.cases.case import Case
from medclip.errors import CaseError, describe
from medclip.files.outputs import replaced_file

__all__ = [
    "MANIFEST",
    "MARK",
    "BadLine",
    "StoredCases",
    "describe",
    "read_cases",
    "replace_cases",
    "scan_manifest",
    "write_cases",
]

MANIFEST, MARK = "cases.jsonl", ".medclip-cases"


@dataclass(frozen=True)
class BadLine:
    """A line of a manifest that is not a valid case."""

    number: int  # counted from 1
    problem: str  # one line, quoting no value of the record


def scan_manifest(folder: Path) -> Iterator[Case | BadLine]:
    """Yield every line of a cases folder's manifest, valid or not; blank lines are passed over.

    A line that repeats an earlier case's id is a `BadLine`.

    Raises:
        CaseError: the folder or its manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CaseError(f"{path}: not found; make a cases folder with  medclip cases import")
    seen: set[str] = set()
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if not raw.strip():
                    continue
                try:
                    case = Case.model_validate_json(raw)
                except ValidationError as error:
                    yield BadLine(number, describe(error))
                    continue
                if case.id in seen:
                    yield BadLine(number, f"the case id {case.id} stands on an earlier line too")
                    continue
                seen.add(case.id)
                yield case
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error


def _valid(folder: Path) -> Iterator[Case]:
    """The cases of a manifest of which every line is one."""
    for item in scan_manifest(folder):
        if isinstance(item, BadLine):
            raise CaseError(
                f"{folder / MANIFEST} line {item.number}: {item.problem}; mend the line "
                f"(medclip cases check {folder} lists all)"
            )
        yield item


def _none(folder: Path) -> CaseError:
    return CaseError(f"{folder / MANIFEST}: holds no case; import some with  medclip cases import")


class StoredCases:
    """The cases of a folder, all or those of one split: checked once, then read anew whenever they are gone over."""

    def __init__(self, folder: Path, split: str | None = None) -> None:
        """Read and check every line.

        Raises:
            CaseError: the manifest is missing, empty, one of its lines is not a valid case, or no case is of that split.
        """
        self._folder, self._split = folder, split
        count = 0
        self._chosen = 0
        for case in _valid(folder):
            count += 1
            self._chosen += split in (None, case.split)
        if not count:
            raise _none(folder)
        if not self._chosen:
            raise CaseError(f"{folder}: has no case of split {split!r}; leave --split out, or name another")

    def __len__(self) -> int:
        return self._chosen

    def __iter__(self) -> Iterator[Case]:
        return (case for case in _valid(self._folder) if self._split in (None, case.split))


def read_cases(folder: Path) -> list[Case]:
    """All cases of a cases folder, in the manifest's order.

    Raises:
        CaseError: the manifest is missing, empty, or one of its lines is not a valid case.
    """
    cases = list(_valid(folder))
    if not cases:
        raise _none(folder)
    return cases


def _write(file: Path, cases: Iterable[Case]) -> int:
    count = 0
    with file.open("w", encoding="utf-8") as out:
        for case in cases:
            record = case.model_dump(mode="json", exclude_defaults=True)
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_cases(folder: Path, cases: Iterable[Case]) -> int:
    """Write the manifest of a cases folder and return the number of cases; fields at their defaults are left out."""
    return _write(folder / MANIFEST, cases)


def replace_cases(folder: Path, cases: Iterable[Case]) -> None:
    """Replace the manifest of a cases folder, as a whole or not at all.

    Raises:
        OutputError: the disk is full, or the folder is not writable.
    """
    with replaced_file(folder / MANIFEST) as partial:
        _write(partial, cases)
