"""A folder that holds a search structure over many vectors and their columns; written once, never changed."""

import json
import re
import stat
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.files.plain import digest_of, open_regular, sync, unreadable
from medclip.index.backends.local.columns import Columns
from medclip.index.backends.local.postings import Postings
from medclip.index.backends.local.words import Words
from medclip.index.filters import Filter
from medclip.index.planner import Built
from medclip.index.structures.base import Structure, load_structure

__all__ = ["Part", "is_segment", "load_segment", "segment_faults", "write_segment"]


_NAME = re.compile(r"[0-9a-f]{12}")
_REPORT = "report.json"
"""How the structure was chosen and what was measured of it, for a reader; the catalogue holds the same."""


class Part:
    """Vectors with their columns and a search structure; which of them still live."""

    def __init__(self, columns: Columns, structure: Structure, postings: Postings | None = None) -> None:
        self.columns, self.structure, self._postings = columns, structure, postings
        self.alive: NDArray[np.bool_] = np.ones(len(columns), bool)
        self.dead = 0

    def bury(self, rows: NDArray[np.int64]) -> None:
        """Rows that are no more."""
        at = np.searchsorted(self.columns.rows, rows)
        at = at[at < len(self.columns)]
        hit = at[np.isin(self.columns.rows[at], rows)] if len(at) else at
        self.alive[hit] = False
        self.dead = len(self.alive) - int(np.count_nonzero(self.alive))

    def gone(self) -> NDArray[np.int64]:
        """Numbers of the cases that are no more."""
        return self.columns.cases[~self.alive]

    def among(self, where: Filter) -> NDArray[np.int64]:
        """Numbers of the cases of which a filter is true."""
        return self.columns.cases[self.columns.matching(where)]

    @cached_property
    def words(self) -> Words | None:
        """The words of all cases; None where an older medclip made the segment."""
        return None if self._postings is None else Words(self._postings)


def write_segment(
    parent: Path, columns: Columns, built: Built, write_words: Callable[[Path], None]
) -> tuple[str, dict[str, Any]]:
    """Write a segment durably; returns its name and its manifest."""
    name = uuid.uuid4().hex[:12]
    folder = parent / name
    folder.mkdir(parents=True)
    columns.save(folder)
    built.structure.save(folder)
    write_words(folder)
    (folder / _REPORT).write_text(json.dumps(built.report, indent=2) + "\n")
    files = sorted(folder.iterdir())
    sync(parent)
    return name, {
        "structure": built.structure.name,
        "report": built.report,
        "sha256": {f.name: digest_of(f) for f in files},
    }


def is_segment(folder: Path) -> bool:
    """Whether this is a folder, no link, of a name that medclip gives."""
    return _NAME.fullmatch(folder.name) is not None and stat.S_ISDIR(folder.lstat().st_mode)


def load_segment(folder: Path, manifest: dict[str, Any], dimension: int, mmap: bool) -> Part:
    """Open a segment of vectors of this width.

    Raises:
        ArchiveError: a file is missing or damaged.
    """
    for name in manifest["sha256"]:
        try:
            open_regular(folder / name, follow=False).close()
        except PermissionError as error:
            raise ArchiveError(f"{folder / name}: {unreadable(error)}") from error
        except OSError as error:
            raise ArchiveError(
                f"{folder / name}: {unreadable(error)}; mend it with  medclip index verify --repair"
            ) from error
    worded = any(name in manifest["sha256"] for name in Postings.names())  # not if an older medclip made it
    postings = Postings.load(folder) if worded else None
    part = Part(Columns.load(folder), load_structure(manifest["structure"]).load(folder, mmap), postings)
    if len(part.columns) != part.structure.count or part.structure.dimension != dimension:
        raise ArchiveError(f"{folder}: is damaged; mend it with  medclip index verify --repair")
    return part


def segment_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are missing, have changed or were added, and whether the catalogue says of it what its report says."""
    found = []
    where = folder.relative_to(folder.parents[1])
    for name, expected in manifest["sha256"].items():
        try:
            if digest_of(folder / name) != expected:
                found.append(f"{where / name}: has changed since it was written")
        except OSError as error:
            found.append(f"{where / name}: {unreadable(error)}")
    if not found:
        added = {path.name for path in folder.iterdir()} - set(manifest["sha256"])
        found += [f"{where / name}: is none of the segment's files" for name in sorted(added)]
        if json.loads((folder / _REPORT).read_bytes()) != manifest["report"]:
            found.append(f"{where / _REPORT}: is not what the catalogue says of the segment")
    return found
