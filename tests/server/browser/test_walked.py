"""The pages as people use them, in a real browser: by mouse, with the keyboard alone, without scripts, on a small screen."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.browser.conftest import enter
from tests.server.browser.served import SCREEN, Served, watched

HISTORY = "45 year old man with fever and cough"
Ask = Callable[..., str]


def _cases(page: Any) -> list[str]:
    """Ids of the cases that an answer shows, in order."""
    return [str(text) for text in page.locator("article.case .head b a").all_inner_texts()]


def _see(page: Any, heading: str) -> None:
    page.get_by_role("heading", name=re.compile(heading)).first.wait_for()


def test_one_walks_from_a_question_through_the_archive(visitor: Any, site: Served, scan: Path) -> None:
    page = visitor
    page.goto(site.link)
    _see(page, "What is known of the patient")
    page.locator("input[name=scans]").first.set_input_files(scan)
    page.get_by_label("History").fill(HISTORY)
    page.get_by_label("Age, years").fill("45")
    page.get_by_role("button", name="Find similar cases").click()

    _see(page, "10 most similar cases")
    assert page.locator(".verdict").count() == 3
    assert HISTORY in page.locator("aside").inner_text()
    found = _cases(page)
    assert len(found) == 10

    page.get_by_role("link", name=f"More like case {found[4]}").click()
    page.get_by_label(f"Take away: like {found[4]}").wait_for()
    drawn = _cases(page)
    assert drawn.index(found[4]) <= found.index(found[4])
    page.get_by_role("link", name=f"Not like case {drawn[0]}").click()
    page.get_by_label(f"Take away: not like {drawn[0]}").wait_for()
    assert drawn[0] not in _cases(page)
    page.get_by_label(f"Take away: not like {drawn[0]}").click()
    page.wait_for_url(lambda url: "unlike" not in url)
    assert _cases(page) == drawn

    page.get_by_role("link", name=drawn[0], exact=True).click()
    _see(page, f"Case {drawn[0]}")
    page.get_by_role("link", name="Ask as if this case were new").click()
    page.wait_for_url("**/similar?*")
    assert drawn[0] not in _cases(page)
    page.go_back()

    page.get_by_role("link", name="Walk the archive").click()
    _see(page, "112 cases")
    page.get_by_label("Only cases").fill("modality = 'CT'")
    page.get_by_role("button", name="Show").click()
    _see(page, "of which this holds")
    assert all("CT" in line for line in page.locator(".grid .head").all_inner_texts())
    page.get_by_role("link", name="Later").click()
    page.get_by_role("link", name="Earlier").wait_for()

    page.get_by_role("link", name="Map", exact=True).click()
    _see(page, "112 of 112 cases on a map")
    point = page.locator("svg.map a").first
    named = point.get_attribute("aria-label").removeprefix("case ").partition(",")[0]
    point.dispatch_event("click")
    _see(page, f"Case {named}")


def test_a_link_lets_nobody_else_in(chrome: Any, site: Served) -> None:
    with watched(chrome, site) as first:
        enter(first.page, site)
    with watched(chrome, site) as second:
        assert second.page.goto(f"{site.address}/enter?key=guessed").status == 401
        assert second.page.goto(f"{site.address}/cases").status == 401


def _tab_to(page: Any, is_it: str) -> None:
    """Press the tabulator until what has the focus matches a selector and is in sight."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("is => document.activeElement.matches(is)", is_it):
            style = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", f"{is_it} does not show that it has the focus"
            return
    raise AssertionError(f"no tabulator leads to {is_it}")


def test_the_keyboard_alone_is_enough(visitor: Any, site: Served) -> None:
    page, keys = visitor, visitor.keyboard
    page.goto(site.address)
    _tab_to(page, "input[name=token]")
    keys.type(site.token)
    keys.press("Enter")
    _see(page, "What is known of the patient")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    keys.press("Enter")
    _tab_to(page, "textarea[name=history]")
    keys.type(HISTORY)
    _tab_to(page, "select[name=sex]")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    _tab_to(page, "button.main")
    keys.press("Enter")

    _see(page, "10 most similar cases")
    first = _cases(page)[0]
    _tab_to(page, ".term")
    assert page.locator("[role=tooltip]").first.is_visible()
    _tab_to(page, "summary")
    opened = page.locator("details[open]").count()
    keys.press("Enter")
    assert page.locator("details[open]").count() != opened
    _tab_to(page, f"a[aria-label='More like case {first}']")
    keys.press("Enter")
    page.get_by_label(f"Take away: like {first}").wait_for()

    _tab_to(page, "article.case .head a")
    keys.press("Enter")
    _see(page, "^Case sample-")
    _tab_to(page, "nav a[href='/cases']")
    keys.press("Enter")
    _see(page, "112 cases")
    _tab_to(page, "a[href='/map']")
    keys.press("Enter")
    _see(page, "on a map")
    _tab_to(page, "select[name=colour]")
    keys.press("ArrowDown")
    chosen = page.locator("select[name=colour]").input_value()
    keys.press("Tab")
    keys.press("Enter")
    page.wait_for_url(f"**/map?colour={chosen}")


def test_the_answer_is_seen_without_scrolling(user: Any, ask: Ask, scan: Path) -> None:
    ask(user, scan, history=HISTORY)
    width, height = SCREEN
    assert user.evaluate("[innerWidth, innerHeight, scrollY]") == [width, height, 0]

    def seen(what: Any) -> bool:
        box = what.bounding_box()
        return bool(box["y"] >= 0 and box["y"] + box["height"] <= height and box["x"] + box["width"] <= width)

    verdicts = user.locator(".labels .verdict").all()
    assert len(verdicts) == 3
    assert all(seen(one) for one in verdicts)
    rows = user.locator(".labels .card:has(.verdict) > table tr").all()
    assert len(rows) == 3 + 4 + 3 + 2  # headings; classes of finding (of which four are shown), location and modality
    assert [row.inner_text() for row in rows if not seen(row)] == []
    assert all(seen(one) for one in user.locator(".labels .set").all())
    best = user.locator("article.case").first
    assert seen(user.locator("aside img").first)
    assert seen(best.locator("img").first)
    assert seen(best.locator(".diagnosis"))
    assert seen(best.get_by_role("link", name=re.compile("More like")))
    query, found = user.locator("aside img").first.bounding_box(), best.locator("img").first.bounding_box()
    assert abs(query["y"] - found["y"]) < 60  # beside each other


@pytest.mark.parametrize("width", [320, 600])
def test_no_page_scrolls_sideways_on_a_small_screen(user: Any, site: Served, ask: Ask, scan: Path, width: int) -> None:
    answer = ask(user, scan, history=HISTORY).removeprefix(site.address)
    user.set_viewport_size({"width": width, "height": 800})
    wide = []
    for path in ("/", answer, "/similar?id=sample-001", "/case?id=sample-001", "/cases", "/map", "/about", "/nothing"):
        user.goto(site.address + path)
        if user.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(path)
    user.set_viewport_size(dict(zip(("width", "height"), SCREEN, strict=True)))
    assert wide == []


def test_pages_work_where_scripts_may_not(chrome: Any, site: Served, ask: Ask, scan: Path) -> None:
    with watched(chrome, site, java_script_enabled=False) as seen:
        enter(seen.page, site)
        ask(seen.page, scan, history=HISTORY)
        found = _cases(seen.page)
        assert len(found) == 10
        seen.page.get_by_label("Cases shown").fill("3")
        seen.page.get_by_role("button", name="Ask again").click()
        seen.page.wait_for_url("**k=3**")
        assert _cases(seen.page) == found[:3]


def test_a_question_has_its_place_on_the_map(user: Any, ask: Ask, scan: Path) -> None:
    ask(user, scan, history=HISTORY)
    user.get_by_role("link", name="Its place on the map").click()
    _see(user, "on a map")
    assert user.get_by_text("The cross is your question.").is_visible()
    frame, cross = user.locator("svg.map").bounding_box(), user.locator("svg.map .own").bounding_box()
    assert frame["x"] < cross["x"] < frame["x"] + frame["width"]
    assert frame["y"] < cross["y"] < frame["y"] + frame["height"]


def test_a_question_is_gone_when_its_asker_forgets_it(user: Any, ask: Ask) -> None:
    address = ask(user, history=HISTORY)
    user.get_by_role("button", name="Forget this question").click()
    _see(user, "What is known of the patient")
    assert user.goto(address).status == 404
    assert "forgotten after" in user.inner_text("main")
