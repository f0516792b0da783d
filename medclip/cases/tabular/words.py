"""What people write in the cells of a table → our words: sex, modality, split, age.

A word that is not known is an error that names those that are; nothing is guessed. ``validation`` is no word for a split:
it means the development set to some and the test set to others.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from medclip.cases.case import OLDEST_AGE, Modality, Sex, Split
from medclip.cases.tabular.numerals import NUMBER, Numerals
from medclip.errors import CaseError

__all__ = ["DICOM_MODALITIES", "age", "modality", "sex", "split"]

_SEX: dict[Sex, tuple[str, ...]] = {
    "female": ("f", "female", "w", "weiblich", "女"),
    "male": ("m", "male", "männlich", "男"),
    "other": ("o", "other", "d", "divers"),
}
_SPLIT: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "dev": ("dev", "development"),
    "test": ("test", "testing"),
}

DICOM_MODALITIES: dict[str, Modality] = {
    **dict.fromkeys(("CR", "DX", "RG", "RF", "XA", "MG", "PX", "IO"), "CR"),
    "CT": "CT",
    "MR": "MR",
    "US": "US",
}
"""Codes of DICOM (PS3.3 C.7.3.1.1.1) → ours; every other code is OT."""

_MODALITY: dict[Modality, tuple[str, ...]] = {
    "CR": ("xr", "x-ray", "xray", "radiograph", "röntgen"),
    "CT": (),
    "MR": ("mri", "mrt"),
    "US": ("ultrasound", "sonography"),
    "OT": ("ot", "other", "pt", "pet", "nm"),
}

_AGE = re.compile(rf"({NUMBER})\s*(\D*)")
_YEARS = {"", "y", "yr", "yrs", "year", "years", "j", "jahr", "jahre", "岁"}
_PER_YEAR = {
    **dict.fromkeys(("mo", "mos", "month", "months"), 12.0),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 52.18),
    **dict.fromkeys(("d", "day", "days"), 365.25),
}
_DICOM_MONTHS = re.compile(r"(\d{3})M")  # PS3.5 6.2; "54M" is a man of 54 to many


Word = TypeVar("Word", bound=str)


def _known(written: str, words: Mapping[Word, tuple[str, ...]], named: str) -> Word:
    plain = written.casefold()
    for ours, known in words.items():
        if plain in known:
            return ours
    shown = repr(written) if len(written) <= 20 else "what stands there"  # a longer text is no mistyped word
    raise CaseError(f"{shown} is not known; write {named}, or leave it empty")


def sex(written: str) -> Sex:
    """female, male or other.

    Raises:
        CaseError: it is no word for one.
    """
    return _known(written, _SEX, "F, M, O, female, male or other")


def split(written: str) -> Split:
    """train, dev or test.

    Raises:
        CaseError: it is no word for one.
    """
    return _known(written, _SPLIT, "train, training, dev, development, test or testing")


def modality(written: str) -> Modality:
    """CR, CT, MR, US or OT.

    Raises:
        CaseError: it is no word for one.
    """
    if (code := DICOM_MODALITIES.get(written.upper())) is not None:
        return code
    return _known(
        written, _MODALITY, "CT, MR, MRI, US, ultrasound, CR, DX, XR, X-ray or another DICOM code of one, or OT"
    )


def age(written: str, numerals: Numerals) -> float:
    """Years, of 54, 54Y, 054Y, 18 months, 018M, 2 weeks.

    Raises:
        CaseError: it is no age, one that can be read in two ways, or one that nobody has.
    """
    if found := _DICOM_MONTHS.fullmatch(written):
        years = round(int(found[1]) / 12, 2)
    else:
        found = _AGE.fullmatch(written)
        unit = found[2].strip().rstrip(".").casefold() if found else None
        if found is None or unit is None or (unit not in _YEARS and unit not in _PER_YEAR and unit != "m"):
            raise CaseError("is no age; write years as 54 or 054Y, or as in 18 months, 2 weeks, 3 days")
        if unit == "m":
            raise CaseError(
                "may be months or the age of a man; write 054M or 54 months, or 54 and the sex in its column"
            )
        years = numerals.value(found[1])
        years = round(years / _PER_YEAR[unit], 2) if unit in _PER_YEAR else years
    if not 0 <= years <= OLDEST_AGE:
        raise CaseError(f"is not between 0 and {OLDEST_AGE} years")
    return years
