"""A JSON object in a file, with a checksum of itself: one changed bit of it is noticed when it is read.

The checksum has no key. It shows damage, not who wrote the file: whoever changes both can make them fit.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medclip.files.plain import read_regular

__all__ = ["Sealed", "read_json", "read_sealed", "sealed", "strict_json", "unsealed"]

_SEAL = "sha256"
_MOST = 64 << 20  # bytes; the largest such file lists what is known of each class of each label set
Seal = Literal["whole", "none", "broken"]


@dataclass(frozen=True)
class Sealed:
    """What was read."""

    value: dict[str, Any]  # without its checksum
    seal: Seal  # none: made by an older medclip


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """The same object with its checksum; what JSON makes of tuples and of keys that are no texts must be made before."""
    return {**value, _SEAL: _digest(value)}


def strict_json(text: str | bytes) -> Any:
    """JSON as medclip writes it: without NaN, and nested no deeper than Python can follow.

    Raises:
        ValueError: it is not.
    """
    try:
        return json.loads(text, parse_constant=_refused) if isinstance(text, bytes) else _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_STRICT = json.JSONDecoder(parse_constant=_refused)  # made once: many small texts are read


def unsealed(value: Any) -> Sealed:
    """Such an object as it was read.

    Raises:
        ValueError: it is no JSON object.
    """
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    known = dict(value)
    seal = known.pop(_SEAL, None)
    return Sealed(known, "none" if seal is None else "whole" if seal == _digest(known) else "broken")


def read_json(path: Path) -> Any:
    """The JSON of a plain file, no link.

    Raises:
        OSError: it is missing, no plain file, larger than 64 MiB, or cannot be read.
        ValueError: it is not JSON.
    """
    return strict_json(read_regular(path, _MOST, follow=False))


def read_sealed(path: Path) -> Sealed:
    """The object of such a file.

    Raises:
        OSError: as `read_json`.
        ValueError: it is not a JSON object.
    """
    return unsealed(read_json(path))
