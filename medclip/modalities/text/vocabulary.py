"""The words of an archive, for the prompt of the speech model."""

import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["words_of"]

_WORD = re.compile(r"[^\W\d_]{4,}(?:-[^\W\d_]+)*")
_MOST = 2000
_LEAST = 2  # texts a word must stand in: once may be a typing error, or a name


def words_of(texts: Iterable[str]) -> list[str]:
    """Words of at least four letters that occur in several texts, by the number of those texts, most first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({word.lower() for word in _WORD.findall(text)})
    known = [(word, count) for word, count in counts.items() if count >= _LEAST]
    return [word for word, _ in sorted(known, key=lambda item: (-item[1], item[0]))[:_MOST]]
