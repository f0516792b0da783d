"""Where one machine is outgrown: a Milvus collection, whose scalar fields are the catalogue.

Each view is an entity. Milvus has no transactions, so a small collection beside it holds the state that readers go by:
the number of the last change, and the cases that this change deleted. An entity counts if it was born by then and is of
no case deleted since it was born. A change inserts what is new, then states itself in one upsert, which is its commit,
then deletes the old; what a writer that was killed left behind is cleared by the next one.

Thumbnails and documents lie as one file a case in a folder or object store (fsspec). Only structures that Milvus Lite
builds as asked are asked for, and what was built is checked. A snapshot holds the state fixed; a case that is deleted
meanwhile is gone from it.
"""

import json
import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from medclip.errors import ArchiveError
from medclip.index import stored as read
from medclip.index.backends.base import Backend, Making, Scope
from medclip.index.backends.milvus.check import entity_faults
from medclip.index.backends.milvus.connection import absolute, connected, named
from medclip.index.backends.milvus.entities import entities_of, facts_in, file_of
from medclip.index.backends.milvus.expressions import expression, literal
from medclip.index.backends.milvus.schema import make_collections
from medclip.index.backends.milvus.state import State, commit_state, read_state
from medclip.index.filters import Filter
from medclip.index.folder import BULK
from medclip.index.ordering import Listed, Order, first_in_order
from medclip.index.packing import packed, unpacked
from medclip.index.planner import candidates
from medclip.index.records import Counts, Entry, Fact, Kept, Near, Record, Removed, Vectors, VectorView
from medclip.index.structures.base import Spec

__all__ = ["MilvusBackend"]

_BATCH, _MOST = 500, 16_384  # entities an insert; what Milvus returns at most
_CASES = 64  # that are looked up at a time
_FILE = re.compile(r"[0-9a-f]{64}")
_INSIDE = re.compile(r"[^/\\]+\.db")
EF = 128
"""HNSW's list of candidates, at least; twice as many as are wanted (Malkov & Yashunin 2018, section 5)."""
NPROBE = 64
"""Lists of an inverted file that a search reads; not tuned. What it finds depends on the vectors: with FAISS, of 100,000 in
4 √n lists, 0.89 of the 10 nearest where they lie around 4,000 centres, all of them where around 400."""
_KINDS = {"flat": "FLAT", "hnsw": "HNSW", "ivf-flat": "IVF_FLAT", "ivf-sq8": "IVF_SQ8", "ivf-pq": "IVF_SQ8"}


class MilvusBackend(Backend):
    """A collection of a Milvus server, or of Milvus Lite in a file."""

    name = "milvus"

    def __init__(self, folder: Path, dimension: int, stored: dict[str, Any]) -> None:
        import fsspec

        self.folder, self._dimension = folder, dimension
        self._inside = bool(stored.get("inside"))
        uri = read.text(stored.get("uri"), "the place of the database")
        if self._inside and _INSIDE.fullmatch(uri) is None:
            raise read.GarbledError("the place of the database leads out of the folder")
        self._uri = str(folder / uri) if self._inside else uri
        self._collection = read.text(stored.get("collection"), "the collection")
        self._states = f"{self._collection}_state"
        making = Making.of(dimension, stored)
        self._demands, self._spec = making.demands, making.spec
        self._fields = read.fields(json.dumps(stored.get("fields")))
        files = stored.get("files")
        self._fs, self._files = fsspec.core.url_to_fs(
            str(folder / BULK) if files is None else read.text(files, "the place of the files")
        )
        self._client = connected(self._uri)
        self._lock = RLock()  # one thread's snapshot at a time
        self._depth = 0
        self._seen: State | None = None

    @classmethod
    def create(cls, folder: Path, making: Making, entries: Iterable[Entry], fields: dict[str, str]) -> dict[str, Any]:
        if making.uri is None:
            raise ArchiveError("backend milvus needs --uri: of a server, or a file for Milvus Lite (--uri ./cases.db)")
        path = Path(making.uri)
        inside = "://" not in making.uri and path.resolve().parent == folder.resolve()
        stored = {
            "uri": path.name if inside else absolute(making.uri),
            "inside": inside,
            "files": None if making.files is None else absolute(making.files),
            "collection": f"medclip_{uuid.uuid4().hex[:12]}",
            **making.stored(),
            "fields": fields,
        }
        self = cls(folder, making.dimension, stored)
        try:
            with named(self._uri):
                make_collections(self._client, self._collection, self._states, self._dimension)
            self._insert(entries, 1)
            self._commit(1, [])
            self._build(self._choice())
        except BaseException:
            with named(self._uri):
                self._client.drop_collection(self._collection)
                self._client.drop_collection(self._states)
            raise
        finally:
            self.close()
        return {**stored, "fields": self._fields}

    @classmethod
    def open(cls, folder: Path, dimension: int, stored: dict[str, Any], *, mmap: bool) -> "MilvusBackend":
        del mmap  # Milvus keeps its own
        self = cls(folder, dimension, stored)
        with named(self._uri):
            if not self._client.has_collection(self._collection):
                raise ArchiveError(
                    f"{self._uri}: has no collection {self._collection}; it was deleted, or --uri is another"
                )
            self._client.load_collection(self._collection)
            self._client.load_collection(self._states)
        return self

    def close(self) -> None:
        self._client.close()

    def names(self) -> set[str]:
        database = Path(self._uri).name
        return {BULK, *((database, f".{database}.lock") if self._inside else ())}

    # ---- state

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._lock:
            if self._depth == 0:
                with named(self._uri):
                    self._seen = self._read_state()
            self._depth += 1
            try:
                yield
            except read.GarbledError as error:
                raise ArchiveError(f"{self._uri}: is damaged ({error}); restore it from a backup") from error
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._seen = None

    def _read_state(self) -> State:
        return read_state(self._client, self._states, self._uri)

    def _commit(self, generation: int, drops: Sequence[str]) -> None:
        with named(self._uri):
            self._client.flush(self._collection)
            commit_state(self._client, self._states, generation, drops, self._fields)

    @property
    def _state(self) -> State:
        """That of the open snapshot."""
        assert self._seen is not None
        return self._seen

    def _visible(self, extra: str = "") -> str:
        return self._state.visible(extra)

    # ---- changes

    def put(self, entries: Iterable[Entry], *, replace: bool) -> None:
        self.tidy()
        with self.snapshot():
            drop: list[str] = []
            self._change(self._looked_up(entries, drop, replace=replace), drop)
        self.tidy()

    def remove(self, case_ids: Sequence[str]) -> list[Removed]:
        self.tidy()
        with self.snapshot():
            self._require(case_ids)
            removed = [self._removed(case_id) for case_id in case_ids]
            self._change([], case_ids)
        self.tidy()
        return removed

    def _require(self, case_ids: Sequence[str]) -> None:
        missing = set(case_ids) - self._present(case_ids)
        if missing:
            raise ArchiveError(f"case {min(missing)!r}: is not in the index; check the id")

    def _removed(self, case_id: str) -> Removed:
        entry = self._file(case_id)
        assert entry is not None
        return Removed(case_id, len(entry.views), len(entry.thumbnails), len(entry.record.text.split()))

    def _present(self, case_ids: Sequence[str]) -> set[str]:
        """Which of these cases the open snapshot holds."""
        return {row["case_id"] for row in self._heads(case_ids, ["case_id"])}

    def _change(self, put: Iterable[Entry], drop: Sequence[str]) -> None:
        """Insert and commit, or leave nothing.

        Args:
            drop: what the commit deletes; it is looked at when all is inserted.
        """
        state = self._state
        self._fields = dict(state.fields)  # which another process may have added to
        new = state.generation + 1
        try:
            self._insert(put, new)
            self._commit(new, drop)
        except BaseException:
            # Not committed: what was inserted is of a change that never was. A server that is down is cleared later.
            self._fields = dict(state.fields)
            try:
                self.tidy()
            except ArchiveError:
                logging.getLogger(__name__).warning("%s: will be cleared by the next change", self._uri)
            raise

    def _looked_up(self, entries: Iterable[Entry], drop: list[str], *, replace: bool) -> Iterator[Entry]:
        """The entries, looked up in batches: they must be there, and are put down in `drop`, or must not be."""
        given = iter(entries)
        while batch := list(islice(given, _CASES)):
            ids = [entry.record.id for entry in batch]
            if replace:
                self._require(ids)
                drop += ids
            elif there := self._present(ids):
                raise ArchiveError(f"case {min(there)}: is in the index already")
            yield from batch

    def tidy(self) -> None:
        """Delete what is of no state: what was never committed, and what the last commit deleted."""
        with named(self._uri):
            state = self._read_state()
            generation, drops = state.generation, list(state.drops)
            old = [f"born > {generation}"]
            old += [
                f"case_id in {literal(drops[i : i + _BATCH])} and born < {generation}"
                for i in range(0, len(drops), _BATCH)
            ]
            for condition in old:
                files = {row["file"] for row in self._rows(f"{condition} and head == true", ["file"])}
                if self._rows(condition, ["row"], most=1):
                    self._client.delete(self._collection, filter=condition)
                for file in files:
                    if self._fs.exists(self._path(file)):
                        self._fs.rm(self._path(file))
            if drops:
                self._fields = dict(state.fields)
                self._commit(generation, [])

    def _insert(self, entries: Iterable[Entry], born: int) -> None:
        batch: list[dict[str, Any]] = []
        for entry in entries:
            record = entry.record
            for name, values in record.facts.items():
                self._fields.setdefault(name, "number" if values and isinstance(values[0], float) else "text")
            file = file_of(record.id, born)
            self._fs.makedirs(self._files, exist_ok=True)
            self._fs.pipe_file(self._path(file), packed(entry).encode())
            batch += entities_of(entry, born, file)
            if len(batch) >= _BATCH:
                with named(self._uri):
                    self._client.insert(self._collection, batch)
                batch = []
        if batch:
            with named(self._uri):
                self._client.insert(self._collection, batch)

    def _path(self, file: str) -> str:
        if _FILE.fullmatch(file) is None:
            raise ArchiveError(f"{self._uri}: names a file that medclip never made; restore it from a backup")
        return f"{self._files}/{file}.json"

    def _choice(self) -> Spec:
        return self._spec or candidates(self.counts().views, self._dimension, self._demands)[0]

    def _build(self, spec: Spec) -> None:
        """Build the structure, and hold what came of it against what was asked."""
        kind = _KINDS[spec.name]
        params = {"HNSW": {"M": 32, "efConstruction": 80}, "FLAT": {}}.get(
            kind, {"nlist": spec.settings.get("nlist", 1)}
        )
        with named(self._uri):
            if self._built() != kind:
                self._client.release_collection(self._collection)
                self._client.drop_index(self._collection, "vector")
                index = self._client.prepare_index_params()
                index.add_index("vector", index_type=kind, metric_type="IP", params=params)
                self._client.create_index(self._collection, index)
                if self._built() != kind:
                    raise ArchiveError(f"{self._uri}: built {self._built()} where {kind} was asked")
            self._client.load_collection(self._collection)

    def _built(self) -> str:
        return str(self._client.describe_index(self._collection, "vector")["index_type"])

    def compact(self) -> None:
        self.tidy()
        self._build(self._choice())
        with named(self._uri):
            self._client.compact(self._collection)
            state = self._read_state()
        self._fields = dict(state.fields)
        self._commit(state.generation + 1, [])

    # ---- search

    def nearest(self, query: Vectors, want: int, scope: Scope) -> list[Near]:
        with self.snapshot(), named(self._uri):
            found = self._client.search(
                self._collection,
                [query.tolist()],
                anns_field="vector",
                limit=min(want, _MOST),
                filter=self._visible(self._condition(scope)),
                output_fields=["case_id", "patient", "kind", "number", "labels"],
                search_params={"params": {"ef": max(EF, 2 * want), "nprobe": NPROBE}},
            )[0]
        near = []
        for hit in found:
            e = hit["entity"]
            near.append(Near(e["case_id"], e["patient"], e["kind"], e["number"], e["labels"], float(hit["distance"])))
        return near

    def _condition(self, scope: Scope, *, heads: bool = False) -> str:
        parts = ["head == true"] if heads else []
        if scope.kinds is not None and not heads:
            parts.append(f"kind in {literal(list(scope.kinds))}")
        if scope.where is not None:
            parts.append(expression(scope.where))
        if scope.exclude_patient is not None:
            parts.append(f"patient != {literal(scope.exclude_patient)}")
        return " and ".join(parts)

    def words(self, text: str, want: int, scope: Scope) -> dict[str, str]:
        with self.snapshot(), named(self._uri):
            found = self._client.search(
                self._collection,
                data=[text],
                anns_field="words",
                limit=min(want, _MOST),
                filter=self._visible(self._condition(scope, heads=True)),
                output_fields=["case_id", "patient"],
            )[0]
        return {hit["entity"]["case_id"]: hit["entity"]["patient"] for hit in found}

    def views_in(self, scope: Scope) -> int:
        with self.snapshot():
            return self._count(self._visible(self._condition(Scope(scope.kinds))))

    # ---- reading

    def _count(self, condition: str) -> int:
        with named(self._uri):
            return int(
                self._client.query(self._collection, filter=condition, output_fields=["count(*)"])[0]["count(*)"]
            )

    def _rows(self, condition: str, fields: list[str], most: int | None = None) -> list[dict[str, Any]]:
        if most is not None:
            return list(self._client.query(self._collection, filter=condition, output_fields=fields, limit=most))
        return list(self._pages(condition, fields))

    def _pages(self, condition: str, fields: list[str], size: int = 1000) -> Iterator[dict[str, Any]]:
        """The same, of which a page is in memory at a time; for each, Milvus Lite goes over all entities."""
        pages = self._client.query_iterator(self._collection, batch_size=size, filter=condition, output_fields=fields)
        try:
            while page := pages.next():
                yield from page
        finally:
            pages.close()

    def _of_case(self, case_id: str, fields: list[str]) -> list[dict[str, Any]]:
        with self.snapshot(), named(self._uri):
            return self._rows(self._visible(f"case_id == {literal(case_id)}"), fields)

    def views_of(self, case_id: str) -> list[VectorView]:
        rows = self._of_case(case_id, ["kind", "number", "labels", "vector", "head"])
        rows.sort(key=lambda row: (not row["head"], row["kind"], row["number"]))
        return [
            VectorView(row["kind"], row["number"], np.asarray(row["vector"], np.float32), read.labels(row["labels"]))
            for row in rows
        ]

    def _file(self, case_id: str) -> Entry | None:
        rows = self._of_case(case_id, ["file"])
        return self._unpacked(case_id, rows[0]["file"]) if rows else None

    def _unpacked(self, case_id: str, file: str) -> Entry:
        path = self._path(file)
        try:
            entry = unpacked(self._fs.cat_file(path).decode())
        except (OSError, ValueError) as error:
            raise ArchiveError(f"{path}: is missing or damaged; restore it from a backup") from error
        if entry.record.id != case_id:
            raise ArchiveError(f"{path}: is of another case than the collection says; restore it from a backup")
        return entry

    def record(self, case_id: str) -> Record | None:
        found = self._file(case_id)
        return None if found is None else found.record

    def kept(self, case_ids: Sequence[str]) -> list[Kept]:
        with self.snapshot():
            files = {row["case_id"]: row["file"] for row in self._heads(case_ids, ["case_id", "file"])}
        entries = (self._unpacked(case_id, files[case_id]) for case_id in case_ids if case_id in files)
        return [Kept(entry.record, tuple(sorted(entry.thumbnails))) for entry in entries]

    def records(self) -> Iterator[Record]:
        for case_id in sorted(self.contents()):
            record = self.record(case_id)
            if record is not None:
                yield record

    def thumbnails(self, case_id: str) -> dict[int, bytes]:
        found = self._file(case_id)
        return {} if found is None else found.thumbnails

    def contents(self, among: Sequence[str] | None = None) -> dict[str, str]:
        with self.snapshot():
            return {row["case_id"]: row["content"] for row in self._heads(among, ["case_id", "content"])}

    def _heads(self, among: Sequence[str] | None, fields: list[str]) -> Iterator[dict[str, Any]]:
        """The first views of all cases, or of those that are named and there."""
        parts = (
            [list(among[start : start + _BATCH]) for start in range(0, len(among), _BATCH)] if among is not None else []
        )
        conditions = ["head == true"] if among is None else [f"case_id in {literal(p)} and head == true" for p in parts]
        for condition in conditions:
            with named(self._uri):
                yield from self._rows(self._visible(condition), fields)

    def cases_of_patient(self, patient: str) -> list[str]:
        with self.snapshot(), named(self._uri):
            rows = self._rows(self._visible(f"patient == {literal(patient)} and head == true"), ["case_id"])
        return sorted(row["case_id"] for row in rows)

    def fields(self) -> dict[str, str]:
        with self.snapshot():
            return dict(self._state.fields)

    def _facts(self, where: Filter | None) -> Iterator[tuple[str, dict[str, Fact]]]:
        """(case id, what filters ask of it) of every case of which a filter is true."""
        condition = self._visible(self._condition(Scope(where=where), heads=True))
        with named(self._uri):
            for row in self._pages(condition, ["case_id", "facts"], _MOST):
                yield row["case_id"], facts_in(row["facts"])

    def listed(self, order: Order, want: int, skip: int, where: Filter | None) -> Listed:
        with self.snapshot():
            total, found = first_in_order(self._facts(where), order, skip + want)
            return Listed(total, found[skip:])

    def tally(self, fields: Sequence[str], where: Filter | None) -> dict[str, dict[tuple[Any, ...], int]]:
        found: dict[str, Counter[tuple[Any, ...]]] = {field: Counter() for field in fields}
        with self.snapshot():
            for _, facts in self._facts(where):
                for field, counts in found.items():
                    counts[facts.get(field, ())] += 1
        return {field: dict(counts) for field, counts in found.items()}

    def column(self, field: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
        with self.snapshot():
            for case_id, facts in self._facts(None):
                yield case_id, facts.get(field, ())

    def vectors_of_kind(self, kind: str) -> Iterator[tuple[str, Vectors]]:
        with self.snapshot(), named(self._uri):
            for row in self._pages(self._visible(f"kind == {literal(kind)}"), ["case_id", "vector"]):
                yield row["case_id"], np.asarray(row["vector"], np.float32)

    def counts(self) -> Counts:
        with self.snapshot(), named(self._uri):
            heads = self._rows(self._visible("head == true"), ["patient"])
            return Counts(len(heads), len({row["patient"] for row in heads}), self._count(self._visible()))

    def cases(self) -> int:
        with self.snapshot():
            return self._count(self._visible("head == true"))

    def generation(self) -> int:
        with named(self._uri):
            return self._read_state().generation

    def mark(self) -> str:
        return f"generation {self.generation()}"  # which a change of its structure, too, makes another one

    def stats(self) -> dict[str, Any]:
        with named(self._uri):
            return {
                "structure": self._built(),
                "uri": self._uri,
                "collection": self._collection,
                "fields": self.fields(),
            }

    def advice(self) -> list[str]:
        choice = self._choice()
        with named(self._uri):
            built = self._built()
        if built == _KINDS[choice.name]:
            return []
        return [f"{_KINDS[choice.name]} would serve better than {built}; medclip index compact builds it"]

    # ---- checking

    def faults(self) -> list[str]:
        with self.snapshot(), named(self._uri):
            rows = self._rows(self._visible(), ["case_id", "kind", "number", "labels", "vector", "file", "head"])
        return entity_faults(self._collection, rows, self._file)

    def traces(self) -> list[str]:
        with named(self._uri):
            others = [name for name in self._client.list_collections() if name.startswith("medclip_")]
        others = [name for name in others if name not in (self._collection, self._states)]
        found = [f"{self._uri}: Milvus keeps what was deleted in its segments until  medclip index compact"]
        if others:
            found.append(
                f"{self._uri}: has {len(others)} other collections of medclip ({', '.join(sorted(others)[:4])}), of other "
                "indexes or of a build that was killed; those may hold them: drop what no index uses"
            )
        return found

    def repair(self) -> list[str]:
        self.tidy()
        return []

    def copy_to(self, folder: Path) -> None:
        del folder
        raise ArchiveError(
            f"{self._uri}: a Milvus server is backed up by its own means (milvus-backup); "
            f"medclip index export  writes all cases into one file"
        )
