"""A server shows its archive at once, and answers when its model is verified."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medclip.errors import BundleError, OptionError
from medclip.server import desk
from medclip.server.run import Listening
from tests.server.conftest import Served, serving


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets the model be opened."""
    let = threading.Event()
    opening = desk.model_of

    def model_of(*given: Any, **options: Any) -> Any:
        assert let.wait(60)
        return opening(*given, **options)

    monkeypatch.setattr(desk, "model_of", model_of)
    yield let
    let.set()


@pytest.fixture
def server(kept: Path, tmp_path: Path, gate: threading.Event) -> Iterator[Served]:
    assert not gate.is_set()
    (tmp_path / "served").mkdir()
    with serving(kept / "index", tmp_path / "served") as made:
        yield made


@pytest.mark.parametrize("page", ["/", "/cases", "/case?id=c1", "/picture?id=c1&scan=0"])
def test_what_needs_no_model_does_not_wait_for_it(server: Served, page: str) -> None:
    assert not server.context.desk.opened.done()
    assert server.browser().get(page).status_code == 200
    assert not server.context.desk.opened.done()


def test_a_question_waits_for_the_model(server: Served, gate: threading.Event) -> None:
    program, answers = server.program(), []
    asking = threading.Thread(
        target=lambda: answers.append(program.post("/api/v1/query", data={"history": "a round cyst"}))
    )
    asking.start()
    asking.join(1)
    assert asking.is_alive()
    gate.set()
    asking.join(60)
    [answer] = answers
    assert answer.status_code == 200
    assert answer.json()["similar"]


def test_a_question_to_a_model_that_is_refused_is_not_answered(
    server: Served, gate: threading.Event, kept: Path
) -> None:
    file = kept / "index" / "model" / "text_head.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    gate.set()
    with pytest.raises(BundleError, match="has changed"):
        server.context.desk.opened.result()
    asked = server.program().post("/api/v1/query", data={"history": "a round cyst"})
    like = server.program().get("/api/v1/similar?id=c1")
    for answer in (asked, like):
        assert answer.status_code == 500
        assert "has changed since it was written" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_does_not_wait_until_its_head_was_received(host: str) -> None:
    try:
        bound = Listening(host, 0).socket()
    except OptionError as error:
        if host != "::1":
            raise
        pytest.skip(f"no IPv6 here: {error}")

    async def without_delay() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            accepted.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(met, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname()[:2])
            try:
                return await asyncio.wait_for(accepted, 10)
            finally:
                writer.close()

    assert asyncio.run(without_delay()) != 0
