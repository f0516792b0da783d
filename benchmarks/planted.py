"""Synthetic studies with made-up identifiers: headers with every attribute of DICOM PS3.15 table E.1-1 filled, and
reports that mention their values in the ways in which people write them.

Who there is, how a value is written and what else stands in the reports is in ``planted.json``, written for this: nothing
of medclip's own spellings is used. A mention carries the strings that must be gone afterwards; what says nothing alone
(Hospital, Street) is not among them.
"""

import io
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

HERE = Path(__file__).parent
DATA: dict[str, Any] = json.loads((HERE / "planted.json").read_text(encoding="utf-8"))
TABLE = HERE.parent / "medclip" / "cases" / "privacy" / "confidentiality.json"  # which attributes there are
POOLS, CARRIERS, SPELLINGS = DATA["pools"], DATA["carriers"], DATA["spellings"]
MAIN = {"PatientName", "ReferringPhysicianName", "OperatorsName", "PatientMotherBirthName", "PatientBirthName", "PatientID",
        "AccessionNumber", "DeviceSerialNumber", "PatientBirthDate", "StudyDate", "InstitutionName", "PatientAddress",
        "PatientTelephoneNumbers", "VerifyingObserverName"}  # fmt: skip
"""Attributes that every study mentions in all of their spellings; of the others, each in one spelling a study, in turn."""

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
_KEYBOARD = str.maketrans({"ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss", "Ö": "Oe", "Å": "A", "å": "a", "é": "e", "á": "a",
                           "í": "i", "ó": "o", "ł": "l", "Ł": "L", "ć": "c", "ř": "r", "è": "e", "ã": "a", "ø": "o", "Í": "I",
                           "ñ": "n", "ë": "e", "ç": "c", "æ": "ae"})  # fmt: skip
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
_TELLING = {
    "name": ("f", "g", "fp", "gp", "fl", "gl", "F", "G", "hf", "hg"),
    "number": ("digits", "head", "tail"),
    "contact": ("b",),
    "address": ("street", "STREET", "town", "TOWN", "code"),
    "place": ("town", "TOWN"),
    "age": ("n",),
}
"""Fields of a spelling that must be gone; of dates and UIDs, all that is written."""


@dataclass(frozen=True)
class Mention:
    """One identifier in a sentence."""

    kind: str
    language: str
    spelling: int  # which of the ways to write it
    sentence: str
    written: str  # the identifier in it
    secrets: tuple[str, ...]  # what must be gone
    attribute: str  # the keyword of the header's attribute; empty for what no header holds


@dataclass
class Study:
    """A header, and its reports line by line with the mention (or none) on each."""

    header: Dataset
    lines: list[str] = field(default_factory=list)
    mentions: list[Mention | None] = field(default_factory=list)


@dataclass(frozen=True)
class Value:
    """A value of a header, and its pieces for the spellings."""

    written: Any  # as the header has it
    kind: str = ""  # empty where no report would mention it
    pieces: dict[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ("en", "zh")


def _han(number: int) -> str:
    digits = "〇一二三四五六七八九"
    tens = ("" if number < 20 else digits[number // 10]) + "十" if number > 9 else ""
    return tens + (digits[number % 10] if number % 10 else "")


class _Maker:
    """Draws the values of one study."""

    def __init__(self, number: int, seed: int) -> None:
        self.rng = random.Random(f"{seed}/{number}")

    def pick(self, pool: str) -> str:
        return str(self.rng.choice(POOLS[pool]))

    def name(self) -> Value:
        if self.rng.random() < 0.35:
            (f, hf), (g, hg) = self.pick("han_family").split(), self.pick("han_given").split()
            return self._named(f"{f}^{g}={hf}^{hg}", f, g, ("en", "zh"), hf=hf, hg=hg)
        f, g = self.pick("family"), self.pick("given")
        middle = f"^{self.pick('given')}" if self.rng.random() < 0.3 else ""
        return self._named(f"{f}^{g}{middle}", f, g, ("en",))

    @staticmethod
    def _named(value: str, f: str, g: str, languages: tuple[str, ...], **han: str) -> Value:
        plain = {"fp": f.translate(_KEYBOARD), "gp": g.translate(_KEYBOARD)}
        cases = {"F": f.upper(), "G": g.upper(), "fl": f.lower(), "gl": g.lower(), "i": g[0]}
        login = plain["fp"].lower().replace("'", "")
        return Value(value, "name", {"f": f, "g": g, "login": login, **plain, **cases, **han}, languages)

    def date(self, *, clock: bool = False) -> Value:
        day = date(1921, 1, 1) + timedelta(days=self.rng.randrange(38000))
        y, m, d = day.year, day.month, day.day
        pieces = {"y": f"{y}", "yy": f"{y % 100:02d}", "m": f"{m}", "mm": f"{m:02d}", "d": f"{d}", "dd": f"{d:02d}"}
        pieces |= {"month": _MONTHS[m - 1], "mon": _MONTHS[m - 1][:3], "wide": f"{y}年{m}月{d}日".translate(_WIDE)}
        pieces |= {"hy": "".join("〇一二三四五六七八九"[int(c)] for c in f"{y}"), "hm": _han(m), "hd": _han(d)}
        return Value(f"{day:%Y%m%d}" + ("101500" if clock else ""), "date", pieces)

    def number(self) -> Value:
        letters, digits = self.rng.choice(("MRN", "ACC", "PX", "LAB", "ORD")), str(self.rng.randrange(10**5, 10**7))
        value = f"{letters}-{digits}"
        pieces = {"value": value, "low": value.lower(), "letters": letters, "digits": digits}
        return Value(value, "number", {**pieces, "head": digits[:3], "tail": digits[3:]})

    def contact(self) -> Value:
        cc, area, local = (str(self.rng.randrange(a, b)) for a, b in ((30, 99), (200, 999), (2 * 10**6, 10**7)))
        pieces = {"country": f"+{cc}", "cc": cc, "area": area, "a": local[:3], "b": local[3:]}
        return Value(f"+{cc} {area} {local}", "contact", pieces)

    def address(self) -> Value:
        street, town = self.pick("street"), self.pick("town")
        n, code = str(self.rng.randrange(1, 300)), str(self.rng.randrange(10000, 99999))
        pieces = {"n": n, "street": street, "STREET": street.upper(), "town": town, "TOWN": town.upper(), "code": code}
        return Value(f"{n} {street} Street, {town} {code}", "address", pieces, ("en",))

    def place(self) -> Value:
        han = "han_" if self.rng.random() < 0.3 else ""
        town = self.pick(f"{han}town")
        name = self.pick(f"{han}house").format(town)
        pieces = {"name": name, "NAME": name.upper(), "low": name.lower(), "town": town, "TOWN": town.upper()}
        return Value(name, "place", {**pieces, "spaced": name.replace(" ", "  ")}, ("zh",) if han else ("en",))


_PLACES = re.compile(
    r"^Institution(Name|alDepartmentName)$|Organization|SiteName|SponsorName|CoordinatingCenterName|CommitteeName|InstitutionResidence$"
)
_NUMBERS = re.compile(
    r"(ID|IDs|SerialNumber|Identifier|Identification|Locator|NumberImagingServiceRequest|SpecimenAccessionNumber)$"
)
_NO_NUMBER = re.compile(r"Issuer|ManufacturerDevice|NetworkID|ClinicalTrial")
_FILLER: dict[str, Any] = {"TM": "081500", "CS": "YES", "AS": "067Y", "DS": "1.5", "IS": "1", "US": 1, "FL": 1.0, "FD": 1.0,
                           "OB": b"ab", "UN": b"ab", "AE": "STATION", "UR": "urn:none"}  # fmt: skip


def _value(keyword: str, vr: str, make: _Maker) -> Value:
    if vr == "PN":
        return make.name()
    if vr in ("DA", "DT"):
        day = make.date(clock=vr == "DT")
        return Value(day.written) if keyword.endswith("Version") else day
    if vr == "UI":
        uid = str(generate_uid(entropy_srcs=[keyword, str(make.rng.random())]))
        return Value(uid, "uid", {"uid": uid})
    if "Telephone" in keyword or "PhoneNumber" in keyword:
        return make.contact()
    if keyword.endswith("Address"):
        return make.address()
    if vr in ("LO", "SH", "ST") and _PLACES.search(keyword):
        return make.place()
    number = keyword == "AccessionNumber" or (_NUMBERS.search(keyword) and not _NO_NUMBER.search(keyword))
    if vr in ("LO", "SH", "UT", "UC") and number:
        return make.number()
    return Value(_FILLER.get(vr, "routine"))


def _header(make: _Maker) -> tuple[FileDataset, dict[str, Value]]:
    """A header with every attribute of the table, a third of them in nested sequences, and what they hold."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(make.rng.random())])
    header, nested, outer = FileDataset("", {}, file_meta=meta, preamble=bytes(128)), Dataset(), Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    values = {}
    for place, keyword in enumerate(json.loads(TABLE.read_text(encoding="utf-8"))):
        tag = tag_for_keyword(keyword)
        if tag is None or tag >> 16 in (0, 2, 4) or dictionary_VR(tag) == "SQ":  # no part of a data set
            continue
        values[keyword] = value = _value(keyword, dictionary_VR(tag), make)
        setattr(header if place % 3 else nested, keyword, value.written)
    outer.ParticipantSequence = Items([nested])
    header.VerifyingObserverSequence = Items([outer])
    stream = io.BytesIO()
    header.save_as(stream, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(stream.getvalue())), values


def _mention(value: Value, language: str, way: int, attribute: str, make: _Maker) -> Mention:
    ways = SPELLINGS.get(value.kind) or SPELLINGS[f"{value.kind}/{language}"]
    pattern = ways[way % len(ways)]
    written = pattern.format(**value.pieces)
    fields = re.findall(r"\{(\w+)\}", pattern)
    secrets = tuple(value.pieces[name] for name in fields if name in _TELLING.get(value.kind, ())) or (written,)
    sentence = make.rng.choice(CARRIERS[language][value.kind]).format(written)
    return Mention(value.kind, language, way % len(ways), sentence, written, secrets, attribute)


def _beyond(make: _Maker) -> Iterator[Mention]:
    """What no header holds: other people, numbers, dates, ages."""
    pieces = {**make.number().pieces, **make.address().pieces}
    name = make.name().pieces
    for language, rows in DATA["beyond"].items():
        for way, (kind, pattern, telling) in enumerate(rows):
            known = {**pieces, **name}
            secret = telling[1:] if telling.startswith("=") else known[telling]
            sentence = pattern.format(**known)
            yield Mention(kind, language, way, sentence, sentence.rstrip(".。"), (secret,), "")
        for kind, ways in (("date", 12), ("age", len(SPELLINGS[f"age/{language}"]))):
            value = make.date() if kind == "date" else Value("", "age", {"n": str(make.rng.randrange(90, 105))})
            for way in range(ways):
                yield _mention(value, language, way, "", make)


def make_study(number: int, seed: int) -> Study:
    """The study of a number: its header, and reports of two sentences a line, at most one mention on each."""
    make = _Maker(number, seed)
    header, values = _header(make)
    study = Study(header)
    mentions: list[Mention] = []
    for at, (keyword, value) in enumerate(values.items()):
        for language in value.languages if value.kind else ():
            for way in range(12) if keyword in MAIN else (number + at,):
                mentions.append(_mention(value, language, way, keyword, make))
    mentions += _beyond(make)
    prose = DATA["prose"]
    for mention in mentions:
        clear = [
            s for s in prose[mention.language] if not any(secret.lower() in s.lower() for secret in mention.secrets)
        ]
        pair = [mention.sentence, make.rng.choice(clear)]
        make.rng.shuffle(pair)
        study.lines.append((" " if mention.language == "en" else "").join(pair))
        study.mentions.append(mention)
    for language, sentences in prose.items():
        for _ in range(40):
            study.lines.append((" " if language == "en" else "").join(make.rng.sample(sentences, 2)))
            study.mentions.append(None)
    return study
