"""``medclip serve`` as a user starts it: a process of its own, on a free port; and the browser that opens it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SCREEN", "Served", "Watched", "browser", "chromium", "serving", "watched"]

SCREEN = (1366, 768)  # pixels of a common laptop's screen
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
          "--disable-sync")  # fmt: skip
_PATIENCE = 60.0  # seconds until a server on a busy machine says that it is open


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    address: str  # http://127.0.0.1:PORT
    link: str  # lets one browser in, once
    token: str
    process: int
    started: float  # seconds from its start until it said that it is open


@contextmanager
def serving(
    index: Path, scratch: Path, *options: str, medclip: str | None = None, **environment: str
) -> Iterator[Served]:
    """Serve an index until the block ends.

    Args:
        index: what is served.
        scratch: an empty folder for its token, its log and what it says.
        options: more of ``medclip serve``.
        medclip: the program; that of this environment where None.
        environment: variables that it sees beside those that are set here.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, said = scratch / "token", scratch / "said"
    began = time.monotonic()
    with said.open("w") as out:
        process = subprocess.Popen(
            [
                medclip or str(Path(sys.executable).with_name("medclip")), "serve", str(index), "--port", str(port),
                "--token-file", str(token), "--audit-log", str(scratch / "audit.jsonl"), *options,
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )  # fmt: skip
    try:
        while not (link := re.search(r"https?://\S+/enter\?key=\S+", said.read_text())):
            if process.poll() is not None or time.monotonic() > began + _PATIENCE:
                raise AssertionError(f"medclip serve did not open: {said.read_text()}")
            time.sleep(0.02)
        yield Served(
            f"http://127.0.0.1:{port}", link[0], token.read_text().strip(), process.pid, time.monotonic() - began
        )
    finally:
        process.terminate()
        process.wait(30)


def chromium() -> str | None:
    """Debian's Chromium, or another that is installed; .ci/chromium.sh installs the first."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright, which brings none of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        try:
            yield started
        finally:
            started.close()


@dataclass
class Watched:
    """A page of a browser, and what it did that no page of ours may do."""

    page: Any
    strays: list[str] = field(default_factory=list)  # addresses of other hosts that it asked
    errors: list[str] = field(default_factory=list)  # of its scripts, and what the policy of its contents blocked


@contextmanager
def watched(chrome: Any, site: Served, screen: Sequence[int] = SCREEN, **options: Any) -> Iterator[Watched]:
    """A browser of a new visitor, who has not entered; its pages give up after 20 s.

    Args:
        options: of Playwright's ``new_context``.
    """
    context = chrome.new_context(viewport=dict(zip(("width", "height"), screen, strict=True)), **options)
    context.set_default_timeout(20_000)
    seen = Watched(context.new_page())
    context.on(
        "request",
        lambda one: one.url.startswith((f"{site.address}/", "data:", "blob:")) or seen.strays.append(one.url),
    )
    context.on("weberror", lambda one: seen.errors.append(str(one.error)))
    context.on("console", lambda one: seen.errors.append(one.text) if "Content Security Policy" in one.text else None)
    try:
        yield seen
    finally:
        context.close()
