"""Which words of a text say a diagnosis: its own words in any inflection, its head words, its initials.

Two words are the same if their stems are. A stem is the Snowball stem (Porter 2, for the regular English forms) without
the endings by which medical English turns a Greek or Latin noun into its plural, its adjective and its participle
(thrombosis, thrombi, thrombotic, thrombosed), which no English stemmer knows. A lemmatizer needs a model that is not on
PyPI under its maker's name, and knows few of these words.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from snowballstemmer import stemmer

from medclip.cases.plain_words import ANATOMY, ENDINGS, EVERYDAY, LINKS, OTHER_ACRONYMS

__all__ = ["DiseaseWords", "Span", "is_plain", "phrase_spans", "words_of_name"]

_SNOWBALL = stemmer("english")
_JOINING = " \t\r\n-"  # what may stand between the words of one phrase
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")

_SHORTEST_ROOT = 4  # letters that must be left of a stem when an ending is cut: "lipoma" is lip-, "stenosis" sten-
_SHORTEST_HEAD = 5  # letters of a word that another ends in: edema in lymphedema; at four, "toma" would be one
_SHORTEST_PART = 6  # letters of a root that another begins with: appendic- in appendicolith; at four, cyst- in cystine
_SHORTEST_WORD = 3  # letters; shorter words of a diagnosis (L, IV) name nothing, unless they are capitals (PE)
_ACRONYM = re.compile(r"[A-Z]{2,6}")

_BRITISH = {"aemi": "emi", "haem": "hem", "oed": "ed", "oes": "es", "aeco": "eco", "tumour": "tumor", "rhoea": "rhea"}
_CHANGED = (("plast", "plas"), ("lyt", "lys"), ("tret", "tres"), ("ectat", "ectas"), ("clud", "clus"), ("thorac", "thorax"),
            ("aric", "arix"), ("enc", "ent"), ("anc", "ant"), ("matric", "matrix"))  # fmt: skip
_IRREGULAR = {"torn": "tear", "tore": "tear", "bled": "bleed", "broke": "break", "broken": "break"}


@dataclass(frozen=True)
class Span:
    """Part of a text."""

    start: int
    end: int


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int


def _tokens(text: str) -> list[_Token]:
    return [_Token(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=50_000)
def _english(word: str) -> str:
    """The Snowball stem, of American spelling."""
    word = re.sub(r"['’]s?$", "", word.lower())
    for british, american in _BRITISH.items():
        word = word.replace(british, american)
    return str(_SNOWBALL.stemWord(_IRREGULAR.get(word, word)))


@lru_cache(maxsize=50_000)
def _root(word: str) -> str:
    """The stem without its Greek or Latin endings."""
    root = _english(word)
    for changed, plain in _CHANGED:
        if root.endswith(changed):
            root = root.removesuffix(changed) + plain
    while cut := next((e for e in ENDINGS if root.endswith(e) and len(root) - len(e) >= _SHORTEST_ROOT), None):
        root = root.removesuffix(cut)
    return root


_PLAIN_FORMS = ANATOMY | EVERYDAY
_PLAIN = frozenset(_english(word) for word in _PLAIN_FORMS)


def is_plain(word: str) -> bool:
    """Whether a word names no disease by itself: a number, anatomy, or an everyday word."""
    return word.isdigit() or word.lower() in _PLAIN_FORMS or _english(word) in _PLAIN


def words_of_name(name: str) -> list[str]:
    """The words of a diagnosis or a class, in its order."""
    return [token.text for token in _tokens(name)]


def _same(one: str, other: str) -> bool:
    shorter, longer = sorted((_root(one), _root(other)), key=len)
    begins = len(shorter) >= _SHORTEST_PART and longer.startswith(shorter)
    return _english(one) == _english(other) or shorter == longer or begins


def _is_head(one: str, other: str) -> bool:
    """Whether one of two words ends in the other: carcinoma, adenocarcinoma."""
    for form in (_english, str.lower):
        shorter, longer = sorted((form(one), form(other)), key=len)
        if len(shorter) >= _SHORTEST_HEAD and longer.endswith(shorter):
            return True
    return False


def phrase_spans(text: str, name: str) -> Iterator[Span]:
    """Where a text says a whole name, each word in any English inflection, with but white space or hyphens between."""
    wanted = words_of_name(name)
    tokens = _tokens(text)
    for at in range(len(tokens) - len(wanted) + 1):
        row = tokens[at : at + len(wanted)]
        joined = all(not text[a.end : b.start].strip(_JOINING) for a, b in pairwise(row))
        if (
            wanted
            and joined
            and all(_english(token.text) == _english(word) for token, word in zip(row, wanted, strict=True))
        ):
            yield Span(row[0].start, row[-1].end)


class DiseaseWords:
    """The words that say one diagnosis."""

    def __init__(self, diagnosis: str) -> None:
        words = words_of_name(diagnosis)
        # a diagnosis in capitals throughout has no acronym that could be told from a word
        shouted = diagnosis.upper() == diagnosis
        self._acronyms = {word for word in words if _ACRONYM.fullmatch(word) and not shouted and not is_plain(word)}
        self._acronyms |= _initials(words)
        self._acronyms -= OTHER_ACRONYMS
        named = [word for word in words if len(word) >= _SHORTEST_WORD and word not in self._acronyms]
        self._naming = [word for word in dict.fromkeys(named) if not is_plain(word)]
        self._plain = frozenset(_english(word) for word in words if is_plain(word))
        self._diagnosis = diagnosis

    @lru_cache(maxsize=5_000)  # noqa: B019 - an object lives as long as one case is looked at
    def names(self, word: str) -> bool:
        """Whether a word of a text names the disease by itself."""
        if word in self._acronyms or (word.endswith("s") and word[:-1] in self._acronyms):
            return True
        if len(word) < _SHORTEST_WORD or is_plain(word):
            return False
        return any(_same(word, own) or _is_head(word, own) for own in self._naming)

    def spans(self, text: str) -> list[Span]:
        """What of a text says the diagnosis.

        A word that names the disease, with the diagnosis' plain words directly beside it; where no word of the
        diagnosis names one ("adrenal mass"), its whole phrase.
        """
        tokens = _tokens(text)
        naming = [self.names(token.text) for token in tokens]
        taken = list(naming)
        for order in (range(1, len(tokens)), range(len(tokens) - 2, -1, -1)):
            step = 1 if order.step > 0 else -1
            for at in order:
                beside = tokens[at - step], tokens[at]
                first, second = beside if step > 0 else beside[::-1]
                joined = not text[first.end : second.start].strip(_JOINING)
                if (
                    taken[at - step]
                    and joined
                    and _english(tokens[at].text) in self._plain
                    and not _is_link(tokens[at])
                ):
                    taken[at] = True
        found: list[Span] = []
        for token, one in zip(tokens, taken, strict=True):
            if one and found and not text[found[-1].end : token.start].strip(_JOINING):
                found[-1] = Span(found[-1].start, token.end)
            elif one:
                found.append(Span(token.start, token.end))
        if not self._naming:
            found += phrase_spans(text, self._diagnosis)
        return found


def _is_link(token: _Token) -> bool:
    """Whether a word only joins others (of, the): masking it says nothing less."""
    return len(token.text) < _SHORTEST_WORD or token.text.lower() in LINKS


def _initials(words: Sequence[str]) -> set[str]:
    """The initials of a name of two to six words that are none of `OTHER_ACRONYMS`: pulmonary embolism, PE."""
    letters = "".join(word[0].upper() for word in words if word.isalpha() and not _is_link(_Token(word, 0, 0)))
    return {letters} if _ACRONYM.fullmatch(letters) else set()
