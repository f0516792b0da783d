"""The words of an archive, for the prompt of the speech model, and the file in which an index keeps them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from medclip.files.plain import write_json
from medclip.files.sealed import read_json, sealed, unsealed

__all__ = ["read_vocabulary", "vocabulary_is_sealed", "words_of", "write_vocabulary"]

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


def write_vocabulary(file: Path, words: Sequence[str]) -> None:
    """Write words, with a checksum."""
    write_json(file, sealed({"words": list(words)}))


def read_vocabulary(file: Path) -> list[str]:
    """The words that `write_vocabulary` wrote, or an older medclip as a plain list.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged.
    """
    found = read_json(file)
    if not isinstance(found, list):
        known = unsealed(found)
        if known.seal != "whole":
            raise ValueError("has changed since it was written")
        found = known.value.get("words")
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError("is no list of words")
    return found


def vocabulary_is_sealed(file: Path) -> bool:
    """Whether the file carries a checksum, as older versions of medclip did not write."""
    return isinstance(read_json(file), dict)
