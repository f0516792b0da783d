"""What a source of towers must give, and how it is found."""

import importlib
import pkgutil
from typing import Protocol, cast

from torch import nn

from medclip.training.towers.halves import Loaded, Recipe

__all__ = ["Source", "all_sources", "source_of"]


class Source(Protocol):
    """A module of this folder."""

    FORMS: tuple[str, ...]
    """How its names are written, for whoever typed another."""

    def knows(self, name: str) -> bool:
        """Whether a name is of this source; nothing is opened to tell."""

    def load(self, name: str) -> Loaded:
        """The towers of that name, with their pretrained weights.

        Raises:
            BundleError: they cannot be loaded, or cannot be served.
            MissingDependencyError: a package is not installed.
        """

    def rebuild(self, recipe: Recipe) -> nn.Module:
        """The half that a recipe of this source describes, with random weights that the caller replaces."""


def all_sources() -> dict[str, Source]:
    """Name → source, sorted by name."""
    package = importlib.import_module("medclip.training.towers.sources")
    names = sorted(name for _, name, _ in pkgutil.iter_modules(package.__path__) if name != "base")
    return {name: cast(Source, importlib.import_module(f"{package.__name__}.{name}")) for name in names}


def source_of(name: str) -> Source | None:
    """The source that knows a name; None where none does."""
    return next((source for source in all_sources().values() if source.knows(name)), None)
