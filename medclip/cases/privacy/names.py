"""A person's name as a header writes it (DICOM PS3.5 6.2, value representation PN) → every way a report may write it.

Parts of a name in letters count by themselves, in any case, with or without accents, unless they are ordinary words or
have two letters: those count with a capital inside a sentence, after a title, or beside another part. Names in
ideographs, kana or hangul count wherever two characters of them stand; a single one, before a title.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from medclip.cases.privacy.text import CJK, Found, even
from medclip.cases.privacy.words import (
    ABBREVIATIONS,
    EPONYMS,
    NAMED_AFTER,
    ORDINARY,
    PARTICLES,
    PLACEHOLDERS,
    TITLES,
)

__all__ = ["CJK_TITLES", "Names"]

CJK_TITLES = (
    "(?:副?主任)?(?:主治|住院|主管|实习)?(?:医生|医师|大夫|技师|护士长?|护师)|副?主任|副?教授|先生|女士|小姐|太太|老师|医師"
    "|さん|様|씨|님"
)
_COMPOUND = tuple(re.findall("..", "欧阳歐陽司马司馬上官诸葛諸葛东方東方皇甫尉迟公孙慕容令狐"))  # family names of two
_PLAIN = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "'": None}
)
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "'": None})
_NORDIC = str.maketrans({"å": "aa"})
_LETTER = rf"[^\W_{CJK}][\u0300-\u036f]*"
_WORD = re.compile(rf"(?:{_LETTER})+(?:'(?:{_LETTER})+)*")
_GAP = re.compile(r"[\s,.'^_=-]{0,3}")
_TITLED = re.compile(
    r"\b(?:(?:[Mm]rs?|[Mm]s|[Mm]iss|[Dd]ra?|Sra|[Pp]rof|[Dd]octor|Herrn?|Frau|Sister|Schwester|DR|PROF|MISS)\.?|MRS?\.|MS\.)\s+$"
)
_IN_SENTENCE = re.compile(r"(?:[a-z,]|\b(?:Mrs?|Ms|Dr|Prof)\.) $")
_RUN = 6  # words of a name on either side of one of its parts
_LONG = 5  # letters of a part that counts with an initial glued to it ("mhuber"), or in two ("Xiao Ming")


def _keys(word: str) -> set[str]:
    """What a word is compared by: without accents, and with ä as ae."""
    low = unicodedata.normalize("NFC", word.lower())
    low = low.removesuffix("'s") if len(low) > 3 else low
    german = low.translate(_GERMAN)
    ways = (unicodedata.normalize("NFD", one) for one in (low.translate(_PLAIN), german, german.translate(_NORDIC)))
    return {"".join(c for c in one if not unicodedata.combining(c)) for one in ways}


def _header_keys(part: str) -> set[str]:
    """As `_keys`; a part typed without umlauts stands for that with them, too."""
    keys = _keys(part)
    return keys | {bare for key in keys if len(bare := re.sub(r"([ao])e|(u)e(?!r?$)", r"\1\2", key)) > 3}


def _humps(part: str) -> list[str]:
    """XiaoMing → Xiao, Ming; McDonald and the like stay whole."""
    if part.isupper() or part.startswith(("Mc", "Mac")):
        return [part]
    return re.findall(r"[^\W\d_](?:[^\W\d_A-Z]|(?<=')[A-Z]|'|-)*", part)


def _weak(word: str) -> bool:
    return len(word) < 3 or word.lower() in ORDINARY | PARTICLES or (word.isupper() and word.lower() in ABBREVIATIONS)


@dataclass
class _Word:
    """A word of a text."""

    text: str
    start: int
    end: int

    @cached_property
    def keys(self) -> set[str]:
        return _keys(self.text)


@dataclass(frozen=True)
class _Person:
    """A name in letters: its parts and their initials."""

    parts: frozenset[str]
    initials: frozenset[str]

    @classmethod
    def of(cls, parts: Sequence[str]) -> "_Person":
        keys = frozenset(key for part in parts for key in _header_keys(part))
        return cls(keys, frozenset(key[0] for key in keys))

    def has(self, word: _Word) -> bool:
        return not self.parts.isdisjoint(word.keys)

    def begins(self, word: _Word) -> bool:
        """Whether the word is an initial of the name, or two or three of them (XM for Xiao Ming)."""
        short = len(word.text) < 4 and word.text.isupper()
        return short and all(not self.initials.isdisjoint(_keys(letter)) for letter in word.text)

    def glued(self) -> Iterator[str]:
        """Parts written as one word, and a long part with an initial: "mariahuber", "mhuber"."""
        for one in self.parts:
            yield from (one + other for other in self.parts if one != other and len(one) > 2 and len(other) > 2)
            if len(one) >= _LONG and one not in ORDINARY:
                yield from (way for letter in self.initials for way in (letter + one, one + letter))


def _ideographic(group: str) -> Callable[[str], Iterator[Found]] | None:
    """A name in ideographs, kana or hangul: the whole of it, a given name of two, the family name before a title."""
    family, _, given = group.partition("^")
    family, given = (re.sub(rf"[^{CJK}]", "", part) for part in (family, given))
    if not family + given:
        return None
    if not given and len(family) > 2 and not re.search("[\u3040-\u30ff]", family):
        size = 2 if family.startswith(_COMPOUND) and len(family) > 2 else 1
        family, given = family[:size], family[size:]
    ways = [r"[\s·・,，^]{0,2}".join(part for part in (family, given) if part)]
    ways += [part for part in (family, given) if len(part) > 1]
    ways = [way for way in ways if len(way) > 1]
    if len(family) == 1:
        ways.append(rf"{family}(?=\s?(?:{CJK_TITLES}|氏|某|同志))")
        ways.append(rf"(?<=医生[:：]){family}|(?<=医师[:：]){family}")
    pattern = re.compile("|".join(ways))

    def find(text: str) -> Iterator[Found]:
        for found in pattern.finditer(text):
            before = text[max(0, found.start() - 1) : found.start()]
            if len(found[0]) > 1 or not re.match("[奇杰主责副]", before):
                yield Found("name", *found.span())

    return find


def _parts(group: str) -> list[str]:
    """The parts of one group of components that are names in letters; prefix and suffix are not."""
    named = " ".join(group.split("^")[:3]) if "^" in group else group
    family = group.partition("^")[0].strip().lower() if "^" in group else ""
    parts: dict[str, None] = {}
    joined = re.sub(r"[\s'-]", "", family)  # Al-Ghamdi, Van den Berg: Alghamdi, Vandenberg
    for word in [*re.split(r"[\s,;./()\"_]+", named), *([joined] if joined != family else [])]:
        for part in (word, *word.split("-"), *_humps(word)):
            part = part.strip("'-")
            lower = part.lower()
            titled = lower in TITLES and lower != family
            if len(part) > 1 and not part.isdigit() and not titled and lower not in PLACEHOLDERS:
                parts[part] = None
    return [part for part in parts if not re.search(f"[{CJK}]", part)]


class Names:
    """Finds names (values of PN, up to three groups of components each) in a text that is `even`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._ideographic: list[Callable[[str], Iterator[Found]]] = []
        people: set[_Person] = set()
        for name in names:
            for group in even(name).split("="):
                if finder := _ideographic(group):
                    self._ideographic.append(finder)
                if parts := _parts(group):
                    people.add(_Person.of(parts))
        self._people: dict[str, list[_Person]] = defaultdict(list)
        for person in people:
            for part in person.parts:
                self._people[part].append(person)
        self._glued = {way for person in people for way in person.glued()}

    def find(self, text: str) -> Iterator[Found]:
        for finder in self._ideographic:
            yield from finder(text)
        if not self._people:
            return
        words = [_Word(found[0], *found.span()) for found in _WORD.finditer(text)]
        for at, word in enumerate(words):
            people = {id(one): one for key in word.keys for one in self._people.get(key, ())}
            for person in people.values():
                yield from self._named(text, words, at, person)
            if not people and (not self._glued.isdisjoint(word.keys) or self._in_two(text, words, at)):
                yield Found("name", word.start, words[at + 1].end if self._in_two(text, words, at) else word.end)

    def _named(self, text: str, words: Sequence[_Word], at: int, person: _Person) -> Iterator[Found]:
        """The name around a word that is a part of it."""
        first = last = at
        least, most = max(0, at - _RUN), min(len(words) - 1, at + _RUN)
        while first > least and self._goes_on(text, words[first - 1], words[first], person, words[first - 1]):
            first -= 1
        while last < most and self._goes_on(text, words[last], words[last + 1], person, words[last + 1]):
            last += 1
        if _is_eponym(text, words[first : last + 1], person):
            return
        if last > first and _is_name([word for word in words[first : last + 1] if person.has(word)]):
            dot = text[words[last].end : words[last].end + 1] == "." and len(words[last].text) == 1
            yield Found("name", words[first].start, words[last].end + dot)
        elif not _weak(words[at].text) or _stands_out(text, words[at]):
            yield Found("name", words[at].start, words[at].end)

    @staticmethod
    def _goes_on(text: str, one: _Word, other: _Word, person: _Person, next_: _Word) -> bool:
        """Whether the next of two neighbouring words belongs to the name."""
        return bool(_GAP.fullmatch(text[one.end : other.start])) and (person.has(next_) or person.begins(next_))

    def _in_two(self, text: str, words: Sequence[_Word], at: int) -> bool:
        """Whether a word and the next are one part of a name: Xiao Ming, Xiao-ming, O Brien, what a line's end divides."""
        if at + 1 == len(words):
            return False
        one, other = words[at], words[at + 1]
        gap = text[one.end : other.start]
        fits = gap in ("-", "-\n") or (gap in (" ", "'") and other.text[0].isupper())
        if not fits or not one.text[0].isupper():
            return False
        joined = {a + b for a in one.keys for b in other.keys}
        return any(key in self._people and len(key) >= _LONG and key not in ORDINARY for key in joined)


def _is_name(parts: Sequence[_Word]) -> bool:
    """Whether the parts in a run of parts and initials are a name, not ordinary words in small letters."""
    if any(not _weak(part.text) or part.text[0].isupper() for part in parts):
        return True
    real = {part.text.lower() for part in parts} - PARTICLES
    return len(real) > 1 and (any(one not in ORDINARY for one in real) or all(len(one) > 2 for one in real))


def _is_eponym(text: str, words: Sequence[_Word], person: _Person) -> bool:
    """Whether a part of a name, with the article that could be an initial, stands in a term like "a Baker cyst"."""
    part = words[-1]
    alone = len(words) == 1 or (len(words) == 2 and words[0].text == "A" and text[words[0].end] != ".")
    if not alone or part.text.lower().removesuffix("'s") not in EPONYMS or not person.has(part):
        return False
    titled = _TITLED.search(text[max(0, words[0].start - 12) : words[0].start])
    return titled is None and re.match(NAMED_AFTER, text[part.end : part.end + 60]) is not None


def _stands_out(text: str, word: _Word) -> bool:
    """Whether an ordinary or short word is a name by its capital, or by the title before it."""
    before, low = text[max(0, word.start - 12) : word.start], word.text.lower()
    if _TITLED.search(before):
        return low not in PARTICLES
    if not word.text[0].isupper() or low in PARTICLES:
        return False
    if word.text.isupper():
        return low not in ABBREVIATIONS | ORDINARY
    return low not in ORDINARY or bool(_IN_SENTENCE.search(before))
