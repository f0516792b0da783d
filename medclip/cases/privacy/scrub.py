"""Texts of a study without what identifies: what its headers name, and what looks like an identifier anyway."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from medclip.cases.privacy.dates import birth_years, days_finder, find_times
from medclip.cases.privacy.header import Identifier
from medclip.cases.privacy.names import Names
from medclip.cases.privacy.patterns import find_patterns
from medclip.cases.privacy.spellings import contact_patterns, number_patterns, phrase_patterns, place_patterns
from medclip.cases.privacy.text import Found, even

__all__ = ["OLD", "REMOVED", "Scrubber"]

REMOVED = "[removed]"
OLD = "[over 89]"  # instead of an age
_UID = re.compile(r"(?<![\d.])\d+(?:\.\d+)+")


class Scrubber:
    """Takes what identifies out of the texts of one study."""

    def __init__(self, identifiers: Iterable[Identifier] = ()) -> None:
        values: dict[str, set[str]] = defaultdict(set)
        for identifier in identifiers:
            values[identifier.kind].add(identifier.value)
        wordy = {value for value in values["number"] if not re.search(r"\d", value)}  # "CTSCANNER" is rather a place
        values["number"] |= {value for value in values["name"] if re.search(r"\d{4}", value)}
        self._names = Names(sorted(values["name"]))
        ways = {
            "number": number_patterns(values["number"]),
            "contact": contact_patterns(values["contact"]),
            "phrase": [f"(?i:{way})" for way in phrase_patterns(values["phrase"])],
            "place": place_patterns(values["place"] | wordy),
            "address": place_patterns(values["address"], address=True),
        }
        ways["number"] = [f"(?i:{way})" for way in ways["number"]]
        self._patterns = {kind: re.compile("|".join(found)) for kind, found in ways.items() if found}
        self._uids = values["uid"]
        self._days = days_finder(values["date"])
        if born := birth_years(values["birth"]):
            self._patterns["date"] = born
        self._times = find_times(values["time"] | {v[8:] for v in values["date"] if len(v) > 11})

    def find(self, text: str) -> Iterator[Found]:
        """Everything in the text that identifies; they may overlap."""
        plain = even(text)
        yield from find_patterns(plain)
        yield from self._names.find(plain)
        for found in _UID.finditer(plain):
            if found[0] in self._uids:
                yield Found("uid", *found.span())
        for kind, pattern in self._patterns.items():
            for found in pattern.finditer(plain):
                yield Found(kind, *found.span())
        if self._days:
            yield from self._days(plain)
        for found in self._times.finditer(plain) if self._times else ():
            yield Found("time", *found.span())

    def scrub(self, text: str) -> str:
        """The text with `REMOVED` where something identifies, and `OLD` for an age over 89."""
        parts, at = [], 0
        for start, end, mark in _merged(self.find(text)):
            parts += [text[at:start], mark]
            at = end
        return "".join([*parts, text[at:]])


def _merged(found: Iterable[Found]) -> Iterator[tuple[int, int, str]]:
    """Stretches to replace, in order, and what with; those that overlap are one."""
    start, end, ages = -1, -1, False
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.start < end:
            end, ages = max(end, one.end), ages and one.kind == "age"
            continue
        if end > 0:
            yield start, end, OLD if ages else REMOVED
        start, end, ages = one.start, one.end, one.kind == "age"
    if end > 0:
        yield start, end, OLD if ages else REMOVED
