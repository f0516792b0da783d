"""What a page's address says of how a question is answered, and the addresses that ask it again otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from medclip.assistant.refining import Refinement, Region
from medclip.diagnosis.neighbours import VOTERS
from medclip.diagnosis.sets import COVERAGE, Promise
from medclip.errors import OptionError
from medclip.fusion.composition import Part

__all__ = ["Again", "Wanted", "address", "case_page", "search_from"]

_MOST = 200  # cases shown


@dataclass(frozen=True)
class Wanted:
    """How a question is answered; it holds nothing of the patient, so that it may stand in an address."""

    k: int = VOTERS
    where: str = ""
    coverage: float = COVERAGE
    label_sets: tuple[str, ...] = ()
    leave_out: str = ""  # a case whose patient's cases are left out
    refinement: Refinement = field(default_factory=Refinement)

    @classmethod
    def read(cls, given: QueryParams) -> "Wanted":
        """What an address says.

        Raises:
            OptionError: a value is none that it may be.
        """

        def one(name: str, otherwise: str = "") -> str:
            return next((value.strip() for value in given.getlist(name) if value.strip()), otherwise)

        parts = tuple(given.getlist("without"))
        if not set(parts) <= set(get_args(Part)):
            raise OptionError(f"without {', '.join(parts)}: parts of a query are {', '.join(get_args(Part))}")
        region = one("region")
        return cls(
            _whole("k", one("k", str(VOTERS)), 1, _MOST),
            one("where"),
            _share("coverage", one("coverage", str(COVERAGE))),
            tuple(value for value in given.getlist("label") if value),
            one("leave-out"),
            Refinement(
                tuple(value for value in given.getlist("like") if value),
                tuple(value for value in given.getlist("unlike") if value),
                cast(tuple[Part, ...], parts),
                _region(region) if region else None,
                bool(one("distinct")),
            ),
        )

    @property
    def promise(self) -> Promise:
        """What the sets of labels are to keep.

        Raises:
            OptionError: it cannot be kept.
        """
        try:
            return Promise(self.coverage)
        except ValueError as error:
            raise OptionError(f"coverage {self.coverage:g}: {error}") from error

    def pairs(self) -> list[tuple[str, str]]:
        """(name, value) of what is otherwise than by default, as an address has it."""
        made, usual = self.refinement, Wanted()
        found = [("k", str(self.k))] if self.k != usual.k else []
        found += [("where", self.where)] if self.where else []
        found += [("coverage", f"{self.coverage:g}")] if self.coverage != usual.coverage else []
        found += [("leave-out", self.leave_out)] if self.leave_out else []
        for name, values in (
            ("label", self.label_sets), ("like", made.like), ("unlike", made.unlike), ("without", made.without),
        ):  # fmt: skip
            found += [(name, value) for value in values]
        if made.region is not None:
            found.append(("region", str(made.region)))
        return found + ([("distinct", "1")] if made.distinct else [])


def _region(text: str) -> Region:
    try:
        return Region.parse(text)
    except ValueError as error:
        raise OptionError(
            "region: is written SCAN:left,top,right,bottom, such as 1:0.2,0.3,0.5,0.6, in shares of the picture"
        ) from error


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= high:
        raise OptionError(f"{name}: is a whole number from {low} to {high}")
    return int(text)


def _share(name: str, text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError as error:
        raise OptionError(f"{name}: is a number above 0.5 and below 1") from error


def _less(some: Sequence[str], one: str) -> tuple[str, ...]:
    return tuple(other for other in some if other != one)


def address(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    """A path with what is asked of it."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def case_page(case_id: str) -> str:
    """The address of an archived case's page."""
    return address("/case", [("id", case_id)])


def search_from(case_id: str) -> str:
    """The address of the search from an archived case."""
    return address("/similar", [("id", case_id)])


@dataclass(frozen=True)
class Again:
    """What can be done from an answer's page."""

    base: str  # its path
    wanted: Wanted
    parts: tuple[Part, ...]  # of the query, as it is asked now
    scans: int  # of a query that can be marked; 0 of an archived case
    example: str  # of a filter
    fixed: tuple[tuple[str, str], ...] = ()  # what an address always has
    pictures: int = 0  # of an archived case that is asked as if it were new
    case = staticmethod(case_page)
    similar = staticmethod(search_from)

    @property
    def markable(self) -> bool:
        """Whether regions of the query's scans can be searched by."""
        return self.scans > 0

    @property
    def askable(self) -> bool:
        """Whether it is a question of its own, no archived case."""
        return not self.fixed

    @property
    def comparable(self) -> bool:
        """Whether the query has a picture to lay beside a case's."""
        return self.scans > 0 or self.pictures > 0

    def link(self, **changes: Any) -> str:
        """The same question, with something changed: `where`, or fields of the refinement."""
        top = {name: changes.pop(name) for name in ("where", "k", "leave_out") if name in changes}
        wanted = replace(self.wanted, refinement=replace(self.wanted.refinement, **changes), **top)
        return address(self.base, [*self.fixed, *wanted.pairs()])

    def liked(self, case_id: str) -> str:
        """Drawn to that case, too."""
        made = self.wanted.refinement
        return self.link(like=(*made.like, case_id), unlike=_less(made.unlike, case_id))

    def unliked(self, case_id: str) -> str:
        """Drawn away from that case, too."""
        made = self.wanted.refinement
        return self.link(unlike=(*made.unlike, case_id), like=_less(made.like, case_id))

    def unmarked(self, case_id: str) -> str:
        """Without a case's mark."""
        made = self.wanted.refinement
        return self.link(like=_less(made.like, case_id), unlike=_less(made.unlike, case_id))

    def without(self, part: Part) -> str:
        """Without one more part of the query."""
        return self.link(without=(*self.wanted.refinement.without, part))

    @property
    def marks(self) -> list[tuple[str, str]]:
        """(what is refined, the address without it)."""
        made = self.wanted.refinement
        found = [(f"like {one}", self.unmarked(one)) for one in made.like]
        found += [(f"not like {one}", self.unmarked(one)) for one in made.unlike]
        found += [(f"without the {part}", self.link(without=_less(made.without, part))) for part in made.without]
        if made.region is not None:
            found.append((f"region {made.region}", self.link(region=None)))
        return found

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What the form keeps as it is."""
        named = {"k", "where", "coverage", "distinct", "region", "leave-out"}
        return [*self.fixed, *((name, value) for name, value in self.wanted.pairs() if name not in named)]

    @property
    def region(self) -> str:
        """The region, as the form has it."""
        made = self.wanted.refinement.region
        return "" if made is None else str(made)

    @property
    def record(self) -> str:
        """Where the record of this answer is had."""
        return address(f"{self.base}/record", [*self.fixed, *self.wanted.pairs()])

    @property
    def forget(self) -> str | None:
        """Where the question is deleted; None of an archived case."""
        return f"{self.base}/forget" if self.askable else None

    @property
    def place(self) -> str | None:
        """The map with the question on it; None of an archived case, which is on it anyway."""
        return None if self.fixed else address("/map", [("question", self.base.rpartition("/")[2])])

    def compare(self, case_id: str, scan: int | None) -> str:
        """Query and case side by side.

        Args:
            scan: of the case, from 1; its first where None.
        """
        chosen = [] if scan is None else [("with", str(scan))]
        return address(f"{self.base}/compare", [*self.fixed, ("case", case_id), *chosen, *self.wanted.pairs()])
