"""De-identification: ids hashed with a key that the user keeps, and what names a patient taken out of the texts.

After DICOM PS3.15 E (basic application confidentiality profile) and, for ages, the HIPAA safe harbor (45 CFR 164.514):
nothing is copied from a header but modality, plane, window, age and sex; every text loses the names, numbers and dates
that the header gives for the patient and the staff. Names that only the text knows, and words burnt into the pixels,
stay: look before a cases folder leaves the house.
"""

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from medclip.errors import CaseError

__all__ = ["REMOVED", "Key", "age_years", "identifiers_of", "scrub"]

REMOVED = "[removed]"
_OLDEST = 90  # years; older patients are few enough to be known by their age
_LEAST = 3  # letters of a word that is taken out
_NAMES = ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "RequestingPhysician",
          "NameOfPhysiciansReadingStudy", "PatientMotherBirthName", "OtherPatientNames", "PhysiciansOfRecord",
          "ResponsiblePerson", "VerifyingObserverName")  # fmt: skip
_NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientTelephoneNumbers", "AdmissionID")
_PLACES = ("InstitutionName", "InstitutionAddress", "PatientAddress", "InstitutionalDepartmentName")
_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


class Key:
    """A secret that turns an identifier into a short one that cannot be turned back, always the same."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def at(cls, path: Path) -> "Key":
        """The key in a file, which is made where there is none, readable by its owner alone.

        Raises:
            CaseError: the file holds no key, or none can be written.
        """
        try:
            if not path.exists():
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                    out.write(secrets.token_hex(32) + "\n")
            secret = bytes.fromhex(path.read_text().strip())
        except ValueError as error:
            raise CaseError(f"{path}: holds no key (64 hexadecimal digits); name another file with --key") from error
        except OSError as error:
            raise CaseError(f"{path}: the key cannot be kept there ({error.strerror}); name another file") from error
        if len(secret) < 16:
            raise CaseError(f"{path}: holds too short a key (under 32 hexadecimal digits); name another file")
        return cls(secret)

    def hashed(self, kind: str, identifier: str) -> str:
        """`kind` and 16 hexadecimal digits of HMAC-SHA256 (RFC 2104)."""
        return f"{kind}-{hmac.digest(self._secret, f'{kind}:{identifier}'.encode(), 'sha256').hex()[:16]}"


def age_years(age: object) -> float | None:
    """A DICOM age string (PS3.5 6.2: 045Y, 018M, 012W, 003D) in years, at most 90; None where it is none."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", str(age or "").strip().upper())
    if not found:
        return None
    years = int(found[1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[found[2]]
    return min(round(years, 2), _OLDEST)


def _values(header: Dataset, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        value = header.get(name)
        if value is None:
            continue
        for one in (
            value if hasattr(value, "__iter__") and not isinstance(value, str) and name != "PatientName" else (value,)
        ):
            yield str(one)


def identifiers_of(header: Dataset) -> set[str]:
    """The strings in a header that name the patient, the staff or the place, as they may stand in a report."""
    found: set[str] = set()
    for name in _values(header, _NAMES):
        found |= {word for word in re.split(r"[\^=\s,]+", name) if len(word) >= _LEAST}
    found |= {value.strip() for value in (*_values(header, _NUMBERS), *_values(header, _PLACES))}
    for date in _values(header, _DATES):
        if re.fullmatch(r"\d{8}", date):
            year, month, day = date[:4], date[4:6], date[6:]
            found |= {date, f"{year}-{month}-{day}"}
            found |= {f"{a}{s}{b}{s}{year}" for s in "./-" for a, b in ((day, month), (month, day))}
            found |= {f"{int(a)}{s}{int(b)}{s}{year}" for s in "./-" for a, b in ((day, month), (month, day))}
    return {value for value in found if len(value) >= _LEAST}


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """The text without the identifiers, whatever their case; whole words only."""
    words = sorted(identifiers, key=len, reverse=True)
    if not words:
        return text
    return re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", REMOVED, text, flags=re.IGNORECASE)
