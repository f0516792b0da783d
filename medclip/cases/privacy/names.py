"""A person's name as a header writes it (DICOM PS3.5 6.2, value representation PN) → every way a report may write it.

Parts of a name in Latin, Greek or Cyrillic letters count by themselves, in any case, unless they are ordinary words or
have two letters: those count with a capital inside a sentence, after a title, or beside another part. Names in
ideographs, kana or hangul count wherever two characters of them stand; a single one, before a title.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from medclip.cases.privacy.text import END, START, Found, even
from medclip.cases.privacy.words import ABBREVIATIONS, ORDINARY, PARTICLES, PLACEHOLDERS, TITLES

__all__ = ["CJK", "CJK_TITLES", "name_finders"]

CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
CJK_TITLES = (
    "(?:副?主任)?(?:主治|住院|主管|实习)?(?:医生|医师|大夫|技师|护士长?|护师)|副?主任|副?教授|先生|女士|小姐|太太|老师|同志|医生|医師"
    "|さん|様|씨|님|氏|某"
)
_COMPOUND = (
    "欧阳",
    "歐陽",
    "司马",
    "司馬",
    "上官",
    "诸葛",
    "諸葛",
    "东方",
    "東方",
    "皇甫",
    "尉迟",
    "公孙",
    "慕容",
    "令狐",
    "夏侯",
)
_GERMAN = {"ae": "ä", "oe": "ö", "ue": "ü", "ss": "ß"}
_PLAIN = {"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
_BETWEEN = r"[\s,.'^_=-]"
_SPOKEN = r"(?:(?:Mrs|Mr|Ms|Miss|Dr|Prof|mrs|mr|ms|miss|dr|prof|doctor|Doctor|Herrn?|Frau|DR\.|MR\.|MRS\.)[.]?)"

Finder = Callable[[str], Iterator[Found]]


@cache
def _kin(letter: str) -> str:
    """A letter and what is made of it by accents, as the inside of a character class."""
    of_latin = (chr(code) for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)))
    kin = [
        c for c in of_latin if unicodedata.normalize("NFD", c.lower())[0] == letter or _PLAIN.get(c.lower()) == letter
    ]
    return re.escape(letter) + "".join(sorted({c.lower() for c in kin if len(c.lower()) == 1}))


def _spelled(part: str) -> str:
    """A part of a name with any accents, with ä as ae or a, with or without its apostrophes and hyphens."""
    folded = unicodedata.normalize("NFC", part.lower())
    spelled, at = "", 0
    while at < len(folded):
        letter, pair = folded[at], folded[at : at + 2]
        base = _PLAIN.get(letter) or unicodedata.normalize("NFD", letter)[0]
        at += 1
        if pair in _GERMAN:
            accented = _GERMAN[pair]
            one = {"ß": "ss?|ß"}.get(accented) or f"{_kin(pair[0])}"
            spelled += f"(?:{pair}|{one})" if accented == "ß" else f"(?:{pair}|[{one}]\u0308?)"
            at += 1
        elif letter in "äöü":
            spelled += f"(?:{base}e|[{_kin(base)}]\u0308?)"
        elif letter in "'-":
            spelled += f"{_BETWEEN}{{0,2}}"
        elif len(base) > 1:
            spelled += f"(?:{letter}|{base})"
        elif base.isascii() and base.isalpha():
            spelled += f"[{_kin(base)}][\u0300-\u036f]*"
        else:
            spelled += re.escape(letter) + "[\u0300-\u036f]*"
    return spelled


def _humps(part: str) -> list[str]:
    """XiaoMing → Xiao, Ming; McDonald and the like stay whole."""
    return [part] if part.startswith(("Mc", "Mac", "O'")) else re.findall(r"[^\W\d_](?:[^\W\d_A-Z]|'|-)*|\d+", part)


def _weak(part: str) -> bool:
    return len(part) < 3 or part.lower() in ORDINARY or part.lower() in PARTICLES


def _inside_sentence(text: str, start: int) -> bool:
    """Whether a capital there is no sentence's, heading's or list item's first."""
    return bool(re.search(r"(?:[a-z,]|\b(?:Mrs?|Ms|Dr|Prof)\.) $", text[max(0, start - 6) : start]))


class _Person:
    """A name in letters."""

    def __init__(self, parts: list[str]) -> None:
        whole = sorted(parts, key=len, reverse=True)
        one = "|".join(_spelled(part) for part in whole)
        firsts = "".join(sorted({part[0].upper() for part in parts}))
        item = rf"(?:(?i:{one})|[{firsts}](?![^\W_])\.?|(?<![^\W_])[{firsts}]\.?)"
        self._run = re.compile(rf"{START}{item}(?:{_BETWEEN}{{0,3}}{item})+{END}")
        self._part = re.compile(rf"(?i:{one})")
        strong = [part for part in whole if not _weak(part)]
        weak = [part for part in whole if _weak(part) and part.lower() not in PARTICLES]
        login = rf"|[{firsts.lower()}](?:{{0}})|(?:{{0}})[{firsts.lower()}]"
        spelled = "|".join(_spelled(part) for part in strong)
        long = "|".join(_spelled(part) for part in strong if len(part) > 4)
        logins = login.format(long) if long else ""
        self._strong = re.compile(rf"{START}(?:{spelled}{logins}){END}", re.IGNORECASE) if strong else None
        broken = [_broken(part) for part in strong if len(part) > 4]
        self._broken = re.compile(rf"{START}(?:{'|'.join(broken)}){END}") if broken else None
        self._weak = re.compile(rf"{START}(?i:{'|'.join(map(_spelled, weak))}){END}") if weak else None
        titled = "|".join(_spelled(part) for part in whole)
        self._titled = re.compile(rf"{START}{_SPOKEN} +((?i:{titled})){END}")

    def __call__(self, text: str) -> Iterator[Found]:
        for pattern in (self._strong, self._broken):
            for found in pattern.finditer(text) if pattern else ():
                yield Found("name", *found.span())
        for found in self._titled.finditer(text):
            yield Found("name", *found.span(1))
        for found in self._run.finditer(text):
            if self._is_name(found[0]):
                yield Found("name", *found.span())
        for found in self._weak.finditer(text) if self._weak else ():
            if self._stands_out(text, found[0], found.start()):
                yield Found("name", *found.span())

    def _is_name(self, run: str) -> bool:
        """Whether a run of parts and initials holds a part, and more than ordinary words in small letters."""
        whole = [part[0] for part in self._part.finditer(run) if len(part[0]) > 1]
        return any(not _weak(part) or part[0].isupper() for part in whole) or (
            len(whole) > 1 and any(part.lower() not in ORDINARY | PARTICLES for part in whole)
        )

    @staticmethod
    def _stands_out(text: str, word: str, start: int) -> bool:
        if not word[0].isupper():
            return False
        if word.isupper() and len(word) > 1:
            return word.lower() not in ABBREVIATIONS | ORDINARY
        return word.lower() not in ORDINARY or _inside_sentence(text, start)


def _broken(part: str) -> str:
    """A part of a name in two: Xiaoming as Xiao Ming or Xiao-ming, a word divided at a line's end."""
    letters = [f"(?i:{_spelled(letter)})" for letter in part]
    ways = []
    for at in range(2, len(part) - 1):
        head, tail = "".join(letters[:at]), "".join(letters[at:])
        ways.append(rf"{head}(?:-\n?| (?=[A-Z])){tail}")
    return rf"(?=[A-Z])(?:{'|'.join(ways)})"


def _ideographic(group: str) -> Finder | None:
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
        ways.append(rf"{family}(?=\s?(?:{CJK_TITLES}))" if family not in "主" else r"(?!)")
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
    for word in re.split(r"[\s,;./()\"_]+", named):
        for part in (word, *word.split("-"), *(_humps(word) if not word.isupper() else ())):
            part = part.strip("'-")
            lower = part.lower()
            titled = lower in TITLES and lower != family
            if len(part) > 1 and not part.isdigit() and not titled and lower not in PLACEHOLDERS:
                parts[part] = None
    return [part for part in parts if not re.search(f"[{CJK}]", part)]


def name_finders(names: Iterable[str]) -> Iterator[Finder]:
    """What finds each of some names (values of PN, up to three groups of components each) in a text that is `even`."""
    seen: set[tuple[str, ...]] = set()
    for name in names:
        for group in even(name).split("="):
            if finder := _ideographic(group):
                yield finder
            parts = _parts(group)
            if parts and tuple(parts) not in seen:
                seen.add(tuple(parts))
                yield _Person(parts)
