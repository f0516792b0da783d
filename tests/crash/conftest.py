"""One small world for all tests of what killed commands leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.killing import forks
from tests.crash.world import World, make_world


@pytest.fixture(scope="session")
def world(tiny_model: Path, shared: Callable[[str, Callable[[Path], None]], Path]) -> World:
    def make(root: Path) -> None:
        root.mkdir()
        make_world(root, lambda _: tiny_model)

    return World(shared("world", make), tiny_model)


@pytest.fixture(scope="session")
def context() -> Any:
    return forks()
