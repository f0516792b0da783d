"""The values in a DICOM header that identify the patient, the staff, the place or the study.

What identifies is decided by DICOM PS3.15 table E.1-1 (edition 2026c), kept as data in ``confidentiality.json``: for each
attribute the action of its Basic Profile, and the kind of thing that it holds where that may stand in a report. An
attribute without a kind holds prose, a code or a number that names nobody.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

__all__ = ["Attribute", "Identifier", "identifiers_of", "profile"]

_BIRTH = Tag("PatientBirthDate")
_CODE = {"CodeValue": "number", "LongCodeValue": "number", "CodeMeaning": "place"}


@dataclass(frozen=True)
class Attribute:
    """One row of the table."""

    action: str  # X remove, Z empty, D replace, U replace a UID; several where that hangs on the kind of file
    kind: str = ""  # "name", "date", "time", "number", "place", "address", "contact", "phrase", "uid", "code" or none


@dataclass(frozen=True)
class Identifier:
    """One identifying value of a header."""

    kind: str  # as of an `Attribute`, or "birth": the patient's date of birth, beside its being a date
    value: str  # as it stands in the header


@cache
def profile() -> dict[BaseTag, Attribute]:
    """Table E.1-1 by tag."""
    rows = json.loads(files(__package__).joinpath("confidentiality.json").read_text(encoding="utf-8"))
    table = {}
    for name, row in rows.items():
        tag = tag_for_keyword(name)
        group_element = int(name.replace(",", ""), 16) if tag is None else tag
        table[Tag(group_element)] = Attribute(*row)
    return table


def _vr(header: Dataset, tag: BaseTag) -> str:
    """An element's VR, without converting its value."""
    vr = header.get_item(tag).VR
    if vr in (None, "UN") and not tag.is_private:
        try:
            return str(dictionary_VR(tag))
        except KeyError:
            return "UN"
    return str(vr)


def _values(value: object) -> Iterator[str]:
    for one in value if isinstance(value, MultiValue | list | tuple) else (value,):
        text = one.decode("ascii", "replace") if isinstance(one, bytes) else str(one or "")
        if text.strip("\0 "):
            yield text.strip("\0 ")


def _misread(value: object) -> Iterator[str]:
    """A value that pydicom read as Latin-1, for want of a character set, as UTF-8 and as GB18030 (what PACS write)."""
    raw = "\\".join(_values(value))
    if raw.isascii():
        return
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeError):
            yield from raw.encode("latin-1").decode(encoding).split("\\")


def _walk(header: Dataset, declared: bool = False) -> Iterator[Identifier]:
    """Args: declared: whether the data set around this one names a character set."""
    declared = declared or any(name not in ("", "ISO_IR 6") for name in _values(header.get("SpecificCharacterSet")))

    def read(value: object) -> Iterator[str]:
        yield from _values(value)
        if not declared:
            yield from _misread(value)

    for tag in header.keys():  # noqa: SIM118 (a data set iterates over its elements, converting all)
        vr = _vr(header, tag)
        about = profile().get(tag)
        if vr == "SQ":
            for item in header[tag].value or []:
                yield from _walk(item, declared)
                if about is not None and about.kind == "code":
                    for name, kind in _CODE.items():
                        yield from (Identifier(kind, value) for value in read(item.get(name)))
        elif vr == "PN":
            yield from (Identifier("name", value) for value in read(header[tag].value))
        elif about is not None and about.kind:
            yield from (Identifier(about.kind, value) for value in read(header[tag].value))
            if tag == _BIRTH:
                yield from (Identifier("birth", value) for value in read(header[tag].value))


def identifiers_of(header: Dataset) -> set[Identifier]:
    """Every identifying value of a header, of nested sequences and person names in private elements, too.

    Raises:
        Exception: pydicom cannot read one of them; then nothing is known of what else it names.
    """
    return set(_walk(header))
