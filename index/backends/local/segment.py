"""A folder that holds a search structure over many vectors and their columns; written once, never changed."""

import json
import re
import stat
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.files.plain import digest_of, open_regular, sync, unreadable
from medclip.index.backends.local.arrays import ArrayStream
from medclip.index.backends.local.columns import Columns
from medclip.index.backends.local.postings import Postings
from medclip.index.backends.local.words import Words
from medclip.index.filters import Filter
from medclip.index.planner import Built
from medclip.index.records import Vectors
from medclip.index.structures.base import Source, Structure, compared_with, damaged, load_structure, read_array

__all__ = ["Part", "is_segment", "load_segment", "segment_faults", "write_segments"]


_NAME = re.compile(r"[0-9a-f]{12}")
_VECTORS = "vectors.npy"
_REPORT = "report.json"
"""How the structure was chosen and what was measured of it, for a reader; the catalogue holds the same."""


class Part:
    """Vectors with their columns and a search structure; which of them still live."""

    def __init__(
        self,
        kind: str | None,
        columns: Columns,
        structure: Structure,
        vectors: Vectors | None = None,
        postings: Postings | None = None,
    ) -> None:
        """A part of which all live.

        Args:
            kind: of all its views; None where they are of several, as an earlier version kept them.
            vectors: (n, d) of a lossy structure, mapped; None where the structure or the catalogue has them.
            postings: of the words of all cases, whatever their views; one segment has them.
        """
        self.kind, self.columns, self.structure = kind, columns, structure
        self.compare = None if vectors is None else compared_with(vectors)
        self._postings = postings
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
        return self.columns.cases[~self.alive & self.columns.first]

    def among(self, where: Filter) -> NDArray[np.int64]:
        """Numbers of the cases of which a filter is true."""
        return self.columns.cases[self.columns.matching(where) & self.columns.first]

    @cached_property
    def words(self) -> Words | None:
        """The words of all cases; None where another segment has them, or an older medclip made this one."""
        return None if self._postings is None else Words(self._postings)


def write_segments(
    parent: Path,
    kinds: dict[str, Columns],
    vectors: Iterable[tuple[str, Vectors]],
    dimension: int,
    build: Callable[[Source, Columns], Built],
    write_words: Callable[[Path], None],
) -> dict[str, dict[str, Any]]:
    """Write a segment a kind durably; returns their manifests by name.

    Args:
        kinds: kind → the columns of its views.
        vectors: (kind, (n, d) vectors), some at a time, those of a kind in the order of its columns.
        build: chooses and builds the search structure of one kind, whose columns are given.
        write_words: writes the words of all cases into a folder.
    """
    folders = {kind: parent / uuid.uuid4().hex[:12] for kind in kinds}
    with ExitStack() as files:
        opened = {}
        for kind, folder in folders.items():
            folder.mkdir(parents=True)
            opened[kind] = files.enter_context(ArrayStream(folder / _VECTORS, np.float32, dimension))
        for kind, some in vectors:
            opened[kind].append(some)
    write_words(next(iter(folders.values())))
    manifests = {folder.name: _written(folder, kind, kinds[kind], build) for kind, folder in folders.items()}
    sync(parent)
    return manifests


def _written(folder: Path, kind: str, columns: Columns, build: Callable[[Source, Columns], Built]) -> dict[str, Any]:
    """Fill the folder of a segment, in which its vectors lie already; returns its manifest."""
    built = build(Source.in_file(folder / _VECTORS), columns)
    columns.save(folder)
    built.structure.save(folder)
    if not built.structure.lossy:
        (folder / _VECTORS).unlink()
    (folder / _REPORT).write_text(json.dumps(built.report, indent=2) + "\n")
    files = sorted(folder.iterdir())
    return {
        "kind": kind,
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
    columns, structure = Columns.load(folder), load_structure(manifest["structure"]).load(folder, mmap)
    vectors = None
    if _VECTORS in manifest["sha256"]:
        vectors = read_array(folder / _VECTORS)
        if vectors.dtype != np.float32 or vectors.shape != (len(columns), dimension) or not vectors.flags.c_contiguous:
            raise damaged(folder)
    if len(columns) != structure.count or structure.dimension != dimension:
        raise damaged(folder)
    worded = any(name in manifest["sha256"] for name in Postings.names())
    postings = Postings.load(folder) if worded else None
    return Part(manifest.get("kind"), columns, structure, vectors, postings)


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
