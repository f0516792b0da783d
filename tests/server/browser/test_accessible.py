"""Every page against WCAG 2.2, levels A and AA, by axe-core: on a laptop's screen and a small one, all that opens open."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.browser.served import SCREEN, Served, watched

RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    # of these levels, but not asked by axe-core unless they are named
    "rules": {"target-size": {"enabled": True}, "label-content-name-mismatch": {"enabled": True}},
    "resultTypes": ["violations"],  # of other results one example: half of the time
}
OF_LAYOUT = {**RULES, "runOnly": {"type": "rule", "values": ["target-size", "scrollable-region-focusable"]}}
SMALL = (400, 800)
TEXT = "45 year old man with fever and cough"

PAGES = {
    "ask": "/",
    "answer of an archived case": "/similar?id=sample-001",
    "with marks and a filter": "/similar?id=sample-001&like=sample-002&unlike=sample-003&where=age>20&k=3",
    "case": "/case?id=sample-002",
    "cases": "/cases",
    "cases, sorted and filtered": "/cases?where=modality%3D'CT'&sort=-age&offset=24",
    "no case": "/cases?where=age>200",
    "two cases side by side": "/similar/compare?id=sample-001&case=sample-002",
    "map": "/map",
    "about": "/about",
    "no such page": "/nothing",
    "no such case": "/case?id=nobody",
    "a filter that is none": "/cases?where=age>>",
}


def _violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = []
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for (width, height), rules in ((SCREEN, RULES), (SMALL, OF_LAYOUT)):
        page.set_viewport_size({"width": width, "height": height})
        said = Axe().run(page, options=rules).response
        assert said["passes"], "axe-core looked at nothing"
        found += [f"{width}: {one['id']}: {node['html'][:200]}" for one in said["violations"] for node in one["nodes"]]
    page.set_viewport_size(dict(zip(("width", "height"), SCREEN, strict=True)))
    return found


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_is_accessible(user: Any, site: Served, path: str) -> None:
    user.goto(site.address + path)
    assert _violations(user) == []


def test_the_entrance_is_accessible(visitor: Any, site: Served) -> None:
    assert visitor.goto(site.address).status == 401
    assert _violations(visitor) == []


def test_an_answer_and_its_place_on_the_map_are_accessible(user: Any, ask: Callable[..., str], scan: Path) -> None:
    ask(user, scan, history=TEXT)
    assert user.locator(".verdict").count() == 3
    user.locator(".term").first.focus()
    assert _violations(user) == []
    answer = user.url
    user.get_by_role("link", name="Compare side by side").first.click()
    user.locator(".pane canvas").first.wait_for()
    assert _violations(user) == []
    user.goto(answer)
    user.get_by_role("link", name="Its place on the map").click()
    user.get_by_role("heading", name=re.compile("on a map")).wait_for()
    assert _violations(user) == []


def test_an_answer_that_is_withheld_is_accessible(user: Any, ask: Callable[..., str], noise: Path) -> None:
    ask(user, noise)
    assert user.locator(".notice.unlike").is_visible()
    assert user.locator(".verdict").count() == 0
    assert _violations(user) == []


def test_what_is_not_accessible_is_found(chrome: Any, site: Served) -> None:
    with watched(chrome, site) as seen:
        seen.page.goto(site.address)
        seen.page.evaluate(
            "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"/static/none\">')"
        )
        assert [one for one in _violations(seen.page) if "image-alt" in one]
