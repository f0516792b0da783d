"""Text as it goes into the text tower: tidied, checked for a script that the tower can read, label words masked."""

import re
import unicodedata
from collections.abc import Iterable

from medclip.errors import TextError

__all__ = ["MASK", "clean_text", "mask_spans", "mask_words", "readable", "require_readable"]

MASK = "[masked]"
_UNREADABLE_SHARE = 0.2


def clean_text(text: str) -> str:
    """Normalise Unicode (NFKC) and white space, and drop control characters."""
    folded = unicodedata.normalize("NFKC", text)
    printable = "".join(ch if ch.isprintable() or ch.isspace() else " " for ch in folded)
    return re.sub(r"\s+", " ", printable).strip()


def mask_words(text: str, patterns: Iterable[str]) -> str:
    """Replace every whole-word match of the regular expressions with `MASK`; case is ignored, runs are folded."""
    return _folded(re.sub(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)", MASK, text, flags=re.IGNORECASE))


def mask_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Replace parts of a text, from a position up to another, with `MASK`; those that overlap are one, runs are folded."""
    masked, end = "", 0
    for start, stop in sorted(spans):
        if start >= end:
            masked += text[end:start] + MASK
        end = max(end, stop)
    return _folded(masked + text[end:])


def _folded(masked: str) -> str:
    return re.sub(rf"{re.escape(MASK)}(?:[\s,;/-]*{re.escape(MASK)})+", MASK, masked)


def require_readable(text: str, scripts: tuple[str, ...] | None) -> str:
    """The cleaned text, if the tower can read it.

    Args:
        text: any text.
        scripts: Unicode script words that letters' names begin with ("LATIN", ...); None for a tower of any script.

    Raises:
        TextError: there is no letter or digit in it, or over a fifth of its letters are in another script.
    """
    cleaned = clean_text(text)
    letters = [ch for ch in cleaned if ch.isalpha()]
    if not letters and not any(ch.isdigit() for ch in cleaned):
        raise TextError("the text is empty; give some words of the report or history")
    if scripts is None or not letters:
        return cleaned
    foreign = sum(not unicodedata.name(ch, "?").startswith((*scripts, "GREEK", "MICRO")) for ch in letters)
    if foreign > _UNREADABLE_SHARE * len(letters):
        raise TextError(
            f"{foreign} of the text's {len(letters)} letters are in a script that this model's text tower cannot read "
            f"(it reads {', '.join(s.title() for s in scripts)}); translate it, or use a model trained with  "
            f"medclip train --text-tower multilingual"
        )
    return cleaned


def readable(text: str, scripts: tuple[str, ...] | None) -> str | None:
    """The same, or None of a text that the tower cannot read."""
    try:
        return require_readable(text, scripts)
    except TextError:
        return None
