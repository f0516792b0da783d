"""Classes that register themselves by standing in a folder."""

import importlib
import pkgutil
from typing import TypeVar

__all__ = ["registered"]

T = TypeVar("T")


def registered(kind: type[T], package: str) -> dict[str, type[T]]:
    """Name → class of all that derive from `kind` in the modules of a package, ``base`` excepted."""
    folder = importlib.import_module(package)
    for _, name, _ in pkgutil.iter_modules(folder.__path__):
        if name != "base":
            importlib.import_module(f"{package}.{name}")
    found: dict[str, type[T]] = {}
    waiting = kind.__subclasses__()
    while waiting:
        one = waiting.pop()
        found[one.name] = one  # type: ignore[attr-defined]
        waiting += one.__subclasses__()
    return found
