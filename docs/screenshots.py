"""``make screenshots``: the pages of ``medclip serve`` as the how-to shows them, taken in Chromium over the demo's archive."""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.server.browser.served import SCREEN, Served, browser, chromium, serving, watched

HERE = Path(__file__).parent
COLOURS = 64  # of a picture: greys and a few more; a quarter of the bytes


def _take(page: Any, name: str) -> None:
    file = HERE / f"{name}.png"
    page.screenshot(path=file)
    with Image.open(file) as taken:
        taken.convert("RGB").quantize(COLOURS).save(file, optimize=True)


def _walk(page: Any, site: Served, cases: Path) -> None:
    page.goto(site.link)
    page.get_by_role("heading", name="What is known of the patient?").wait_for()
    page.locator("input[name=scans]").first.set_input_files(cases / "scans" / "sample-005-0.png")
    page.get_by_label("History").fill("45 year old man with fever and cough")
    _take(page, "serve-ask")
    page.get_by_role("button", name="Find similar cases").click()
    page.wait_for_url("**/questions/*")
    _take(page, "serve-answer")
    page.get_by_role("link", name="Its place on the map").click()
    page.get_by_role("heading", name=re.compile("on a map")).wait_for()
    _take(page, "serve-map")
    page.goto(f"{site.address}/cases?where=modality+%3D+'CT'&sort=-age")
    page.wait_for_load_state("networkidle")
    _take(page, "serve-cases")


def main(demo: Path) -> None:
    """Take them all; each replaces the last one of its name."""
    if chromium() is None:
        sys.exit("no Chromium is installed: sh .ci/chromium.sh")
    with tempfile.TemporaryDirectory() as scratch, serving(demo / "index", Path(scratch)) as site:  # noqa: SIM117
        with browser() as chrome, watched(chrome, site, SCREEN) as seen:
            _walk(seen.page, site, demo / "cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
