"""One machine: the truth in SQLite, searched through FAISS.

A small index has no other file: its vectors are read and compared one by one. A large one has a segment for each kind of
view, a search structure over all vectors of the kind that there were when it was made; what came later is compared one by
one beside it, and what was deleted since is masked, until `compact` makes the segments anew.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from medclip.errors import ArchiveError, MedclipError
from medclip.index.backends.base import Backend, Making, Scope
from medclip.index.backends.local import listing
from medclip.index.backends.local.columns import Columns
from medclip.index.backends.local.segment import Part, is_segment, load_segment, segment_faults, write_segments
from medclip.index.backends.local.state import State, joined, merged
from medclip.index.backends.local.words import write_words
from medclip.index.catalogue.access import DAMAGE, translated
from medclip.index.catalogue.check import catalogue_faults
from medclip.index.catalogue.write import Catalogue
from medclip.index.filters import Filter
from medclip.index.folder import copy_plain
from medclip.index.ordering import Listed, Order
from medclip.index.planner import SMALL, build_structure
from medclip.index.records import Counts, Entry, Kept, Near, Record, Removed, Vectors, VectorView
from medclip.index.stored import GarbledError
from medclip.index.structures.base import Nearest
from medclip.index.structures.flat import FlatStructure

__all__ = ["LocalBackend"]

_CATALOGUE, _SEGMENTS = "catalogue.sqlite", "segments"
_TRIES = 5
_AT_ONCE = 64  # queries that are searched for together
_FEW_WORDS = 50_000  # cases up to which deleted words are erased at once; `compact` does it in any case
_FOLD_SHARE = 0.05  # of the vectors that came or went since the segment was made, from which compacting is advised


class _Snapshot:
    """`with` for a snapshot; a class, since a query enters it often."""

    def __init__(self, backend: "LocalBackend", searched: bool, alone: bool = False) -> None:
        self._backend, self._searched, self._alone = backend, searched, alone

    def __enter__(self) -> None:
        self._backend.enter(self._searched, self._alone)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._backend.leave()
        if isinstance(error, DAMAGE):
            raise self._backend.translated(error) from error


class LocalBackend(Backend):
    """A folder with ``catalogue.sqlite`` and, where it is large, ``segments/``."""

    name = "faiss"

    def __init__(self, folder: Path, dimension: int, stored: dict[str, Any], catalogue: Catalogue, mmap: bool) -> None:
        self.folder, self._dimension, self._mmap = folder, dimension, mmap
        making = Making.of(dimension, stored)
        self._demands, self._spec, self._seed = making.demands, making.spec, making.seed
        self._catalogue = catalogue
        self._state: State | None = None
        self._fresh = False  # whether the state is that of the snapshot that is open
        self._version: tuple[int, int] | None = None  # of the catalogue, when the state was that of its latest change
        self._lock = RLock()
        self._depth = 0

    @classmethod
    def create(cls, folder: Path, making: Making, entries: Iterable[Entry], fields: dict[str, str]) -> dict[str, Any]:
        catalogue = Catalogue.create(folder / _CATALOGUE)
        with catalogue.writing():
            catalogue.put(entries, fields)
        self = cls(folder, making.dimension, making.stored(), catalogue, mmap=False)
        self._make_segments()
        catalogue.finish()
        return making.stored()

    def names(self) -> set[str]:
        return {_SEGMENTS, *(_CATALOGUE + end for end in ("", "-wal", "-shm", "-journal"))}

    @classmethod
    def open(cls, folder: Path, dimension: int, stored: dict[str, Any], *, mmap: bool) -> "LocalBackend":
        return cls(folder, dimension, stored, Catalogue.open(folder / _CATALOGUE), mmap)

    def close(self) -> None:
        self._state = self._version = None
        self._catalogue.close()

    # ---- one state

    def snapshot(self) -> "_Snapshot":
        return _Snapshot(self, searched=True)

    def searching(self, scope: Scope) -> "_Snapshot":
        return _Snapshot(self, searched=True, alone=scope.exclude_patient is None)

    def _reading(self) -> "_Snapshot":
        """A snapshot for what the catalogue alone knows: what a search needs stays unread, unless one is made in it."""
        return _Snapshot(self, searched=False)

    def enter(self, searched: bool, alone: bool) -> None:
        """Begin a snapshot, or go deeper into the one that is open.

        Args:
            searched: what a search needs will be read.
            alone: nothing else will, so that no transaction begins where that is known already.
        """
        self._lock.acquire()
        if self._depth == 0:
            try:
                self._fresh = False
                if alone and self._is_latest():
                    self._fresh = True
                elif searched:
                    self._begin()
                else:
                    self._catalogue.begin_reading()
            except BaseException:
                self._lock.release()
                raise
        self._depth += 1

    def _is_latest(self) -> bool:
        """Whether the state holds all that a search reads, and nobody has changed the index since it was read."""
        known = self._state is not None and self._state.alone and self._version is not None
        return known and self._catalogue.version() == self._version

    def translated(self, error: Exception) -> MedclipError:
        """What reading a damaged catalogue raises as one line that names the file and the remedy."""
        return translated(error, self._catalogue.file)

    def leave(self) -> None:
        """The end of what `enter` began."""
        self._depth -= 1
        try:
            if self._depth == 0:
                self._catalogue.end_reading()
        finally:
            self._lock.release()

    def _begin(self) -> None:
        for attempt in range(_TRIES):
            self._catalogue.begin_reading()
            try:
                self._refresh()
                return
            except ArchiveError:
                # A writer may have replaced the segment since this snapshot began: look again.
                generation = self._catalogue.generation()
                self._catalogue.end_reading()
                if attempt == _TRIES - 1 or generation == self._latest():
                    raise
            except BaseException:
                self._catalogue.end_reading()
                raise

    def _latest(self) -> int:
        other = Catalogue.open(self.folder / _CATALOGUE)
        try:
            with other.reading():
                return other.generation()
        finally:
            other.close()

    @property
    def state(self) -> State:
        """The state of the snapshot that is open."""
        if not self._fresh:
            self._refresh()
        assert self._state is not None
        return self._state

    def _refresh(self) -> None:
        """Read what a search needs, as far as it has changed."""
        with self._catalogue.named():
            # Not before the state is read: what fails to be read is not the latest.
            self._version, version = None, self._catalogue.version()
            self._read_state()
            self._version = version
        self._fresh = True

    def _read_state(self) -> None:
        generation = self._catalogue.generation()
        if self._state is not None and self._state.generation == generation:
            return
        known, base = self._state, self._catalogue.base()
        if known is not None and known.base == base:
            segments, recent, seq = known.segments, dict(known.recent), known.last_dead
        else:
            segments, recent, seq = self._segments(), {}, 0
        last = max((int(p.columns.rows[-1]) for p in (*segments, *recent.values()) if len(p.columns)), default=0)
        for kind, fresh in self._recent(last).items():
            recent[kind] = joined(recent[kind], fresh) if kind in recent else fresh
        dead = self._catalogue.dead_after(seq)
        if dead:
            rows = np.asarray([row for _, row in dead], np.int64)
            for part in (*segments, *recent.values()):
                part.bury(rows)
        last_dead = dead[-1][0] if dead else seq
        self._state = State(self._catalogue.cases(), generation, base, segments, recent, last_dead, self._read)

    def _read(self, rows: list[int]) -> Vectors:
        return self._catalogue.vectors_of(rows, self._dimension)

    def _segments(self) -> list[Part]:
        return [
            load_segment(self.folder / _SEGMENTS / name, manifest, self._dimension, self._mmap)
            for name, manifest in self._catalogue.segments().items()
        ]

    def _recent(self, last: int) -> dict[str, Part]:
        """Kind → its views after a row."""
        found: dict[str, list[Vectors]] = {}
        for kind, some in self._catalogue.vectors_after(last, self._dimension):
            found.setdefault(kind, []).append(some)
        columns = Columns.by_kind(self._catalogue.keys_after(last))
        return {k: Part(k, c, FlatStructure.of(np.concatenate(found[k]))) for k, c in columns.items()}

    # ---- changes

    def put(self, entries: Iterable[Entry], *, replace: bool) -> None:
        with self._changing():
            self._catalogue.put(entries, replace=replace)

    def remove(self, case_ids: Sequence[str]) -> list[Removed]:
        with self._changing():
            return self._catalogue.drop(case_ids)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One transaction; what it deletes is erased in the file, too."""
        with self._lock:
            self._sweep()
            self._version = None  # it does not count the changes of one's own
            with self._catalogue.writing():
                yield
                if self._catalogue.stale_words() and self._catalogue.cases() <= _FEW_WORDS:
                    self._catalogue.forget_words()
            self._catalogue.checkpoint()

    def tidy(self) -> None:
        with self._lock:
            self._sweep()
            self._catalogue.checkpoint()

    def _sweep(self) -> None:
        """Delete the segments of a writer that was killed."""
        stated = self._catalogue.segment_names()
        for folder in (self.folder / _SEGMENTS).glob("*"):
            if folder.name not in stated and is_segment(folder):
                shutil.rmtree(folder)

    def compact(self) -> None:
        with self._lock:
            self._sweep()
            self._version = None
            with self._catalogue.writing():
                self._catalogue.forget_words()
                self._make_segments()
            self._catalogue.vacuum()
            self.tidy()

    def _make_segments(self) -> None:
        count = self._catalogue.counts().views
        segments = {}
        if count and (count > SMALL or self._spec is not None):
            segments = write_segments(
                self.folder / _SEGMENTS,
                Columns.by_kind(self._catalogue.keys_after(0)),
                self._catalogue.vectors_after(0, self._dimension),
                self._dimension,
                lambda source, columns: build_structure(
                    source,
                    self._demands.share(source.count / count),
                    self._seed,
                    wanted=self._spec,
                    told=lambda found: columns.near(found.positions, found.similarities),
                ),
                lambda folder: write_words(folder, self._catalogue),
            )
        self._catalogue.replace_segments(segments, self._catalogue.last_row())

    # ---- search

    def nearest(self, query: Vectors, want: int, scope: Scope) -> list[Near]:
        with self.snapshot():
            patient, extra = (
                (-1, 0) if scope.exclude_patient is None else self._catalogue.rows_of_patient(scope.exclude_patient)
            )
            parts, found = self.state.parts_of(scope.kinds), []
            for part in parts:
                got = self.state.nearest_in(part, query, min(want + extra, len(part.columns)), scope)
                if extra:
                    kept = part.columns.patients[got.positions] != patient
                    got = Nearest(got.positions[kept], got.similarities[kept])
                found.append(part.columns.near(got.positions, got.similarities))
            return merged(found, want)

    def nearest_of_many(
        self, queries: Vectors, want: int, scope: Scope, excluded: Sequence[str | None]
    ) -> list[list[Near]]:
        with self.snapshot():
            views = {patient: self._catalogue.rows_of_patient(patient)[1] for patient in {*excluded} - {None}}  # type: ignore[arg-type]
            found: list[list[Near]] = []
            for start in range(0, len(queries), _AT_ONCE):
                some, left_out = queries[start : start + _AT_ONCE], excluded[start : start + _AT_ONCE]
                wider = want + max((views[patient] for patient in left_out if patient is not None), default=0)
                of_parts = [self.state.near_in(part, some, wider, scope) for part in self.state.parts_of(scope.kinds)]
                for number, patient in enumerate(left_out):
                    near = merged([one[number] for one in of_parts], wider)
                    found.append([one for one in near if one.patient != patient][:want])
            return found

    def views_in(self, scope: Scope) -> int:
        with self.snapshot():
            masks = [(part, self.state.mask(part, scope)) for part in self.state.parts_of(scope.kinds)]
            return sum(len(part.columns) if mask is None else mask.count for part, mask in masks)

    def words(self, text: str, want: int, scope: Scope) -> dict[str, str]:
        with self.snapshot():
            state = self.state
            words = next((part.words for part in state.segments if part.words is not None), None)
            if words is None:
                return self._catalogue.found_words(text, scope.holds, want)
            return words.found(
                self._catalogue, state.generation, state.parts, text, want, scope.where, scope.exclude_patient
            )

    # ---- reading

    def views_of(self, case_id: str) -> list[VectorView]:
        with self._reading():
            return self._catalogue.views_of(case_id, self._dimension)

    def record(self, case_id: str) -> Record | None:
        with self._reading():
            return self._catalogue.record(case_id)

    def kept(self, case_ids: Sequence[str]) -> list[Kept]:
        with self._reading():
            records, numbers = self._catalogue.records_of(case_ids), self._catalogue.pictured(case_ids)
        return [Kept(records[one], numbers.get(one, ())) for one in case_ids if one in records]

    def records(self) -> Iterator[Record]:
        with self._reading():
            yield from self._catalogue.records()

    def thumbnails(self, case_id: str) -> dict[int, bytes]:
        with self._reading():
            return self._catalogue.thumbnails(case_id)

    def contents(self, among: Sequence[str] | None = None) -> dict[str, str]:
        with self._reading():
            return self._catalogue.contents(among)

    def cases_of_patient(self, patient: str) -> list[str]:
        with self._reading():
            return self._catalogue.cases_of_patient(patient)

    def fields(self) -> dict[str, str]:
        with self._reading():
            return self._catalogue.fields()

    def listed(self, order: Order, want: int, skip: int, where: Filter | None) -> Listed:
        with self.snapshot():
            if not order.keys and where is None:
                return Listed(self.state.cases, self._catalogue.case_ids(want, skip, last_first=order.last_first))
            return listing.listed(self.state.parts, order, want, skip, where)

    def tally(self, fields: Sequence[str], where: Filter | None) -> dict[str, dict[tuple[Any, ...], int]]:
        with self.snapshot():
            return listing.tally(self.state.parts, fields, where)

    def column(self, field: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
        with self.snapshot():
            yield from listing.column(self.state.parts, field)

    def vectors_of_kind(self, kind: str) -> Iterator[tuple[str, Vectors]]:
        with self._reading():
            yield from self._catalogue.vectors_of_kind(kind, self._dimension)

    def counts(self) -> Counts:
        with self._reading():
            return self._catalogue.counts()

    def cases(self) -> int:
        with self.snapshot():
            return self.state.cases

    def generation(self) -> int:
        with self._reading():
            return self._catalogue.generation()

    def mark(self) -> str:
        with self._reading():
            return f"{self._catalogue.total():x}"

    def stats(self) -> dict[str, Any]:
        with self.snapshot():
            state = self.state
            reports = self._reports() or {"": {"structure": "flat", "effort": {}, "measured": {"recall": 1.0}}}
            return {
                "structure": "; ".join(f"{kind} {one['structure']}".strip() for kind, one in reports.items()),
                **{of: {kind: one[of] for kind, one in reports.items()} for of in ("effort", "measured")},
                "in structure": sum(len(part.columns) for part in state.segments),
                "beside structure": state.beside,
                "words deleted but indexed": self._catalogue.stale_words(),
                "deleted but in structure": state.masked,
                "fields": self.fields(),
            }

    def traces(self) -> list[str]:
        with self.snapshot():
            masked = self.state.masked
            stale = self._catalogue.stale_words()
        found = []
        if self._catalogue.log_bytes():
            found.append(
                "the catalogue holds what readers that are at work still see, until the next change, or  medclip index compact"
            )
        if masked:
            found.append(
                "the search structure holds their vectors, ids, words and what filters ask for, masked, "
                "until  medclip index compact"
            )
        if stale:
            found.append("the index of words holds their words, without the case, until  medclip index compact")
        return found

    def _reports(self) -> dict[str, dict[str, Any]]:
        """Kind of view → its structure, its search parameters and what was measured; "" for all kinds together."""
        return {
            manifest.get("kind", ""): {name: manifest["report"][name] for name in ("structure", "effort", "measured")}
            for manifest in self._catalogue.segments().values()
        }

    def advice(self) -> list[str]:
        with self.snapshot():
            state, count = self.state, self.counts().views
            if not state.segments:
                if count <= SMALL:
                    return []
                return [f"{count} vectors are compared one by one; medclip index compact chooses a structure"]
            found = []
            moved, held = state.beside + state.masked, sum(len(part.columns) for part in state.segments)
            if moved > max(SMALL, _FOLD_SHARE * held):
                found.append(
                    f"{moved} vectors came or went since the structure was made; medclip index compact folds them in"
                )
            if any(part.kind is None for part in state.segments):
                found.append("an earlier medclip made its search structure; medclip index compact makes a quicker one")
            return found

    # ---- checking

    def faults(self) -> list[str]:
        with self._catalogue.reading():
            found = catalogue_faults(self._catalogue, self._dimension) + self._broken_segments()
        return found or self._search_faults()

    def _broken_segments(self) -> list[str]:
        """What is wrong with the segments, whatever their manifests are."""
        try:
            segments = self._catalogue.segments()
        except GarbledError as error:
            return [f"{_SEGMENTS}: {error}"]
        folders = {self.folder / _SEGMENTS / name: manifest for name, manifest in segments.items()}
        return [fault for folder, manifest in folders.items() for fault in segment_faults(folder, manifest)]

    def _search_faults(self) -> list[str]:
        """Whether what is searched is what is stored."""
        with self.snapshot():
            living = sum(len(part.columns) - part.dead for part in self.state.parts)
            count = self._catalogue.counts().views
            if living != count:
                return [f"{living} vectors are searched and {count} are stored"]
            lost = 0
            for part in self.state.parts:
                at = np.flatnonzero(part.alive)
                at = at[:: max(1, len(at) // 500)]
                for vector in self.state.stored(part, at):
                    got = self.state.nearest_in(part, vector, 1, Scope())
                    lost += not len(got.positions) or got.similarities[0] < 0.999
            return [f"{lost} vectors do not find themselves"] if lost else []

    def repair(self) -> list[str]:
        with self._lock:
            faults = catalogue_faults(self._catalogue, self._dimension)
            if faults:
                raise ArchiveError(f"{self.folder}: cannot be mended, since {faults[0]}; restore it from a backup")
            broken = self._broken_segments()
            if not broken:
                return []
            self.compact()
            self._state = None
            return [f"{fault}: made anew from the stored vectors" for fault in broken]

    def copy_to(self, folder: Path) -> None:
        with self.snapshot():
            for name in self._catalogue.segments():
                (folder / _SEGMENTS).mkdir(exist_ok=True)
                copy_plain(self.folder / _SEGMENTS / name, folder / _SEGMENTS / name)
        self._catalogue.copy_to(folder / _CATALOGUE)
