"""What a search structure must do, and how it is found by name."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError

__all__ = ["Backend", "Found", "backend_names", "load_backend"]

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class Found:
    """The nearest rows of each query, nearest first; never padded, so each query may have its own count."""

    def __init__(self, rows: list[Rows], similarities: list[Vectors]) -> None:
        self.rows, self.similarities = rows, similarities


class Backend(ABC):
    """A search structure over the rows of a (n, d) matrix of unit vectors; similarity is the cosine."""

    name: ClassVar[str]
    file: ClassVar[str]  # what `save` writes into the index folder

    @classmethod
    @abstractmethod
    def from_vectors(cls, vectors: Vectors) -> "Backend":
        """Build over (n, d) unit vectors; row numbers are the identities."""

    @classmethod
    @abstractmethod
    def load(cls, file: Path) -> "Backend":
        """Open what `save` wrote.

        Raises:
            ArchiveError: the file is damaged.
        """

    @abstractmethod
    def save(self, file: Path) -> None:
        """Write the structure."""

    @abstractmethod
    def query(self, queries: Vectors, k: int, among: Rows | None = None) -> Found:
        """The k nearest rows of each of (q, d) unit vectors, of all rows or of `among` alone.

        Every row is found when k reaches their number.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of rows."""


def _backends() -> dict[str, type[Backend]]:
    package = importlib.import_module("medclip.index.backends")
    for _, name, _ in pkgutil.iter_modules(package.__path__):
        if name != "base":
            importlib.import_module(f"{package.__name__}.{name}")
    return {kind.name: kind for kind in Backend.__subclasses__()}


def backend_names() -> list[str]:
    """Names of all backends, sorted."""
    return sorted(_backends())


def load_backend(name: str) -> type[Backend]:
    """The backend of that name.

    Raises:
        ArchiveError: there is none.
    """
    found = _backends()
    if name not in found:
        raise ArchiveError(
            f"index structure {name!r} is not known to this medclip; it knows {', '.join(sorted(found))}"
        )
    return found[name]
