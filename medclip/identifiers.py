"""What may be the id of a case or a patient: one rule, for cases folders and indexes alike."""

import unicodedata

__all__ = ["id_fault"]

_LONGEST = 200  # characters
_STRANGE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that no id may hold: control and format characters, lone surrogates, line and paragraph separators.

They would break lines of JSON and of terminals, or make two ids look alike."""


def id_fault(value: str) -> str | None:
    """Why a text cannot be an id, as the end of a sentence; None where it can."""
    if not value or len(value) > _LONGEST:
        return f"must be 1 to {_LONGEST} characters long"
    if value[0].isspace():
        return "must not begin with a space"
    if "/" in value or "\\" in value:
        return "must not hold a slash or backslash"
    if value.isascii() and value.isprintable():
        return None
    if any(unicodedata.category(ch) in _STRANGE for ch in value):
        return "must not hold a control character or another that cannot be seen"
    return None
