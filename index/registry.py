"""Classes that register themselves by standing in a folder."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TypeVar

__all__ = ["registered", "registered_as"]

T = TypeVar("T")


def registered(kind: type[T], package: str) -> dict[str, type[T]]:
    """Name → class of all that derive from `kind` in the modules of a package, ``base`` excepted."""
    for module in _modules(package):
        importlib.import_module(module)
    return _loaded(kind)


def registered_as(kind: type[T], package: str, name: str) -> type[T] | None:
    """The class of that name, None where there is none; modules are loaded until it is there, and no further."""
    for module in _modules(package):
        if (found := _loaded(kind).get(name)) is not None:
            return found
        importlib.import_module(module)
    return _loaded(kind).get(name)


def _modules(package: str) -> Iterator[str]:
    folder = importlib.import_module(package)
    for _, name, _ in pkgutil.iter_modules(folder.__path__):
        if name != "base":
            yield f"{package}.{name}"


def _loaded(kind: type[T]) -> dict[str, type[T]]:
    found: dict[str, type[T]] = {}
    waiting = kind.__subclasses__()
    while waiting:
        one = waiting.pop()
        found[one.name] = one  # type: ignore[attr-defined]
        waiting += one.__subclasses__()
    return found
