"""One server and, for each file of tests, one browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.server.browser.served import Served, Watched, browser, chromium, serving, watched


@pytest.fixture(scope="session")
def site(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The index of the sample cohort, served by ``medclip serve`` in a process of its own."""
    with serving(index, tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")  # an open Playwright holds the thread's event loop, which other files' tests may need
def chrome() -> Iterator[Any]:
    """Chromium."""
    pytest.importorskip("playwright", reason="Playwright is not installed: make setup")
    if chromium() is None:
        pytest.skip("no Chromium is installed: sh .ci/chromium.sh  does it where apt-get may be used")
    with browser() as running:
        yield running


def enter(page: Any, site: Served) -> None:
    """Enter with the token, as one does who has no link."""
    page.goto(site.address)
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("heading", name="What is known of the patient?").wait_for()


@pytest.fixture
def visitor(chrome: Any, site: Served) -> Iterator[Any]:
    """The page of somebody who has not entered; it may ask no other host, and no script of it may fail."""
    with watched(chrome, site) as seen:
        yield seen.page
        _well_behaved(seen)


@pytest.fixture(scope="module")
def user(chrome: Any, site: Served) -> Iterator[Any]:
    """The page of somebody who has entered, the same for a file's tests."""
    with watched(chrome, site) as seen:
        enter(seen.page, site)
        yield seen.page
        _well_behaved(seen)


def _well_behaved(seen: Watched) -> None:
    assert seen.strays == []
    assert seen.errors == []


@pytest.fixture(scope="session")
def scan(sample: Path) -> Path:
    """A scan of the sample cohort."""
    return sample / "scans" / "sample-005-0.png"


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture such as no archive holds."""
    file = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8)).save(file)
    return file


@pytest.fixture
def ask(site: Served) -> Callable[..., str]:
    """Asks a question in the browser; returns the answer's address."""

    def asked(page: Any, scan: Path | None = None, **texts: str) -> str:
        page.goto(site.address)
        if scan is not None:
            page.locator("input[name=scans]").first.set_input_files(scan)
        for name, text in texts.items():
            page.locator(f"[name={name}]").fill(text)
        page.get_by_role("button", name="Find similar cases").click()
        page.wait_for_url("**/questions/*")
        return str(page.url)

    return asked
