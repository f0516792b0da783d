"""A place in a text, and texts made alike so that one pattern finds every way of typing a character."""

from dataclasses import dataclass

__all__ = ["CJK", "END", "START", "Found", "even"]

CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Ideographs, kana and hangul, as the inside of a character class."""

START, END = rf"(?<![^\W_{CJK}])", rf"(?![^\W_{CJK}])"
"""Where a word in letters or digits starts and ends: an underscore, as in file names, parts words, and so does CJK text."""

_EVEN: dict[int, int | str] = {
    **{wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u0060\u00b4"), "'"),
}


@dataclass(frozen=True)
class Found:
    """Something that identifies, from character `start` up to `end` of a text."""

    kind: str  # "name", "date", "number", "contact", "address", "place", "age", "phrase", "time" or "uid"
    start: int
    end: int


def even(text: str) -> str:
    """The text, character for character, with plain spaces, hyphens, apostrophes and digits."""
    return text.translate(_EVEN)
