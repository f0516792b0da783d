"""The words of an archive, for the prompt of the speech model."""

from collections import Counter
from collections.abc import Iterable

__all__ = ["words_of"]

_WORD = r"(?u)\b[^\W\d_]{4,}(?:-[^\W\d_]+)*\b"
_MOST = 2000
_LEAST = 2  # texts a word must stand in: once may be a typing error, or a name


def words_of(texts: Iterable[str]) -> list[str]:
    """Words of at least four letters that occur in several texts, by the number of those texts, most first.

    scikit-learn divides the texts into words and leaves out English stop words; one text is in memory at a time.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    words_in = CountVectorizer(stop_words="english", token_pattern=_WORD).build_analyzer()
    totals: Counter[str] = Counter()
    for text in texts:
        totals.update(set(words_in(text)))
    known = [(word, count) for word, count in totals.items() if count >= _LEAST]
    return [word for word, _ in sorted(known, key=lambda item: (-item[1], item[0]))[:_MOST]]
