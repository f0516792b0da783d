"""The README is short, and its Chinese sister says the same."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))


def _commands(text: str) -> list[str]:
    """The lines of fenced blocks without their comments, and the code within lines."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [line.partition("#")[0].rstrip() for block in blocks for line in block.splitlines()] + sorted(inline)


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:[.:,]\d+)*", text)


def test_it_is_read_in_two_minutes() -> None:
    assert len(ENGLISH.splitlines()) <= 130
    assert len(CHINESE.splitlines()) <= 130


def test_both_have_the_same_commands_links_and_sections() -> None:
    english, chinese = _commands(ENGLISH), _commands(CHINESE)
    assert "make demo" in english  # comments are no part of a command
    assert english == chinese
    links = [set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.zh.md"} for text in (ENGLISH, CHINESE)]
    assert links[0] == links[1]
    assert ENGLISH.count("\n## ") == CHINESE.count("\n## ")


def test_both_state_the_same_figures() -> None:
    tables = [[line for line in text.splitlines() if line.startswith("|")] for text in (ENGLISH, CHINESE)]
    assert len(tables[0]) == len(tables[1])
    for english, chinese in zip(*tables, strict=True):
        assert sorted(_numbers(english)) == sorted(_numbers(chinese)), (english, chinese)


def test_the_reader_study_is_quoted_rightly() -> None:
    for text in (ENGLISH, CHINESE):
        said = re.search(r"55\.9 %\D+70\.6 %\D+83\.3 %", text)
        assert said is not None
