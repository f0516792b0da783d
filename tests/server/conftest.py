"""A server over the session's index, in this process; tests of browsers start a real one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from medclip.server.app import make_app
from medclip.server.audit import Audit
from medclip.server.context import Context
from medclip.server.desk import Desk
from medclip.server.entrance import Entrance
from medclip.server.settings import Limits
from medclip.server.uploads import Desktop, workroom

TOKEN = "a-token-of-more-than-thirty-two-characters"


@dataclass
class Served:
    """A server in this process."""

    context: Context
    app: Any
    log: Path
    room: Path
    clients: list[TestClient] = field(default_factory=list)

    def nobody(self, **options: Any) -> TestClient:
        """A browser that has not entered."""
        client = TestClient(self.app, base_url="http://127.0.0.1:8765", raise_server_exceptions=False, **options)
        self.clients.append(client)
        return client

    def browser(self) -> TestClient:
        """A browser that came by a link."""
        client = self.nobody()
        assert client.get(f"/enter?key={self.context.entrance.link()}").status_code == 200
        return client

    def program(self) -> TestClient:
        """A program that has the token."""
        return self.nobody(headers={"authorization": f"Bearer {TOKEN}"})


@contextmanager
def serving(index: Path, place: Path, limits: Limits | None = None) -> Iterator[Served]:
    """Serve an index."""
    limits = limits or Limits()
    with workroom(place) as room:
        desk = Desk(index, limits, threads=1)
        context = Context(desk, Desktop(room, limits), Entrance(TOKEN, limits.sessions), limits)
        log = place / "audit.jsonl"
        audit = Audit(log)
        yield Served(context, make_app(context, audit, frozenset({"127.0.0.1"})), log, room)
        audit.close()


@pytest.fixture(scope="module")
def served(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(index, tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture
def limited(index: Path, tmp_path: Path) -> Callable[..., Any]:
    """A server with other limits."""
    return lambda **limits: serving(index, tmp_path, replace(Limits(), **limits))


@pytest.fixture
def awaited() -> Callable[..., Any]:
    return asyncio.run
