"""A folder that holds a search structure over many vectors and their columns; written once, never changed."""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.index.columns import Columns
from medclip.index.planner import Built
from medclip.index.structures.base import Structure, load_structure

__all__ = ["Part", "digest_of", "load_segment", "segment_faults", "write_segment"]


_REPORT = "report.json"
"""How the structure was chosen and what was measured of it, for a reader; the catalogue holds the same."""


class Part:
    """Vectors with their columns and a search structure; which of them still live."""

    def __init__(self, columns: Columns, structure: Structure) -> None:
        self.columns, self.structure = columns, structure
        self.alive: NDArray[np.bool_] = np.ones(len(columns), bool)
        self.dead = 0

    def bury(self, rows: NDArray[np.int64]) -> None:
        """Rows that are no more."""
        at = np.searchsorted(self.columns.rows, rows)
        at = at[at < len(self.columns)]
        hit = at[np.isin(self.columns.rows[at], rows)] if len(at) else at
        self.alive[hit] = False
        self.dead = len(self.alive) - int(np.count_nonzero(self.alive))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_segment(parent: Path, columns: Columns, built: Built) -> tuple[str, dict[str, Any]]:
    """Write a segment durably; returns its name and its manifest."""
    name = uuid.uuid4().hex[:12]
    folder = parent / name
    folder.mkdir(parents=True)
    columns.save(folder)
    built.structure.save(folder)
    (folder / _REPORT).write_text(json.dumps(built.report, indent=2) + "\n")
    files = sorted(folder.iterdir())
    for path in [*files, folder, parent]:
        _sync(path)
    return name, {
        "structure": built.structure.name,
        "report": built.report,
        "sha256": {f.name: digest_of(f) for f in files},
    }


def load_segment(folder: Path, manifest: dict[str, Any], mmap: bool) -> Part:
    """Open a segment.

    Raises:
        ArchiveError: a file is missing or damaged.
    """
    for name in manifest["sha256"]:
        if not (folder / name).is_file():
            raise ArchiveError(f"{folder / name}: not found; mend it with  medclip index verify --repair")
    part = Part(Columns.load(folder), load_structure(manifest["structure"]).load(folder, mmap))
    if len(part.columns) != part.structure.count:
        raise ArchiveError(f"{folder}: is damaged; mend it with  medclip index verify --repair")
    return part


def segment_faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are missing or have changed."""
    found = []
    for name, expected in manifest["sha256"].items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path.relative_to(folder.parents[1])}: not found")
        elif digest_of(path) != expected:
            found.append(f"{path.relative_to(folder.parents[1])}: has changed since it was written")
    return found
