"""The checklists of ``checklists.toml``, filled in for one model: by the program what it knows, the rest by people."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from medclip import DISCLAIMER, __version__
from medclip.reporting.known import Known
from medclip.reporting.of_figures import known_of_figures
from medclip.reporting.of_index import known_of_index
from medclip.reporting.of_model import known_of_model

__all__ = ["MARK", "Checklist", "Item", "Report", "as_dict", "as_markdown", "make_report"]

MARK = b"# A reporting checklist made by medclip"
"""How its Markdown begins; by it a report that may be replaced is known."""

Status = Literal["filled", "begun", "yours"]
_ASKED = {"index": "--index", "figures": "--figures"}  # what facts come from → the option that names it


@dataclass(frozen=True)
class Item:
    """One item of a guideline."""

    number: str
    section: str
    asks: str  # in words of our own
    known: tuple[Known, ...]
    yours: str | None  # what people are to write; None where nothing is left
    would_help: tuple[str, ...]  # options that would let the program fill in more

    @property
    def status(self) -> Status:
        """``filled`` by the program alone, ``begun`` by it, or ``yours``."""
        return "yours" if not self.known else "begun" if self.yours else "filled"


@dataclass(frozen=True)
class Checklist:
    """One guideline."""

    name: str
    source: str
    items: tuple[Item, ...]

    def count(self, status: Status) -> int:
        return sum(item.status == status for item in self.items)


@dataclass(frozen=True)
class Report:
    """A reporting checklist for a model, its index and its figures."""

    medclip_version: str
    disclaimer: str
    given: dict[str, str]  # MODEL, INDEX, FIGURES → path
    checklists: tuple[Checklist, ...]


def _item(entry: Mapping[str, object], known: Mapping[str, Known]) -> Item:
    names = [str(name) for name in entry.get("facts", ())]  # type: ignore[attr-defined]
    found = tuple(known[name] for name in names if name in known)
    lacking = {name.partition(".")[0] for name in names if name not in known}
    there = {name.partition(".")[0] for name in known}
    yours = entry.get("you")
    return Item(
        number=str(entry["number"]),
        section=str(entry["section"]),
        asks=str(entry["asks"]),
        known=found,
        yours=str(yours) if yours else None if found else "all of it: nothing that was given says it",
        would_help=tuple(_ASKED[one] for one in sorted(lacking - there) if one in _ASKED),
    )


def make_report(model: Path, index: Path | None = None, figures: Path | None = None) -> Report:
    """Fill in both checklists; nothing is said that no file says, save how this version of the program works.

    Args:
        model: a model folder, which is verified.
        index: an index that was built with it.
        figures: what ``medclip evaluate --json`` printed.

    Raises:
        BundleError: the model folder is none, or is damaged.
        ArchiveError: the index is none, is damaged, is of another model, or was made by an earlier medclip.
        CaseError: the figures are none.
    """
    stored = tomllib.loads(files(__package__).joinpath("checklists.toml").read_text(encoding="utf-8"))
    itself = f"medclip {__version__}, how it works"
    known = {f"program.{name}": Known(text, itself) for name, text in stored["program"].items()}
    of_model, fingerprint = known_of_model(model)
    of_index = known_of_index(index, fingerprint) if index else {}
    of_figures = known_of_figures(figures) if figures else {}
    for origin, found in (("model", of_model), ("index", of_index), ("figures", of_figures)):
        known |= {f"{origin}.{name}": one for name, one in found.items()}
    given = {"MODEL": model, "INDEX": index, "FIGURES": figures}
    return Report(
        medclip_version=__version__,
        disclaimer=DISCLAIMER,
        given={name: str(path) for name, path in given.items() if path is not None},
        checklists=tuple(
            Checklist(one["name"], one["source"], tuple(_item(entry, known) for entry in one["items"]))
            for one in stored["checklist"]
        ),
    )


def _plain(text: str) -> str:
    """The text on one line, with what Markdown or HTML would take for markup escaped: names are the user's."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))


def as_dict(report: Report) -> dict[str, Any]:
    """A report as plain values for JSON, with the status of each item and how many have it."""
    checklists = [
        asdict(checklist)
        | {
            "counts": {status: checklist.count(status) for status in get_args(Status)},
            "items": [asdict(item) | {"status": item.status} for item in checklist.items],
        }
        for checklist in report.checklists
    ]
    return asdict(report) | {"checklists": checklists}


def as_markdown(report: Report) -> str:
    """A report as Markdown; a list that several items need stands where it is needed first, and is referred to later."""
    environment = Environment(
        loader=PackageLoader("medclip.reporting", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = _plain
    first: dict[Known, str] = {}
    for checklist in report.checklists:
        for item in checklist.items:
            for one in item.known:
                first.setdefault(one, f"{checklist.name} {item.number}")
    return environment.get_template("report.md.jinja").render(report=report, first=first, mark=MARK.decode())
