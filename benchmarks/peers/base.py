"""What a peer must be able to do to stand in the table."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from peers.data import Data, Row

__all__ = ["CannotError", "Effort", "Found", "Peer", "peers"]

Effort = dict[str, Any]
Found = Sequence[tuple[str, ...]]  # the nearest first: (case id, patient, label, text), or (case id,) of a library


class CannotError(Exception):
    """A peer has no way to do this; the message says what its users do instead."""


class Peer(ABC):
    """One engine, with one way to build its structure.

    A store keeps records; a library keeps vectors under numbers, and is asked for numbers alone. Importing a class
    needs none of its packages: methods import them.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()  # what pip installs; none: the project's own environment
    distributions: ClassVar[tuple[str, ...]] = ()  # whose versions are stated
    environment: ClassVar[str] = ""  # peers of one name share it
    modules: ClassVar[tuple[str, ...]]  # are imported before anything is timed
    setup: ClassVar[str]  # the parameters of its build, in words
    durable: ClassVar[str]  # what is on the disk when a change returns, in words
    keeps_records: ClassVar[bool] = True
    filtering: ClassVar[str] = "own"  # "own"; "after": more are asked for, and what does not pass is thrown away
    crowd: ClassVar[str] = "processes"  # or "threads": how two cores ask at once
    efforts: ClassVar[
        tuple[Effort, ...]
    ] = ()  # what a query may spend, cheapest first, beside {}, which is the default
    variants: ClassVar[dict[str, dict[str, Any]]] = {}  # other builds, for the picture and where no effort reaches

    def __init__(self, folder: Path, **given: Any) -> None:
        self.folder = folder
        self.given = given
        self.reading = False  # whether it is opened to be asked alone, perhaps beside other processes
        self.server_cores: list[int] = []  # where a server of its own may run

    @abstractmethod
    def build(self, data: Data) -> None:
        """Write all cases into `folder`, which is empty, with what a search needs, and let go of it."""

    @abstractmethod
    def open(self) -> None:
        """Open what was built, to ask and to change it."""

    @abstractmethod
    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        """The k nearest cases, among those with an age below a bound."""

    @abstractmethod
    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Add cases; when it returns they are as durable as the peer makes them."""

    @abstractmethod
    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:
        """Delete the cases of a patient: by the name where records are kept, else by these numbers; as durable."""

    @abstractmethod
    def has(self, numbers: Iterable[int]) -> set[int]:
        """Which of these cases are there."""

    def close(self) -> None:  # noqa: B027
        """Let go of files and servers."""

    def servers(self) -> list[int]:
        """Process ids of servers that it runs beside the asking process."""
        return []


def peers() -> dict[str, type[Peer]]:
    """Name → class, of every module in ``engines/``, ours first."""
    package = importlib.import_module("peers.engines")
    found: dict[str, type[Peer]] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: (m.name != "ours", m.name)):
        found |= importlib.import_module(f"peers.engines.{module.name}").PEERS
    return found
