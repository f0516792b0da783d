"""Amounts as people type them: 4GB, 5ms."""

import re

from medclip.errors import OptionError

__all__ = ["bytes_of", "seconds_of"]

_BYTES: dict[str, float] = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def _amount(text: str, units: dict[str, float], example: str) -> float:
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*", text)
    if found is None or found[2].lower() not in units or float(found[1]) <= 0:
        raise OptionError(f"{text!r}: is not an amount such as {example}")
    return float(found[1]) * units[found[2].lower()]


def bytes_of(text: str | None) -> int | None:
    """Bytes.

    Raises:
        OptionError: it is not an amount of memory.
    """
    return None if text is None else int(_amount(text, _BYTES, "4GB"))


def seconds_of(text: str | None) -> float | None:
    """Seconds.

    Raises:
        OptionError: it is not a time.
    """
    return None if text is None else _amount(text, _SECONDS, "5ms")
