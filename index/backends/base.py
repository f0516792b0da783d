"""What a backend must do, and how it is found by name."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from medclip.errors import ArchiveError
from medclip.index import stored as read
from medclip.index.filters import Filter
from medclip.index.ordering import Listed, Order
from medclip.index.planner import Demands
from medclip.index.records import Counts, Entry, Kept, Near, Record, Removed, Vectors, VectorView
from medclip.index.registry import registered, registered_as
from medclip.index.structures.base import Spec, structure_names

__all__ = ["Backend", "Making", "Scope", "backend_names", "is_backend", "load_backend"]

_PACKAGE = "medclip.index.backends"


@dataclass(frozen=True)
class Scope:
    """Which views a search goes over."""

    kinds: tuple[str, ...] | None = None  # all where None
    where: Filter | None = None
    exclude_patient: str | None = None

    def holds(self, patient: str, facts: dict[str, Any]) -> bool:
        """Whether a case may be found, whatever its views."""
        return patient != self.exclude_patient and (self.where is None or self.where.matches(facts))


@dataclass(frozen=True)
class Making:
    """How a backend is made."""

    dimension: int
    demands: Demands = field(default_factory=Demands)
    spec: Spec | None = None  # this search structure, instead of one that is chosen
    uri: str | None = None  # of a server or database
    files: str | None = None  # where thumbnails and texts lie, for a backend that does not keep them itself
    seed: int = 0

    def stored(self) -> dict[str, Any]:
        """What of it is kept in the manifest, as JSON."""
        spec = {"name": self.spec.name, "settings": self.spec.settings} if self.spec else None
        return {"demands": asdict(self.demands), "spec": spec, "seed": self.seed}

    @classmethod
    def of(cls, dimension: int, stored: dict[str, Any]) -> "Making":
        """Back from what `stored` gave.

        Raises:
            GarbledError: it is not that.
        """
        demands = read.mapping(stored.get("demands"), "what was asked of the search")
        memory, latency = demands.get("memory"), demands.get("latency")
        recall = read.real(demands.get("recall"), "the recall")
        spec = None
        if stored.get("spec") is not None:
            kept = read.mapping(stored["spec"], "the search structure")
            settings = read.mapping(kept.get("settings"), "the settings of the search structure")
            name = read.text(kept.get("name"), "the search structure")
            if name not in structure_names():
                raise read.GarbledError("this medclip does not know its search structure")
            spec = Spec(name, {key: read.whole(value, f"the setting {key[:40]!r}") for key, value in settings.items()})
        asked = Demands(
            None if memory is None else read.whole(memory, "the memory", least=1),
            None if latency is None else read.real(latency, "the latency"),
            recall,
        )
        return cls(dimension, asked, spec, seed=read.whole(stored.get("seed", 0), "the seed"))


class Backend(ABC):
    """Cases with their vectors. Every change is whole or absent; a search sees one state."""

    name: ClassVar[str]

    @abstractmethod
    def names(self) -> set[str]:
        """What of the index folder is the backend's own, by name."""

    @classmethod
    @abstractmethod
    def create(cls, folder: Path, making: Making, entries: Iterable[Entry], fields: dict[str, str]) -> dict[str, Any]:
        """Fill a new index within a folder that nobody sees yet.

        Args:
            entries: checked ones.
            fields: what filters may ask for even if no case has it.

        Returns:
            What `open` needs, as JSON.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, dimension: int, stored: dict[str, Any], *, mmap: bool) -> "Backend":
        """Open what `create` made.

        Args:
            mmap: map search structures from their files instead of reading them.

        Raises:
            ArchiveError: it is missing, damaged, or cannot be reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """All reads inside see one state, the latest at its beginning; may be nested."""

    def searching(self, scope: Scope) -> AbstractContextManager[None]:
        """The same for a search of this scope by vectors alone, which may cost less."""
        del scope
        return self.snapshot()

    @abstractmethod
    def put(self, entries: Iterable[Entry], *, replace: bool) -> None:
        """Insert checked entries as one change; few of them are held in memory at a time.

        Args:
            replace: they are there already, and these take their places.

        Raises:
            ArchiveError: a case is there that should not be, or is not that should.
        """

    @abstractmethod
    def remove(self, case_ids: Sequence[str]) -> list[Removed]:
        """Delete cases as one change, and say what was deleted.

        Raises:
            ArchiveError: a case is not there.
        """

    @abstractmethod
    def tidy(self) -> None:
        """Delete what a killed writer left behind."""

    @abstractmethod
    def traces(self) -> list[str]:
        """Where something of deleted cases still stands, as lines that say until when."""

    @abstractmethod
    def nearest(self, query: Vectors, want: int, scope: Scope) -> list[Near]:
        """The views in scope nearest to a (d,) unit vector, nearest first; fewer than `want` only if there are no more."""

    def nearest_of_many(
        self, queries: Vectors, want: int, scope: Scope, excluded: Sequence[str | None]
    ) -> list[list[Near]]:
        """The same for each of (q, d) unit vectors, searched for together where that is quicker.

        Args:
            excluded: for each query a patient whose views are left out, or None.
        """
        scopes = [replace(scope, exclude_patient=patient) for patient in excluded]
        return [self.nearest(query, want, own) for query, own in zip(queries, scopes, strict=True)]

    @abstractmethod
    def words(self, text: str, want: int, scope: Scope) -> dict[str, str]:
        """Case id → patient of the cases in scope whose texts share words with `text`, best first by BM25."""

    @abstractmethod
    def views_of(self, case_id: str) -> list[VectorView]:
        """All views of a case; none where there is no such case."""

    @abstractmethod
    def views_in(self, scope: Scope) -> int:
        """About how many views a search of this scope goes over."""

    @abstractmethod
    def record(self, case_id: str) -> Record | None:
        """The record of one case."""

    @abstractmethod
    def kept(self, case_ids: Sequence[str]) -> list[Kept]:
        """What a list shows of these cases, in their order, as far as they are there."""

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """All records, by id."""

    @abstractmethod
    def thumbnails(self, case_id: str) -> dict[int, bytes]:
        """Number → JPEG."""

    @abstractmethod
    def contents(self, among: Sequence[str] | None = None) -> dict[str, str]:
        """Case id → hash of what it was made from; of all, or of those that are named and there."""

    @abstractmethod
    def cases_of_patient(self, patient: str) -> list[str]:
        """Case ids of a patient, sorted."""

    @abstractmethod
    def fields(self) -> dict[str, str]:
        """What filters may ask for: field → text or number."""

    @abstractmethod
    def listed(self, order: Order, want: int, skip: int, where: Filter | None) -> Listed:
        """Up to `want` of the cases of which the filter is true, in order, after the first `skip`."""

    @abstractmethod
    def tally(self, fields: Sequence[str], where: Filter | None) -> dict[str, dict[tuple[Any, ...], int]]:
        """Field → the values of a case → of how many cases they are just these; () where unknown."""

    @abstractmethod
    def column(self, field: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """(case id, its values of a field) of every case, in any order."""

    @abstractmethod
    def vectors_of_kind(self, kind: str) -> Iterator[tuple[str, Vectors]]:
        """(case id, (d,) vector) of every view of a kind, in any order; few are in memory at a time."""

    @abstractmethod
    def counts(self) -> Counts:
        """How many cases, patients and views there are."""

    @abstractmethod
    def cases(self) -> int:
        """How many cases there are; quicker than `counts`."""

    @abstractmethod
    def generation(self) -> int:
        """How many changes there were."""

    @abstractmethod
    def mark(self) -> str:
        """Of the cases as they are: another one once a case was added, changed or removed; at no cost by their number."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Structure, bytes, and what else is to be known."""

    @abstractmethod
    def advice(self) -> list[str]:
        """What would serve better than what there is, as lines."""

    @abstractmethod
    def faults(self) -> list[str]:
        """What is wrong, as lines that name the file."""

    @abstractmethod
    def repair(self) -> list[str]:
        """Build anew what can be, as one change; says what was done."""

    @abstractmethod
    def compact(self) -> None:
        """Fold changes into the search structure and erase what was deleted, as one change."""

    @abstractmethod
    def copy_to(self, folder: Path) -> None:
        """Write a copy of one state into an existing folder."""


def backend_names() -> list[str]:
    """Names of all backends, sorted."""
    return sorted(registered(Backend, _PACKAGE))  # type: ignore[type-abstract]


def is_backend(name: object) -> bool:
    """Whether there is a backend of that name."""
    return isinstance(name, str) and _backend(name) is not None


def _backend(name: str) -> type[Backend] | None:
    return registered_as(Backend, _PACKAGE, name)  # type: ignore[type-abstract]


def load_backend(name: str) -> type[Backend]:
    """The backend of that name.

    Raises:
        ArchiveError: there is none.
    """
    found = _backend(name)
    if found is None:
        raise ArchiveError(
            f"index backend {name!r} is not known to this medclip; it knows {', '.join(backend_names())}"
        )
    return found
