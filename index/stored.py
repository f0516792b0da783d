"""What the catalogue and the files beside it hold as text, numbers and bytes, read without trusting it.

An index may have been damaged, or made by somebody else. Whatever does not look as medclip writes it is a `GarbledError`,
which becomes one line that names the file.
"""

import json
import math
import re
from typing import Any, TypeVar

import numpy as np

from medclip.files.sealed import strict_json
from medclip.index.records import Fact, Vectors

__all__ = [
    "GarbledError", "GarbledSegmentError", "InSegment", "blob", "document", "fact", "facts", "fields", "json_of", "labels",
    "labels_of", "mapping", "number", "real", "segment", "segment_name", "text", "vector", "whole",
]  # fmt: skip

_LARGEST = 1 << 63
_SEGMENT = re.compile(r"[0-9a-f]{12}")
_FILE = re.compile(r"[\w-][\w.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


class GarbledError(ValueError):
    """Something stored is not as medclip writes it; the message says what, without quoting it."""


class GarbledSegmentError(GarbledError):
    """The same of a segment, which can be made anew."""


class InSegment:
    """`with` for what is worked out of arrays that are mapped from a segment; a class, since a query enters it often."""

    def __init__(self, fault: str, *errors: type[Exception]) -> None:
        """Args:
        fault: what is said of the segment.
        errors: what arrays raise that are not as medclip writes them.
        """
        self._fault, self._errors = fault, errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, self._errors):
            raise GarbledSegmentError(self._fault) from error


def _is(kind: type[T], value: object, what: str) -> T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise GarbledError(f"{what} is no {kind.__name__}")
    return value


def json_of(value: object, what: str) -> Any:
    """Of a JSON text that medclip wrote: no NaN, no lone surrogate, nested as far as Python can."""
    try:
        found = strict_json(_is(str, value, what))
        if "\\u" in str(value):
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise GarbledError(f"{what} is not JSON as medclip writes it") from error
    return found


def text(value: object, what: str) -> str:
    """A text."""
    return _is(str, value, what)


def blob(value: object, what: str) -> bytes:
    """Bytes."""
    return _is(bytes, value, what)


def number(value: object, what: str, base: int = 10) -> int:
    """A count that is stored as text."""
    try:
        found = int(_is(str, value, what), base)
    except ValueError as error:
        raise GarbledError(f"{what} is no number") from error
    if not 0 <= found < _LARGEST and base == 10:
        raise GarbledError(f"{what} is no number that can be")
    return found


def labels(value: object) -> dict[str, str]:
    """Label set → class, of JSON."""
    return labels_of(json_of(value, "a label"))


def labels_of(value: object) -> dict[str, str]:
    """Label set → class."""
    found = _is(dict, value, "a label")
    for name, label in found.items():
        _is(str, label, f"the label {name[:40]!r}")
    return found


def facts(value: object) -> dict[str, Fact]:
    """Field → texts, or one number."""
    found: dict[str, Fact] = {}
    for name, values in _is(dict, json_of(value, "a fact"), "a fact").items():
        found[name] = fact(values)
    return found


def _finite(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def fact(values: object) -> Fact:
    """The values of one field."""
    known = _is(list, values, "a fact")
    if all(isinstance(one, str) for one in known):
        return tuple(known)
    if all(_finite(one) for one in known):
        return tuple(float(one) for one in known)
    raise GarbledError("a fact is neither texts nor numbers")


def document(value: object) -> dict[str, Any]:
    """A case's document."""
    return _is(dict, json_of(value, "a document"), "a document")


def fields(value: object) -> dict[str, str]:
    """Field → text or number."""
    found = _is(dict, json_of(value, "the list of fields"), "the list of fields")
    if not all(kind in ("text", "number") for kind in found.values()):
        raise GarbledError("the list of fields names a kind that is neither text nor number")
    return found


def vector(value: object, dimension: int) -> Vectors:
    """(dimension,) finite."""
    found = np.frombuffer(blob(value, "a vector"), "<f4") if len(blob(value, "a vector")) == 4 * dimension else None
    if found is None or not np.isfinite(found).all():
        raise GarbledError("a vector is of another width, or holds NaN or infinity")
    return found


def segment_name(value: object) -> str:
    """The name of a segment, which is a folder: never a path that leads elsewhere."""
    if _SEGMENT.fullmatch(_is(str, value, "the name of a segment")) is None:
        raise GarbledError("the name of a segment is none that medclip gives")
    return str(value)


def segment(value: object) -> dict[str, Any]:
    """A segment's manifest: the kind of its views (of all, where an earlier version made it), structure, report, checksums."""
    what = "the manifest of a segment"
    found = _is(dict, json_of(value, what), what)
    report = _is(dict, found.get("report"), what)
    for name, kind in (("structure", str), ("effort", dict), ("measured", dict), ("tried", list)):
        _is(kind, report.get(name), what)
    _is(str, found.get("structure"), what)
    _is(str, found.get("kind", ""), what)
    for name, digest in _is(dict, found.get("sha256"), what).items():
        if _FILE.fullmatch(name) is None or _SHA256.fullmatch(_is(str, digest, what)) is None:
            raise GarbledError(f"{what} names a file that no segment has")
    return found


def whole(value: object, what: str, *, least: int = 0) -> int:
    """A whole number of a JSON file."""
    found = _is(int, value, what)
    if not least <= found < _LARGEST:
        raise GarbledError(f"{what} is no number that can be")
    return found


def real(value: object, what: str) -> float:
    """A finite positive number of a JSON file."""
    if not _finite(value) or not isinstance(value, int | float) or value <= 0:
        raise GarbledError(f"{what} is no number that can be")
    return float(value)


def mapping(value: object, what: str) -> dict[str, Any]:
    """An object of a JSON file."""
    return _is(dict, value, what)
