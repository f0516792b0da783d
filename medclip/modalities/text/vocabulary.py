"""The words of an archive, for the prompt of the speech model."""

from collections.abc import Iterable

__all__ = ["words_of"]

_WORD = r"(?u)\b[^\W\d_]{4,}(?:-[^\W\d_]+)*\b"
_MOST = 2000
_LEAST = 2  # texts a word must stand in: once may be a typing error, or a name


def words_of(texts: Iterable[str]) -> list[str]:
    """Words of at least four letters that occur in several texts, by the number of those texts, most first.

    scikit-learn counts them, and leaves out English stop words.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    found = [text for text in texts if text.strip()]
    if len(found) < _LEAST:
        return []
    counter = CountVectorizer(stop_words="english", token_pattern=_WORD, binary=True)
    try:
        totals = counter.fit_transform(found).sum(0).A1
    except ValueError:  # no word at all
        return []
    known = [(word, int(totals[i])) for word, i in counter.vocabulary_.items() if totals[i] >= _LEAST]
    return [word for word, _ in sorted(known, key=lambda item: (-item[1], item[0]))[:_MOST]]
