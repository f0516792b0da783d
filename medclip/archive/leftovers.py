"""What killed runs leave in and beside an index, and what of a case stands there outside the index's own files."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclip.archive.layout import REPORT
from medclip.embedding.shards import shards_with, work_folder
from medclip.files.outputs import replaced_file
from medclip.files.plain import read_regular, write_json
from medclip.files.workplaces import clear_dead, cleared, held, is_workplace, partial_of

__all__ = ["CaseReport", "clear_leftovers", "forget_embedded", "strangers"]

_LARGEST_REPORT = 256 << 20  # bytes
_LISTS = ("skipped", "partial")  # what of a build report is keyed by case id


def clear_leftovers(folder: Path) -> list[Path]:
    """Delete what killed runs left half-made in and beside an index; returns the places where one is at work yet."""
    busy = clear_dead(folder)
    return busy if cleared(partial_of(folder)) else [partial_of(folder), *busy]


def forget_embedded(folder: Path, case_ids: Collection[str], patient: str | None) -> list[Path]:
    """Delete what waits to go into an index and holds one of these cases, or of this patient; returns it.

    Raises:
        BlockingIOError: a process is at work there.
    """
    work = work_folder(folder)
    if not is_workplace(work):
        return []
    with held(work):
        gone = shards_with(work, case_ids, patient)
        clear_dead(work)
        for file in gone:
            file.unlink()
    return gone


@dataclass(frozen=True)
class CaseReport:
    """What the report of a build says of single cases; `content` is None where there is none, or it is damaged."""

    file: Path
    content: dict[str, Any] | None

    @classmethod
    def read(cls, index: Path) -> "CaseReport":
        """The report inside an index."""
        file = index / REPORT
        try:
            content = json.loads(read_regular(file, _LARGEST_REPORT))
            fine = isinstance(content, dict) and all(isinstance(content.get(name, {}), dict) for name in _LISTS)
        except (OSError, ValueError, RecursionError):
            fine = False
        return cls(file, content if fine else None)

    def names(self) -> set[str]:
        """The cases that it names."""
        return {case_id for name in _LISTS for case_id in (self.content or {}).get(name, {})}

    def forget(self, case_ids: Collection[str]) -> list[str]:
        """Write it anew without these cases; one that cannot be read may name them and is deleted. Says what was done.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        if self.content is None:
            if not self.file.is_file():
                return []
            self.file.unlink()
            return [f"{self.file}: was damaged"]
        named = self.names() & set(case_ids)
        if not named:
            return []
        kept = {
            name: {case_id: why for case_id, why in self.content.get(name, {}).items() if case_id not in named}
            for name in _LISTS
        }
        with replaced_file(self.file) as partial:
            write_json(partial, self.content | kept)
        return [f"{self.file}: what it said of {len(named)} cases"]


def strangers(folder: Path, case_ids: Collection[str], patient: str | None) -> list[str]:
    """Names what killed runs of other commands left beside an index and may hold these cases: it is not ours to delete."""
    beside, own = folder.resolve().parent, folder.resolve()
    found = [path for path in sorted(beside.glob(".*.partial")) if path != partial_of(own) and is_workplace(path)]
    found += [
        path
        for path in sorted(beside.glob(".*.embedded"))
        if path != work_folder(own) and shards_with(path, case_ids, patient)
    ]
    found += [path for path in sorted(beside.glob("*.training")) if (path / "request.json").is_file()]
    return [str(path) for path in found]
