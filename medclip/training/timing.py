"""Where the time of a training goes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopwatch", "Work"]


class Work:
    """Seconds by kind of work, summed over the threads that do it; beside each other they pass faster."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._adding = threading.Lock()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the length of a block."""
        began = time.perf_counter()
        yield
        with self._adding:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class Stopwatch:
    """Seconds by stage, in the order in which they began."""

    def __init__(self, told: Callable[[str], None]) -> None:
        """`told` is called with the name of every stage that begins."""
        self.seconds: dict[str, float] = {}
        self._told, self._name, self._began = told, "", 0.0

    def stage(self, name: str) -> None:
        """End the stage that runs, and begin another."""
        self.end()
        self._name, self._began = name, time.perf_counter()
        self._told(name)

    def end(self) -> None:
        """End the stage that runs."""
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + time.perf_counter() - self._began
        self._name = ""
