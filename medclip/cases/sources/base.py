"""What a source must give, and how it is found by name."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from medclip.cases.case import Case, Part, Skipped
from medclip.errors import CaseError

__all__ = ["Draft", "Item", "Options", "Part", "Remark", "Skipped", "Source", "load_source", "source_names"]


@dataclass(frozen=True)
class Draft:
    """A case and where its files come from: name in the cases folder → a file to copy, or the bytes themselves."""

    case: Case
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    mode: int = 0o777  # permissions beyond which no stored bytes and texts may go: those of what they were made from
    places: Mapping[str, str] = field(default_factory=dict)  # file → where a table names it: "line 4, column scan"


@dataclass(frozen=True)
class Remark:
    """What a user should know of how a source was read."""

    text: str  # one line


Item = Draft | Skipped | Remark
"""What a source yields."""


@dataclass(frozen=True)
class Options:
    """What a user may say about an import beside its path; a source names in ``OPTIONS`` those that it heeds."""

    seed: int = 0  # of a source that draws its cases
    key: Path | None = None  # the file of the key that ids are hashed with; it stays with the user
    reports: Path | None = None  # a CSV with the texts and labels of studies
    allow_outside: bool = False  # whether a table may name files that do not lie beside it
    encoding: str | None = None  # of a table that does not show its own
    sheet: str | None = None  # of a table that is a workbook; its first one otherwise


class Source(Protocol):
    """A module in this folder, or in one inside it, that has these names."""

    NAME: str
    NEEDS_PATH: bool
    OPTIONS: frozenset[str]

    def draft(self, path: Path | None, options: Options) -> Iterator[Item]:
        """Yield every case of the source, and `Skipped` for one that is left out, `Part` for less than a case.

        Args:
            path: the folder or file that the user named; None where ``NEEDS_PATH`` is false.
            options: those of them that are not in ``OPTIONS`` are at their defaults.

        Raises:
            CaseError: `path` is not in the source's layout at all.
        """


def _sources() -> Iterator[Source]:
    package = importlib.import_module("medclip.cases.sources")
    for _, name, _ in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(name)
        if hasattr(module, "NAME"):
            yield cast(Source, module)


def source_names() -> list[str]:
    """The names of all sources, sorted."""
    return sorted(source.NAME for source in _sources())


def load_source(name: str) -> Source:
    """The source of that name.

    Raises:
        CaseError: there is none.
    """
    for source in _sources():
        if name == source.NAME:
            return source
    raise CaseError(f"source {name!r} is not known; choose one of: {', '.join(source_names())}")
