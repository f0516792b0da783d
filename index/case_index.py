"""`CaseIndex`: a folder of labelled case vectors, searched by cosine similarity.

::

    INDEX/
      index.json        format, structure, fingerprint of the model, checksums; its presence makes the folder an index
      catalogue.sqlite  cases, views, labels, thumbnails
      vectors.npy       (views, d) float32 unit vectors: the source of truth
      flat.faiss        the search structure over them
      ...               folders that the caller attaches (`attachment`): the serving model, the probe
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.index.backends.base import Backend, load_backend
from medclip.index.catalogue import Catalogue, Record, ViewRow

__all__ = ["MANIFEST", "CaseIndex", "Entry", "Hit", "Record", "VectorView"]

MANIFEST = "index.json"
FORMAT = 1

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class VectorView:
    """One vector of a case that is to be indexed."""

    kind: str
    number: int
    vector: Vectors  # (d,) unit vector
    labels: dict[str, str]  # the labels that hold for this view


@dataclass(frozen=True)
class Entry:
    """A case that is to be indexed."""

    record: Record
    views: Sequence[VectorView]
    thumbnails: dict[int, bytes]


@dataclass(frozen=True)
class Hit:
    """A case found, by the view of it that is most similar to the query."""

    case_id: str
    patient: str
    similarity: float  # cosine
    kind: str
    number: int
    labels: dict[str, str]  # of that view


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class CaseIndex:
    """An opened index. Make one with `create`, then `open` it."""

    def __init__(self, folder: Path, manifest: dict[str, Any], backend: Backend, catalogue: Catalogue) -> None:
        self.folder = folder
        self._manifest = manifest
        self._backend = backend
        self._catalogue = catalogue
        self._views = catalogue.views()
        if len(self._views) != backend.size:
            raise ArchiveError(f"{folder}: has {backend.size} vectors but {len(self._views)} views; build it again")

    @classmethod
    def create(cls, folder: Path, entries: Iterable[Entry], *, fingerprint: str, structure: str = "flat") -> None:
        """Write an index into an existing folder; its manifest is written last.

        Args:
            fingerprint: identifies the model that made the vectors.

        Raises:
            ArchiveError: there is no entry, an id is given twice, or vectors differ in width or are not of unit length.
        """
        kind = load_backend(structure)
        rows: list[Vectors] = []
        writer = Catalogue.create(folder / "catalogue.sqlite")
        cases = 0
        for entry in entries:
            cases += 1
            first = len(rows)
            rows.extend(view.vector for view in entry.views)
            views = [(first + i, view.kind, view.number, view.labels) for i, view in enumerate(entry.views)]
            writer.add(entry.record, views, entry.thumbnails)
        writer.finish()
        if not rows:
            raise ArchiveError(f"{folder.name}: no case to index")
        if len({len(row) for row in rows}) != 1:
            raise ArchiveError("vectors of different widths cannot stand in one index; embed all with one model")
        vectors = np.stack(rows).astype(np.float32)
        if np.abs(np.linalg.norm(vectors, axis=1) - 1).max() > 1e-3:
            raise ArchiveError("vectors that are not of unit length cannot be indexed by cosine")
        np.save(folder / "vectors.npy", vectors)
        backend = kind.from_vectors(vectors)
        backend.save(folder / kind.file)
        manifest = {
            "format": FORMAT,
            "structure": structure,
            "fingerprint": fingerprint,
            "dimension": int(vectors.shape[1]),
            "cases": cases,
            "views": len(rows),
            "sha256": {name: _digest(folder / name) for name in ("catalogue.sqlite", "vectors.npy", kind.file)},
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str | None = None) -> "CaseIndex":
        """Open an index for searching.

        Args:
            fingerprint: of the model that will make the queries; another one than the index's is refused.

        Raises:
            ArchiveError: the folder is no index, is damaged, or was made by another model.
        """
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
            stated, structure = manifest["fingerprint"], manifest["structure"]
        except FileNotFoundError:
            raise ArchiveError(
                f"{folder}: is not an index (it has no {MANIFEST}); build one with  medclip index build"
            ) from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ArchiveError(f"{path}: is damaged; build the index again ({type(error).__name__})") from error
        if manifest.get("format") != FORMAT:
            raise ArchiveError(f"{path}: has another format than this medclip reads ({FORMAT}); build the index again")
        if fingerprint is not None and fingerprint != stated:
            raise ArchiveError(f"{folder}: was made by another model; embeddings of two models cannot be compared")
        kind = load_backend(structure)
        for name in ("catalogue.sqlite", "vectors.npy", kind.file):
            if not (folder / name).is_file():
                raise ArchiveError(f"{folder / name}: not found; build the index again")
        return cls(folder, manifest, kind.load(folder / kind.file), Catalogue(folder / "catalogue.sqlite"))

    def __len__(self) -> int:
        return int(self._manifest["cases"])

    @property
    def fingerprint(self) -> str:
        """Of the model whose vectors these are."""
        return str(self._manifest["fingerprint"])

    @property
    def views(self) -> list[ViewRow]:
        """Every view, in the order of the rows of `vectors`."""
        return self._views

    def vectors(self) -> Vectors:
        """(views, d) unit vectors.

        Raises:
            ArchiveError: the file is damaged.
        """
        file = self.folder / "vectors.npy"
        try:
            return np.asarray(np.load(file, allow_pickle=False, mmap_mode="r"))
        except (ValueError, OSError, EOFError) as error:
            raise ArchiveError(f"{file}: is damaged; build the index again") from error

    def view(self, case_id: str, kind: str, number: int) -> Vectors:
        """(d,) unit vector of one view.

        Raises:
            ArchiveError: there is no such view.
        """
        for row, view in enumerate(self._views):
            if (view.case_id, view.kind, view.number) == (case_id, kind, number):
                return np.asarray(self.vectors()[row], np.float32)
        raise ArchiveError(f"{self.folder}: has no {kind} {number + 1} of case {case_id}")

    def record(self, case_id: str) -> Record:
        """The record of one case.

        Raises:
            ArchiveError: no such case.
        """
        record = self._catalogue.record(case_id)
        if record is None:
            raise ArchiveError(f"{self.folder}: has no case {case_id!r}; check the id")
        return record

    def records(self) -> Iterable[Record]:
        """All records, by case id."""
        return self._catalogue.records()

    def thumbnail(self, case_id: str, number: int) -> bytes | None:
        """One thumbnail of a case, as JPEG."""
        return self._catalogue.thumbnail(case_id, number)

    def attachment(self, name: str) -> Path:
        """A file or folder that travels inside the index."""
        return self.folder / name

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        kinds: Sequence[str] | None = None,
        exclude_patients: Sequence[str | None] = (),
        one_per_patient: bool = False,
    ) -> list[list[Hit]]:
        """The k most similar cases of each query, most similar first, ties broken by case id.

        Each case is found by its most similar view. Fewer than k come back only where fewer cases are left.

        Args:
            queries: (q, d) unit vectors.
            kinds: which kinds of view may match; all where None.
            exclude_patients: for each query a patient whose cases are left out, or None.
            one_per_patient: keep only the most similar case of each patient.

        Raises:
            ArchiveError: the queries have another width than the index.
        """
        if queries.ndim != 2 or queries.shape[1] != self._manifest["dimension"]:
            raise ArchiveError(f"{self.folder}: holds vectors of another width; the query was made by another model")
        among = None
        if kinds is not None:
            among = np.asarray([row for row, view in enumerate(self._views) if view.kind in kinds], np.int64)
        excluded = list(exclude_patients) or [None] * len(queries)
        return [
            self._search_one(query[None], k, among, patient, one_per_patient)
            for query, patient in zip(queries, excluded, strict=True)
        ]

    def _search_one(
        self, query: Vectors, k: int, among: NDArray[np.int64] | None, patient: str | None, one_per_patient: bool
    ) -> list[Hit]:
        """Widen the search until k distinct cases are found or nothing is left."""
        total = self._backend.size if among is None else len(among)
        views_a_case = max(1, round(total / max(1, len(self))))
        want = min(total, 4 * k * views_a_case)
        while True:
            found = self._backend.query(query, want, among)
            hits = self._group(found.rows[0], found.similarities[0], patient, one_per_patient)
            # A view just below the cut may tie with the last hit, so the cut must lie strictly below it.
            settled = len(hits) > k and hits[k - 1].similarity > float(found.similarities[0][-1])
            if settled or want == total:
                return hits[:k]
            want = min(total, want * 4)

    def _group(
        self, rows: NDArray[np.int64], similarities: Vectors, patient: str | None, one_per_patient: bool
    ) -> list[Hit]:
        best: dict[str, Hit] = {}
        for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
            view = self._views[row]
            if view.patient == patient:
                continue
            known = best.get(view.case_id)
            if known is None or (similarity, view.kind, -view.number) > (known.similarity, known.kind, -known.number):
                best[view.case_id] = Hit(view.case_id, view.patient, similarity, view.kind, view.number, view.labels)
        hits = sorted(best.values(), key=lambda hit: (-hit.similarity, hit.case_id))
        if not one_per_patient:
            return hits
        first: dict[str, Hit] = {}
        for hit in hits:
            first.setdefault(hit.patient, hit)
        return list(first.values())

    def verify(self) -> list[str]:
        """What is wrong with the index's own files: checksums, counts, vectors against the search structure."""
        faults = [
            f"{name}: has changed since it was written"
            for name, expected in self._manifest["sha256"].items()
            if _digest(self.folder / name) != expected
        ]
        vectors = self.vectors()
        if len(vectors) != len(self._views):
            faults.append(f"vectors.npy: has {len(vectors)} rows for {len(self._views)} views")
            return faults + self._catalogue.faults()
        found = self._backend.query(np.asarray(vectors), 1)
        lost = sum(not len(s) or abs(float(s[0]) - 1) > 1e-3 for s in found.similarities)
        if lost:
            faults.append(f"{lost} vectors do not find themselves in the search structure")
        return faults + self._catalogue.faults()

    def close(self) -> None:
        """Close the files."""
        self._catalogue.close()
