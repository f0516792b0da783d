"""One small world for all tests of what killed commands leave."""

from pathlib import Path
from typing import Any

import pytest

from tests.crash.killing import forks
from tests.crash.world import World, make_world


@pytest.fixture(scope="session")
def world(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), lambda _: tiny_model)


@pytest.fixture(scope="session")
def context() -> Any:
    return forks()
