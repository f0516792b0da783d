"""The language of a text, and whether a text tower reads it.

By py3langid (BSD; a naive Bayes classifier of 140 languages over byte n-grams, Lui and Baldwin 2012), offline, in
4.6 MB. Lingua is said to be better on single words and weighs 96 MB; what radiologists write in short is better not
judged at all, so the surer answers of the smaller one suffice.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.files.kept import kept_arrays

__all__ = ["languages_read", "unread_language"]

_DOUBTED = 0.005  # probability of all languages that are read; of MedPix' 595 histories and 1,829 captions 0 and 1 fall
# below it, of 20 German ones of 3 to 8 words 17 do; at 0.01 it is 12 captions and the same 17
_FEWEST = 2  # words; one alone (pneumothorax, Thorax) is of many languages

_TABLES = ("weights", "prior", "names", "steps", "rows", "features")
"""Of the classifier, in py3langid's order: of features by language, of languages; their codes; its automaton's next states, the
row of these that each state has, and the feature that each state ends."""

_ENGLISH = frozenset({"en"})
_MULTILINGUAL = frozenset(
    ("ar", "zh", "nl", "en", "fr", "de", "it", "ja", "ko", "pl", "pt", "ru", "es", "th", "tr")
)  # use.py names 16, Chinese in both of its scripts, which are one code

_NAMES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin", "nl": "Dutch",
    "no": "Norwegian", "nb": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese",
    "zxx": "in no language",
}  # fmt: skip


def languages_read(scripts: tuple[str, ...] | None) -> frozenset[str] | None:
    """ISO 639-1 codes of the languages that a text tower reads, by the scripts of its manifest's `reading`.

    The multilingual tower alone names several scripts (`use.SCRIPTS`), and reads 15 languages; one of the Latin script is
    English. None where the tower takes any script: of such a one nothing is known.
    """
    if scripts is None:
        return None
    return _MULTILINGUAL if len(scripts) > 1 else _ENGLISH


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """The classifier, read once: to unpack its tables takes half a second, so that they are kept unpacked (70 MB)."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    tables = kept_arrays("languages", MODEL_DIR / MODEL_FILE, _TABLES, lambda: _unpacked(MODEL_DIR / MODEL_FILE))
    weights, prior, names, steps, rows, features = (tables[name] for name in _TABLES)
    return LanguageIdentifier(
        weights, prior, names.tolist(), steps.data, features.tolist(), norm_probs=True, tk_row=rows.tolist()
    )


def _unpacked(file: Path) -> dict[str, NDArray[Any]]:
    from py3langid.modelio import load_model

    return dict(zip(_TABLES, map(np.asarray, load_model(file)), strict=True))


def unread_language(text: str, read: frozenset[str]) -> str | None:
    """The English name of a text's language if it is none of those that are read (ISO 639-1 codes).

    None where it may be one of them, or the text is too short to say.
    """
    if len(text.split()) < _FEWEST:
        return None
    ranked = _identifier().rank(text)
    if sum(probability for code, probability in ranked if code in read) >= _DOUBTED:
        return None
    code = ranked[0][0]
    return _NAMES.get(code, f"in the language {code!r}")
