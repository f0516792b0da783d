"""De-identification: ids hashed with a key that the user keeps, and what names a person taken out of every text.

The Basic Application Level Confidentiality Profile of DICOM PS3.15 E, with its options to retain patient characteristics
(sex, and age up to 90 as in 45 CFR 164.514(b)(2)(i)(C)) and to clean structured content: nothing else is copied from a
header than modality, plane and window. A text loses each identifying value of its study's headers in every usual
spelling, and what looks like a date, a name, a number or an address anyway (`medclip.cases.privacy.scrub`). What no header
names and no cue gives away stays: a name by itself, an employer, a home town, a licence plate. So do words burnt into the
pixels: look before a cases folder leaves the house.
"""

import hmac
import os
import re
import secrets
from pathlib import Path

from medclip.errors import CaseError
from medclip.files.plain import read_regular

__all__ = ["OLDEST", "Key", "age_years", "is_over_oldest"]

_LONGEST = 4096  # bytes of a key's file
OLDEST = 90  # years; older patients are few enough to be known by their age


class Key:
    """A secret that turns an identifier into a short one that cannot be turned back, always the same."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def at(cls, path: Path) -> "Key":
        """The key in a file, which is made where there is none, readable by its owner alone.

        Raises:
            CaseError: the file holds no key, may be read by others than its owner, or cannot be written.
        """
        try:
            if not path.exists():
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                    out.write(secrets.token_hex(32) + "\n")
            if path.stat().st_mode & 0o077:
                raise CaseError(f"{path}: may be read by others than its owner; run  chmod 600 {path}")
            secret = bytes.fromhex(read_regular(path, _LONGEST).decode().strip())
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


def _years(age: object) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([YMWD])", str(age or "").strip().upper())
    if not found:
        return None
    return round(int(found[1]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[found[2]], 2)


def age_years(age: object) -> float | None:
    """A DICOM age string (PS3.5 6.2: 045Y, 018M, 012W, 003D) in years, at most 90; None where it is none."""
    years = _years(age)
    return None if years is None else min(years, OLDEST)


def is_over_oldest(age: object) -> bool:
    """Whether a DICOM age string is one that `age_years` does not give as it is."""
    return (_years(age) or 0) > OLDEST
