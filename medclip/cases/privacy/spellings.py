"""Numbers, places, addresses and phrases of a header → patterns of every way that a report may write them."""

import re
from collections.abc import Collection, Iterable

from medclip.cases.privacy.text import CJK, END, START, even
from medclip.cases.privacy.words import ABBREVIATIONS, EPONYMS, GENERIC, NAMED_AFTER, ORDINARY, PLACEHOLDERS

__all__ = ["contact_patterns", "number_patterns", "phrase_patterns", "place_patterns"]

_LEAST = 4  # letters and digits of an identifier that is taken out wherever it stands
_TELLING = 5  # digits of a part of a number that tells whose it is
_GAP = r"[\s\-_./:#]{0,3}"
_NOT_MEASURED = r"(?!\s?(?:mm|cm|ml|cc|mg|ms|kg|g|HU|Hz|%|x\s?\d|×)(?![a-z]))"
_CJK_GENERIC = (
    "医院|卫生院|诊所|大学|学院|附属|第[一二三四五六七八九十]+|人民|中心|放射科|影像科|医学|中医|妇幼|保健院|儿童|科室?|病区|病房"
    "|医療センター|病院|병원"
)
_CJK_REGION = "特别行政区|自治区|省|市|区|县|镇|乡|村|路|街道?|大道|巷|弄|号楼?|栋|单元|室"


def _digits(run: str) -> str:
    """Digits, in groups of any size if they are many, with or without leading zeros."""
    bare = run.lstrip("0") or run[-1]
    return "0*" + (r"[-. ]?".join(bare) if len(run) > 5 else bare)


def _number(value: str) -> list[str]:
    pieces = re.findall(r"\d+|[^\W\d_]+", even(value))
    size = sum(map(len, pieces))
    runs = [piece for piece in pieces if piece.isdigit()]
    if size < _LEAST or not runs:
        return []
    ways = [_GAP.join(_digits(piece) if piece.isdigit() else re.escape(piece) for piece in pieces)]
    digits = "".join(runs)
    if len(pieces) > len(runs) and len(digits) >= _LEAST and not re.fullmatch(r"(?:19|20)\d\d", digits):
        ways.append(_GAP.join(map(_digits, runs)))  # without its letters
    telling = [run for run in runs if len(run) >= _TELLING and len(run) < size]
    return ways + [_digits(run) for run in telling]


def number_patterns(values: Iterable[str]) -> list[str]:
    """Numbers with other separators, without their letters, or in part where that part has five digits or more."""
    ways = {way for value in values for way in _number(value)}
    return [rf"{START}(?<!\d\.)(?:{way}){END}(?!\.\d){_NOT_MEASURED}" for way in sorted(ways)]


def contact_patterns(values: Iterable[str]) -> list[str]:
    """Phone numbers by their last seven digits or more, in groups of any size; addresses on the net as they are."""
    ways: set[str] = set()
    for value in values:
        for one in re.split(r"[;,\n\\]|(?:tel|fax|mailto|sip):", even(value), flags=re.IGNORECASE):
            digits = re.sub(r"\D", "", one)
            if "@" in one or "//" in one:
                ways.add(rf"{START}{re.escape(one.strip())}{END}")
            elif len(digits) >= 5:
                core = r"[\s()/.-]{0,3}".join(digits[-7:])
                ways.add(rf"(?<!\d)(?:[+(]?\d[\d\s()/.-]{{0,14}})?{core}(?!\d)")
    return sorted(ways)


def phrase_patterns(values: Iterable[str]) -> list[str]:
    """A phrase as a whole."""
    ways = set()
    for value in values:
        words = re.findall(r"[\w']+", even(value))
        if sum(map(len, words)) >= _LEAST and not all(word.lower() in PLACEHOLDERS | {"other"} for word in words):
            ways.add(r"[\s,.\-_/]{1,3}".join(map(re.escape, words)))
    return [rf"{START}(?:{way}){END}" for way in sorted(ways)]


def _telling_words(value: str) -> set[str]:
    """The words of a place's name that tell it from others."""
    words = re.findall(rf"[^\W\d_{CJK}][^\W\d_{CJK}']*", even(value))
    common = GENERIC | ORDINARY | PLACEHOLDERS | ABBREVIATIONS
    return {word for word in words if len(word) >= _LEAST and word.lower() not in common}


def _acronym(value: str) -> str | None:
    words = [
        word for word in re.findall(r"[^\W\d_]+", even(value)) if word.lower() not in ("of", "the", "and", "for", "der")
    ]
    letters = "".join(word[0] for word in words)
    fits = 3 <= len(letters) <= 6 and letters.isupper() and letters.isascii()
    return letters if fits and letters.lower() not in ABBREVIATIONS else None


def _cjk_place(value: str) -> set[str]:
    """A place in ideographs whole, its telling parts, and their ends before the word for what it is."""
    ways: set[str] = set()
    for run in re.findall(rf"[{CJK}\d]{{3,}}", even(value)):
        if not re.search(f"[{CJK}]", run):
            continue
        ways.add(re.escape(run))
        for part in re.split(f"{_CJK_GENERIC}|{_CJK_REGION}", run):
            if len(part) > 1 and not part.isdigit():
                ways.add(part)
                if len(part) > 3:
                    ways |= {part[:2], part[-2:]}
    return ways


def place_patterns(values: Collection[str], *, address: bool = False) -> list[str]:
    """A place's name whole, each line and telling word of it, and its initials; an address without the initials.

    The words and initials are to be matched in their own case or with a capital: see the flags in the patterns.
    """
    whole, words, initials, cjk = set(), set(), set(), set()
    common = GENERIC | PLACEHOLDERS | ABBREVIATIONS
    for value in values:
        lines = {even(value), *re.split(r"[\n\r,;\\^]+", even(value))}
        lines |= {re.sub(r"^\s*\d+\w?\s|\s\d+\w?$", "", line) for line in lines}  # without the house's number
        for line in lines:
            parts = re.findall(r"[^\W_]+", line)
            telling = any(not part.isdigit() and part.lower() not in common for part in parts)
            if sum(map(len, parts)) >= _LEAST and telling and (len(parts) > 1 or any(map(str.isdigit, line))):
                whole.add(r"[\s,.\-_/']{1,3}".join(map(re.escape, parts)))
        words |= _telling_words(value)
        cjk |= _cjk_place(value)
        if not address and (acronym := _acronym(value)):
            initials.add(acronym)
    ways = [rf"(?i:{START}(?:{way}){END})" for way in sorted(whole, key=len, reverse=True)]
    codes = sorted({code for value in values for code in re.findall(r"(?<!\d)\d{4,6}(?!\d)", value)}) if address else []
    code = f"(?:{'|'.join(codes)})" if codes else "(?!)"
    ways += [
        rf"{START}(?:{code}[\s,]+)?(?:{word.capitalize()}|{word.upper()}|{re.escape(word)}){END}(?:[\s,]+{code}{END})?"
        + (f"(?!{NAMED_AFTER})" if word.lower() in EPONYMS else "")
        for word in sorted(words)
    ]
    ways += [rf"{START}{code}{END}{_NOT_MEASURED}" for code in codes if len(code) >= _TELLING]
    ways += [rf"{START}{letters}{END}" for letters in sorted(initials)]
    return ways + [rf"(?:{way})" for way in sorted(cjk, key=len, reverse=True)]
