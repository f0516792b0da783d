"""`CaseIndex`: labelled case vectors, searched by cosine similarity and by words; the only door.

::

    INDEX/
      index.json        format, backend, dimension, fingerprint of the model; its presence makes the folder an index
      writer.lock       who is changing it
      catalogue.sqlite  backend ``faiss``: cases, views, vectors, words, thumbnails (`medclip.index.catalogue`); with its
                        log and SQLite's shared memory beside it (``-wal``, ``-shm``; `medclip.index.catalogue.access`)
      segments/         ... and search structures over them, where there are many (`medclip.index.backends.local.segment`)
      ...               folders that the caller attaches (`attachment`): the serving model, the probe
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from medclip.errors import ArchiveError, NotThereError
from medclip.files.outputs import replaced_file
from medclip.files.plain import unreadable
from medclip.index import stored
from medclip.index.backends.base import Backend, Making, Scope, load_backend
from medclip.index.filters import Filter, parse_filter
from medclip.index.folder import check_plain, copy_plain, odd_parts
from medclip.index.lock import LOCK, writer_lock
from medclip.index.manifest import MANIFEST, manifest_is_sealed, read_manifest, write_manifest
from medclip.index.ordering import Listed, Order
from medclip.index.planner import Demands
from medclip.index.ranking import Ranking, wanted_at_first
from medclip.index.records import Entry, Hit, Kept, Record, Removed, State, Vectors, VectorView, checked
from medclip.index.structures.base import Spec

__all__ = ["MANIFEST", "CaseIndex"]


class CaseIndex:
    """An opened index. Make one with `create`, then `open` it."""

    def __init__(self, folder: Path, manifest: dict[str, Any], backend: Backend) -> None:
        self.folder = folder
        self._manifest = manifest
        self._backend = backend
        self._place = folder.stat()  # another index may take its name
        self._writer: int | None = None  # the thread that is changing it

    @classmethod
    def create(
        cls,
        folder: Path,
        entries: Iterable[Entry],
        *,
        fingerprint: str,
        backend: str = "faiss",
        demands: Demands | None = None,
        structure: Spec | None = None,
        uri: str | None = None,
        files: str | None = None,
        fields: dict[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        """Fill an existing folder that nobody uses yet; its manifest is written last.

        Args:
            fingerprint: identifies the model that made the vectors.
            demands: what a search may cost and must find; the structure is chosen by it.
            structure: this one instead.
            uri: of the database, for a backend that has one.
            files: where thumbnails and documents lie, for a backend that does not keep them itself.
            fields: field → text or number, for filters on what no case may have.

        Raises:
            ArchiveError: there is no entry, an id is given twice, or a vector cannot be indexed.
        """
        given = iter(entries)
        first = next(given, None)
        if first is None or not first.views:
            raise ArchiveError(f"{folder.name}: no case to index")
        dimension = len(first.views[0].vector)
        making = Making(dimension, demands or Demands(), structure, uri, files, seed)
        kept = load_backend(backend).create(folder, making, checked(chain([first], given), dimension), fields or {})
        manifest = {
            "backend": backend,
            "fingerprint": fingerprint,
            "dimension": dimension,
            "stored": kept,
        }
        write_manifest(folder / MANIFEST, manifest)

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str | None = None, mmap: bool = True) -> "CaseIndex":
        """Open an index.

        Args:
            fingerprint: of the model that will make the queries; another one than the index's is refused.
            mmap: map search structures from their files, so that they may be larger than memory, instead of reading them.

        Raises:
            ArchiveError: the folder is no index, is damaged, was made by another model or by a newer medclip.
        """
        self = cls._reached(folder, fingerprint, mmap)
        with self.snapshot():
            pass  # what a search needs is there
        return self

    @classmethod
    def _reached(cls, folder: Path, fingerprint: str | None, mmap: bool) -> "CaseIndex":
        manifest = read_manifest(folder)
        if fingerprint is not None and fingerprint != manifest["fingerprint"]:
            raise ArchiveError(f"{folder}: was made by another model; embeddings of two models cannot be compared")
        check_plain(folder)
        try:
            backend = load_backend(manifest["backend"]).open(
                folder, manifest["dimension"], manifest["stored"], mmap=mmap
            )
        except stored.GarbledError as error:
            raise ArchiveError(f"{folder / MANIFEST}: is damaged ({error}); restore it from a backup") from error
        return cls(folder, manifest, backend)

    @classmethod
    def open_to_change(cls, folder: Path) -> "CaseIndex":
        """Open an index to change it: what a search needs is not loaded until one is made.

        Raises:
            ArchiveError: as `open`, but for the search structure.
        """
        return cls._reached(folder, None, mmap=True)

    @classmethod
    def open_for_repair(cls, folder: Path) -> "CaseIndex":
        """Open an index whose search structures may be damaged or missing, for `verify` and `repair` alone.

        Raises:
            ArchiveError: the folder is no index, or its cases themselves are damaged.
        """
        return cls._reached(folder, None, mmap=True)

    def close(self) -> None:
        """Let go of files and connections."""
        self._backend.close()

    def __len__(self) -> int:
        return self._backend.cases()

    @property
    def fingerprint(self) -> str:
        """Of the model whose vectors these are."""
        return str(self._manifest["fingerprint"])

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return int(self._manifest["dimension"])

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads inside see one state of the index, whatever a writer does meanwhile."""
        return self._backend.snapshot()

    # ---- changes

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one that changes the index until the block ends; the changes in it need no turn of their own.

        Raises:
            ArchiveError: another process, or another thread, is changing the index; the message says who.
            OutputError: the folder cannot be written.
        """
        if self._writer == get_ident():
            yield
            return
        with writer_lock(self.folder):
            if not os.path.samestat(self.folder.stat(), self._place):
                raise ArchiveError(f"{self.folder}: has been replaced since it was opened; run again")
            self._writer = get_ident()
            try:
                yield
            finally:
                self._writer = None

    def tidy(self) -> None:
        """Delete what a killed writer left in the index's own files; every change does so, too.

        Raises:
            ArchiveError: another process is changing the index.
        """
        with self.changing():
            self._backend.tidy()

    def add(self, entries: Iterable[Entry]) -> None:
        """Insert new cases, all or none; they are found from the next search on.

        Raises:
            ArchiveError: one is there already, cannot be indexed, or another process is changing the index.
            OutputError: the disk is full, or the folder cannot be written.
        """
        with self.changing():
            self._backend.put(checked(entries, self.dimension), replace=False)

    def update(self, entries: Iterable[Entry]) -> None:
        """Replace cases by id, all or none.

        Raises:
            ArchiveError: one is not there, cannot be indexed, or another process is changing the index.
            OutputError: the disk is full, or the folder cannot be written.
        """
        with self.changing():
            self._backend.put(checked(entries, self.dimension), replace=True)

    def remove(self, case_ids: Sequence[str]) -> list[Removed]:
        """Delete cases with all that is stored of them, all or none, and say what was deleted.

        Raises:
            ArchiveError: one is not there, or another process is changing the index.
            OutputError: the folder cannot be written.
        """
        with self.changing():
            return self._backend.remove(list(dict.fromkeys(case_ids)))

    def compact(self) -> None:
        """Choose and build the search structure anew, and erase what deleted cases left in it.

        Raises:
            ArchiveError: another process is changing the index.
            OutputError: the disk is full, or the folder cannot be written.
        """
        with self.changing():
            self._backend.compact()
            if not self.is_sealed:
                with replaced_file(self.folder / MANIFEST) as partial:
                    write_manifest(partial, self._manifest)

    def repair(self) -> list[str]:
        """Build anew what is damaged and can be derived; says what was done.

        Raises:
            ArchiveError: what is damaged cannot be derived.
        """
        with self.changing():
            return self._backend.repair()

    def copy_to(self, folder: Path, attachments: Sequence[str] = ()) -> None:
        """Copy one state of the index into an existing folder, without what was deleted.

        Args:
            attachments: names of the files and folders that go along; what else lies in the folder does not.

        Raises:
            ArchiveError: another process is changing the index, or a file of it cannot be read.
            OutputError: the disk is full, or the place cannot be written.
        """
        with self.changing():
            try:
                self._backend.copy_to(folder)
                for name in (MANIFEST, *attachments):
                    if (self.folder / name).exists():
                        copy_plain(self.folder / name, folder / name)
            except PermissionError as error:
                raise ArchiveError(f"{error.filename}: {unreadable(error)}") from error

    # ---- reading

    def contents(self, among: Sequence[str] | None = None) -> dict[str, str]:
        """Case id → hash of what it was made from.

        Args:
            among: of these cases alone, as far as they are there.
        """
        return self._backend.contents(among)

    def cases_of_patient(self, patient: str) -> list[str]:
        """Case ids of a patient, sorted."""
        return self._backend.cases_of_patient(patient)

    def record(self, case_id: str) -> Record:
        """The record of one case.

        Raises:
            ArchiveError: no such case.
        """
        record = self._backend.record(case_id)
        if record is None:
            raise NotThereError(f"{self.folder}: has no case {case_id!r}; check the id")
        return record

    def kept(self, case_ids: Sequence[str]) -> list[Kept]:
        """What a list shows of these cases, in their order, as far as they are there: read together, which is quicker."""
        return self._backend.kept(case_ids)

    def records(self) -> Iterator[Record]:
        """All records, by case id."""
        return self._backend.records()

    def views_of(self, case_id: str) -> list[VectorView]:
        """All views of a case.

        Raises:
            ArchiveError: no such case.
        """
        found = self._backend.views_of(case_id)
        if not found:
            raise NotThereError(f"{self.folder}: has no case {case_id!r}; check the id")
        return found

    def thumbnails(self, case_id: str) -> dict[int, bytes]:
        """Number of the scan → JPEG."""
        return self._backend.thumbnails(case_id)

    def entries(self) -> Iterator[Entry]:
        """All that is stored, by case id."""
        for record in self.records():
            yield Entry(record, self.views_of(record.id), self.thumbnails(record.id))

    def attachment(self, name: str) -> Path:
        """A file or folder that travels inside the index."""
        return self.folder / name

    def filter(self, text: str) -> Filter:
        """Read an expression of `medclip.index.filters` on this index's fields.

        Raises:
            FilterError: it cannot be understood, or names a field that is not there.
        """
        return parse_filter(text, self._backend.fields())  # type: ignore[arg-type]

    def fields(self) -> dict[str, str]:
        """What filters may ask for, and lists be sorted by: field → text or number."""
        return self._backend.fields()

    def listed(self, order: Order, want: int, skip: int = 0, where: Filter | None = None) -> Listed:
        """Up to `want` case ids in order, after the first `skip`, of those of which a filter is true; no case is read."""
        return self._backend.listed(order, want, skip, where)

    def tally(self, fields: Sequence[str], where: Filter | None = None) -> dict[str, dict[tuple[Any, ...], int]]:
        """Field → the values of a case → of how many cases they are just these; () where unknown."""
        return self._backend.tally(fields, where)

    def column(self, field: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """(case id, its values of a field) of every case, in any order; () where unknown."""
        return self._backend.column(field)

    def vectors_of_kind(self, kind: str) -> Iterator[tuple[str, Vectors]]:
        """(case id, (d,) unit vector) of every view of a kind, in any order; few are in memory at a time."""
        return self._backend.vectors_of_kind(kind)

    def holds(self, where: Filter) -> bool:
        """Whether a filter is true of any case."""
        return self._backend.views_in(Scope(None, where, None)) > 0

    def stats(self) -> dict[str, Any]:
        """Cases, patients, views, backend, structure, generation, bytes, and what the structure was measured to do."""
        with self.snapshot():
            counts = self._backend.counts()._asdict()
            return {
                **counts,
                "backend": self._manifest["backend"],
                "dimension": self.dimension,
                "generation": self._backend.generation(),
                "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
                **self._backend.stats(),
                "advice": self._backend.advice(),
            }

    def mark(self) -> str:
        """Of the cases as they are: another one once a case was added, changed or removed. A copy's may be another one."""
        return self._backend.mark()

    def generation(self) -> int:
        """How many changes there were."""
        return self._backend.generation()

    def state(self) -> State:
        """Which state this is."""
        with self.snapshot():
            cases = sorted(self.contents().items())
            digest = hashlib.sha256(json.dumps(cases).encode()).hexdigest()
            return State(len(cases), self._backend.generation(), digest)

    def traces(self) -> list[str]:
        """Where in the index's own files something of deleted cases still stands, as lines that say until when."""
        return self._backend.traces()

    def advice(self) -> list[str]:
        """What would serve better than what there is, as lines."""
        return self._backend.advice()

    def verify(self) -> list[str]:
        """What is wrong with the index's own files, as lines: checksums, counts, vectors against the search structure."""
        try:
            odd = list(odd_parts(self.folder, bulk=True))
        except OSError as error:
            odd = [f"{error.filename}: {unreadable(error)}"]
        return odd + self._backend.faults()

    def names(self, attachments: Sequence[str] = ()) -> set[str]:
        """What belongs into the folder, by name: the index's own files and folders and these."""
        return {MANIFEST, LOCK, *self._backend.names(), *attachments}

    @property
    def is_sealed(self) -> bool:
        """Whether ``index.json`` carries its checksum, as older versions of medclip did not write."""
        return manifest_is_sealed(self.folder)

    # ---- search

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        kinds: Sequence[str] | None = None,
        where: Filter | None = None,
        exclude_patients: Sequence[str | None] = (),
        one_per_patient: bool = False,
        words: Sequence[str] = (),
    ) -> list[list[Hit]]:
        """The k most similar cases of each query, most similar first, ties broken by case id.

        Each case is found by its most similar view. Fewer than k come back only where fewer cases are left.

        Args:
            queries: (q, d) unit vectors.
            kinds: which kinds of view may match; all where None.
            where: only cases of which it is true.
            exclude_patients: for each query a patient whose cases are left out, or None.
            one_per_patient: keep only the most similar case of each patient.
            words: for each query a text; the cases that share its words rank, too, and both rankings are fused by the
                sum of reciprocal ranks. The order is then that of the fusion; `Hit.similarity` stays the cosine.

        Raises:
            ArchiveError: the queries have another width than the index, or hold NaN.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ArchiveError(f"{self.folder}: holds vectors of another width; the query was made by another model")
        if not np.isfinite(queries).all():
            raise ArchiveError(f"{self.folder}: a query holds NaN or infinity")
        queries = np.ascontiguousarray(queries, np.float32)
        among = Scope(None if kinds is None else tuple(kinds), where)
        excluded = list(exclude_patients) or [None] * len(queries)
        if not any(words):
            return self._searched_together(queries, k, among, excluded, one_per_patient)
        with self.snapshot():
            found = []
            for query, patient, text in zip(queries, excluded, words, strict=True):
                ranking = Ranking(self._backend, query, replace(among, exclude_patient=patient))
                found.append(ranking.fused(k, text, one_per_patient) if text else ranking.nearest(k, one_per_patient))
            return found

    def _searched_together(
        self, queries: Vectors, k: int, among: Scope, excluded: Sequence[str | None], one_per_patient: bool
    ) -> list[list[Hit]]:
        scopes = [among if patient is None else replace(among, exclude_patient=patient) for patient in excluded]
        with self._backend.searching(scopes[0]) if len(scopes) == 1 else self.snapshot():
            rankings = [Ranking(self._backend, *one) for one in zip(queries, scopes, strict=True)]
            if len(rankings) == 1:
                return [rankings[0].nearest(k, one_per_patient)]
            want = wanted_at_first(self._backend, among, k, one_per_patient)
            first = self._backend.nearest_of_many(queries, want, among, excluded)
            return [one.nearest(k, one_per_patient, want, near) for one, near in zip(rankings, first, strict=True)]
