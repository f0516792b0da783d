"""Dates: in any text, all that name a day or a month of a year; a header's own also without the year.

A year alone stays (45 CFR 164.514(b)(2)(i)(C)), except a year of birth.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date

from medclip.cases.privacy.text import END, START, Found

__all__ = ["birth_years", "date_of", "days_finder", "find_dates", "find_times"]

_MONTHS = (  # English, German, French, Spanish, Italian, Portuguese, Dutch; full names, then abbreviations
    ("january januar jänner janvier enero gennaio janeiro januari", "jan"),
    ("february februar feber février fevrier febrero febbraio fevereiro februari", "feb"),
    ("march märz maerz mars marzo março marco maart", "mar mär mrz"),
    ("april avril abril aprile", "apr avr abr"),
    ("may mai mayo maggio maio mei", ""),
    ("june juni juin junio giugno junho", "jun"),
    ("july juli juillet julio luglio julho", "jul"),
    ("august août aout agosto augustus", "aug ago"),
    ("september septembre septiembre settembre setembro", "sep sept"),
    ("october oktober octobre octubre ottobre outubro", "oct okt"),
    ("november novembre noviembre novembro", "nov"),
    ("december dezember décembre decembre diciembre dicembre dezembro", "dec dez dic"),
)
_FULL = "|".join(sorted({name for names, _ in _MONTHS for name in names.split()}, key=len, reverse=True))
_SHORT = "|".join(sorted({name for _, names in _MONTHS for name in names.split()}, key=len, reverse=True))
_MONTH = rf"(?:(?:{_FULL})|(?:{_SHORT})(?![^\W\d_])\.?)"  # 14FEB1931, but not "marked 12"
_CAPITAL = "|".join(  # without May
    [name.title() for names, _ in _MONTHS for name in names.split() if name != "may"]
    + [name.upper() for names, _ in _MONTHS for name in names.split() if len(name) > 3]
    + [rf"{name.title()}\b\.?" for _, names in _MONTHS for name in names.split()]
)
_D, _M = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_Y4 = r"(?:1[89]|20)\d\d"
_Y2 = r"\d\d"
_YEAR = rf"(?:{_Y4}|'\s?{_Y2}|{_Y2}(?![\d%]|\s?(?:mm|cm|ml|%|mg|weeks?|days?|hours?|years?)\b))"
_DAY = rf"{_D}(?:st|nd|rd|th|º|er|\.)?"
_OF = r"[\s,.\-/]{0,4}(?:of\s+|de\s+|di\s+)?"
_DAYS = rf"{_DAY}(?:\s?(?:-|/|to|and|until|bis|und)\s?{_DAY})?"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\.?,?\s+)?"
_TIME = r"(?:(?:T|,?\s+(?:at\s+|um\s+)?)\d{1,2}[:.]\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?|\s?(?:h|hrs?|Uhr)\b)?)?"
_UNIT = r"(?!\s?(?:mm|cm|ml|cc|mg|kg|%|x\s?\d|×|HU|Gy|mSv))"
_HAN_DIGIT, _HAN_NUMBER = "[〇○零一二三四五六七八九]", "[一二三四五六七八九十]{1,3}"

_SURE = "|".join(sorted({name for names, _ in _MONTHS for name in names.split() if name not in ("may", "mai", "mei")}))
_WORDS = (
    rf"{_WEEKDAY}{_DAYS}{_OF}{_MONTH}{_OF}{_YEAR}{_TIME}",  # 12 March 1921, 12-Mar-21
    rf"{_WEEKDAY}{_MONTH}{_OF}{_DAYS},?\s{{0,3}}(?:of\s+)?(?:{_Y4}|'\s?{_Y2}){_TIME}",  # March 12th, 1921
    rf"{_MONTH}{_OF}(?:{_Y4}|'\s?{_Y2})",  # March 1921
    rf"{_Y4}[\s,-]{{0,3}}{_MONTH}(?:[\s,-]{{0,3}}{_DAY})?{_TIME}",  # 1921 Mar 12
    rf"(?:{_SURE}|(?:{_SHORT})\b\.?)\s+(?:the\s+)?{_D}(?:st|nd|rd|th)",  # march 4th
    rf"may\s+the\s+{_D}(?:st|nd|rd|th)",
    rf"{_D}(?:st|nd|rd|th|er|\.)?\s?(?:of\s+)?(?:{_SURE})(?!\s+fractures?)",  # 3. mars
)
_FREE = (  # months that are no verbs, by their capital
    rf"{_WEEKDAY}{_DAYS}{_OF}(?:{_CAPITAL})",  # 12 March
    rf"{_WEEKDAY}{_D}(?:st|nd|rd|th)?(?:\s+of)?[\s-]+May",  # 12 May, but not "4. May consider"
    rf"{_WEEKDAY}(?:{_CAPITAL}|May)\s+{_D}(?:st|nd|rd|th)?{_UNIT}(?!\s?(?:weeks?|days?|hours?|years?|months?)\b)"
    r"(?![.,/:]?\d)",  # March 12
    rf"(?:{_CAPITAL})-{_D}",  # Mar-04
)
_DIGITS = (
    rf"{_Y4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:T?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d(?:\.\d+)?)?)?",  # 20240517
    rf"{_D}\.\s?(?:I{{1,3}}|IV|VI{{0,3}}|I?X|XI{{1,2}})\.\s?{_Y4}",  # 17.V.2024
    rf"(?:0?[1-9]|1[0-2])\s?[./-]\s?{_Y4}",  # 05/2024
    rf"{_Y4}[/-](?:0[1-9]|1[0-2])",  # 2024-05
    rf"(?:{_D}/0[1-9]|0[1-9]/\d\d)(?!\s?(?:mm|cm|%))",  # 5/08: no fraction has a nought before its number
    *(
        way.replace("~", re.escape(mark))
        for mark in "-/._"
        for way in (
            rf"{_Y4}\s?~\s?{_M}\s?~\s?{_D}",  # 2024-05-17
            rf"(?:{_D}\s?~\s?{_M}|{_M}\s?~\s?{_D})\s?~\s?{_Y4}",  # 17.05.2024, 5/17/2024
            rf"(?:{_D}~{_M}|{_M}~{_D})~{_Y2}{_UNIT}",  # 12.3.21, 03/12/21
            rf"{_Y2}~(?:0[1-9]|1[0-2])~(?:0[1-9]|[12]\d|3[01]){_UNIT}",  # 24-05-17
        )
    ),
)
_CJK = (
    rf"(?:{_Y4}|(?<!\d){_Y2}|{_HAN_DIGIT}{{4}})\s?[年년]\s?(?:\d{{1,2}}|{_HAN_NUMBER})\s?[月월]"
    rf"(?:份|\s?(?:\d{{1,2}}|{_HAN_NUMBER})\s?[日号號일](?:\s?\d{{1,2}}\s?[时時点點:시]\s?\d{{1,2}}(?:[:분分]\d{{0,2}}秒?)?)?)?",
    rf"(?<!\d){_M}\s?[月월]\s?{_D}\s?[日号號일]",
    rf"{_HAN_NUMBER}月{_HAN_NUMBER}[日号號]",
)
_BORN = re.compile(
    r"(?:\bborn(?:\s+in)?\s+|\bb\.\s?|\bgeb(?:oren|\.)?(?:\s+im\s+Jahr)?\s+|出生于\s?|生于\s?|出生年份[:：]?\s?)"
    r"((?:1[89]|20)\d\d)(?!\d)"
    r"|\b(?:DOB|YOB|(?:year|date)\s+of\s+birth|birth\s?(?:year|date)|Jahrgang)\b[\s:(]{0,3}((?:1[89]|20)\d\d)(?![\d./-]\d|\d)"
    r"|((?:1[89]|20)\d\d)(?=\s?年\s?出?生(?![理化活长殖]))",
    re.IGNORECASE,
)

# not a part of a longer number, of a level ("L3/4/5"), a ratio or a version
_ALONE, _ENDS = rf"{START}(?<!\d[.,/:-])(?<!\.)", rf"{END}(?![/:.,-]\d)"
_ANY = (
    re.compile(rf"{START}(?:{'|'.join(_WORDS)}){END}", re.IGNORECASE),
    re.compile(rf"{_ALONE}(?:{'|'.join(_DIGITS)}){_TIME}{_ENDS}", re.ASCII),
    re.compile("|".join(_CJK)),
    re.compile(rf"{START}(?:{'|'.join(_FREE)}){END}"),
)
_CUE = r"(?:on|dated?|since|until|till|vom|am|seit|bis|zum|del|born|birthday|birth|DOB|geb\.?)"
_WEAK_CUE = r"(?:of|from|to|with|prior|stud(?:y|ies)|exam)"  # a measurement may follow: 3.4, 3-4
_PAIR = re.compile(r"\d{1,2}\s?/\s?\d{1,4}")
_COUNTED = re.compile(  # what is no date in 3/4, by what stands before
    r"(?:grades?|scores?|deauville|bi-?rads|li-?rads|strength|power|gleason|stage|level|nodes?|images?|im|slices?|series|frames?|T[REI]"
    r"|visual acuity|vision|pain|murmur|levels?|[LTCS]\d)(?:\s+(?:of|to|from|is|was|score))?[\s:=(]*$",
    re.IGNORECASE,
)
_COUNTS = re.compile(  # and by what follows
    r"\s*(?:(?:positive|negative|lymph|axillary|regional|pelvic|sentinel|involved|resected)?\s*(?:nodes?|LNs?|cores?|fractions?)\b"
    r"|positive\b|\)\s*[pc]?M[01Xx]\b|(?:of|strength|power|normal|size|height|the|way|murmur|patients?|cases?|women|men|weeks?|days?"
    r"|hours?|months?|years?|thirds?|quadrants?|segments?|vertebra\w*|mm|cm|ms|ml)\b|%)",
    re.IGNORECASE,
)
_STOPS = (  # what follows a date that a weak cue stands before; "3/4 thickness" is none
    r"(?=\s*(?:$|[,.;:()\n]|(?:and|at|was|is|were|which|there|no|for|demonstrat\w+|show\w*|when|as|in|by|with|but|now|again|are|has"
    r"|have|without|films?|study|exam\w*|CT|MRI?|scan|radiograph\w*|today|she|he|the\s+(?:patient|lesion|mass|nodule))\b))"
)
_COMPARED = re.compile(
    r"\b(?:compar\w+|prior|previous|CT|MRI?|PET|films?|stud(?:y|ies)|exam\w*|x-?rays?|radiographs?|scans?|ultrasound|mammograms?)"
    rf"(?:\s+[a-z-]+){{0,2}}?\s+(?:of|from|to|dated|vom|on|with)\s+({_D}/{_M}|{_M}/{_D})(?![\d%]|[/.,-]\d){_STOPS}",
    re.IGNORECASE,
)
_FORMATS = re.compile(r"((?:1[89]|20)\d\d)[.-]?(\d\d)[.-]?(\d\d)")
_CLOCK = re.compile(r"([01]\d|2[0-3]):?([0-5]\d)(?::?([0-5]\d))?")


def date_of(value: str) -> date | None:
    """The day that a header's DA or DT names (PS3.5 6.2); None where it names none."""
    found = _FORMATS.match(value)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def find_dates(text: str) -> Iterator[Found]:
    """Every date in a text that is `even`, and years of birth."""
    for pattern in _ANY:
        for found in pattern.finditer(text):
            if not (_PAIR.fullmatch(found[0]) and _is_count(text, *found.span())):
                yield Found("date", *found.span())
    for found in _BORN.finditer(text):
        yield Found("date", *found.span(found.lastindex or 0))
    for found in _COMPARED.finditer(text):
        if not _is_count(text, *found.span(1)):
            yield Found("date", *found.span(1))


def _is_count(text: str, start: int, end: int) -> bool:
    """Whether two numbers with a stroke are a score, a share, an image's number or the like."""
    return bool(_COUNTED.search(text[max(0, start - 30) : start]) or _COUNTS.match(text[end : end + 30]))


def days_finder(values: Iterable[str]) -> Callable[[str], Iterator[Found]] | None:
    """What finds the day and month of a header's dates without a year: "on 5/17", "vom 17.5.", "(5/17)"."""
    days = {(day.month, day.day) for value in values if (day := date_of(value))}
    if not days:
        return None

    def days_with(mark: str) -> str:
        ways = [rf"0?{a}\s?{mark}\s?0?{b}" for month, day in sorted(days) for a, b in ((day, month), (month, day))]
        return rf"({'|'.join(ways)})(?![\d%]|[/.,-]\d)"

    any_, stroke = days_with("[/.-]"), days_with("/")
    pattern = re.compile(
        rf"(?i:{START}{_CUE})[\s:]{{1,3}}{any_}|(?i:{START}{_WEAK_CUE})[\s:]{{1,3}}{stroke}{_STOPS}|\({stroke}\)"
    )

    def find(text: str) -> Iterator[Found]:
        for found in pattern.finditer(text):
            span = found.span(found.lastindex or 0)
            if not _is_count(text, *span):
                yield Found("date", *span)

    return find


def birth_years(values: Iterable[str]) -> re.Pattern[str] | None:
    """What finds the year of a header's birth date by itself, in brackets or after a star."""
    years = sorted({str(day.year) for value in values if (day := date_of(value))})
    return re.compile(rf"(?:(?<=\()|(?<=\*)|(?<=\* ))(?:{'|'.join(years)})(?=\)|\b)") if years else None


def find_times(values: Iterable[str]) -> re.Pattern[str] | None:
    """What finds a header's times of day (TM) as 14:32, 14.32 Uhr, 2:32 pm, 1432 hrs or 14时32分."""
    ways = set()
    for value in values:
        if found := _CLOCK.match(value):
            hour, minute, second = int(found[1]), found[2], found[3] or "00"
            ways |= {
                rf"0?{hour}:{minute}(?::{second}(?:\.\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?",
                rf"0?{hour}[.h]{minute}\s?(?:Uhr|h|hrs?)\b",
                rf"0?{hour}{minute}\s?(?:h|hrs?|hours|Uhr)\b",
                rf"0?{hour % 12 or 12}[:.]{minute}(?::{second})?\s?[{'Pp' if hour > 11 else 'Aa'}]\.?[Mm]\b\.?",
                rf"0?{hour}\s?[时時点點시]\s?{minute}\s?[分분]?",
                rf"{found[1]}{minute}{second}(?:\.\d+)?",
            }
    return re.compile(rf"(?<![\d:.]|[A-Za-z])(?:{'|'.join(sorted(ways))})(?!\d|:\d)") if ways else None
