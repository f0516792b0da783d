"""The expression language of ``--where``: parsed into a tree, never run as code and never pasted into a query.

::

    modality = 'CT' and age >= 60 and (label.location = 'Thorax' or not sex = 'male')
    label.finding in ('COVID-19', 'pneumonia')      age is unknown      "label.findings/pleural effusion" = 'present'

A comparison with an unknown value is never true, and neither is its negation: ``not`` turns into the opposite
comparison, so what is unknown is found only by ``is unknown``. Where a case has several values (its scans'
modalities), ``=`` asks whether one of them is equal and ``!=`` whether none is.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from medclip.errors import FilterError

__all__ = ["Comparison", "Filter", "Join", "parse_filter"]

Kind = Literal["text", "number"]
Value = str | float

_OPPOSITE = {
    "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
    "in": "not in", "not in": "in", "known": "unknown", "unknown": "known",
}  # fmt: skip
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_LONGEST = 10_000

_GRAMMAR = r"""
start: either
?either: both ("or"i both)*
?both: single ("and"i single)*
?single: "not"i single -> negated
       | "(" either ")"
       | FIELD OPERATOR value -> compared
       | FIELD "in"i values -> among
       | FIELD "not"i "in"i values -> not_among
       | FIELD "is"i "known"i -> known
       | FIELD "is"i "unknown"i -> unknown
values: "(" value ("," value)* ")"
value: NUMBER -> number
     | TEXT -> text
OPERATOR: "=" | "!=" | "<=" | ">=" | "<" | ">"
FIELD: /[A-Za-z_][A-Za-z0-9_.\/-]*/ | /"[^"]+"/
NUMBER: /-?[0-9]+(\.[0-9]+)?/
TEXT: /'([^']|'')*'/
%ignore /\s+/
"""


@dataclass(frozen=True)
class Comparison:
    """One field against one or more values."""

    field: str
    op: str  # a key of _OPPOSITE
    values: tuple[Value, ...] = ()

    def holds(self, known: tuple[Any, ...]) -> bool:
        """Whether it is true of a case whose field has these values; empty where unknown."""
        if self.op in ("=", "in"):
            return any(value in self.values for value in known)
        if self.op in ("!=", "not in"):
            return bool(known) and not any(value in self.values for value in known)
        if self.op in ("known", "unknown"):
            return bool(known) == (self.op == "known")
        return any(_ORDER[self.op](value, self.values[0]) for value in known)

    def matches(self, facts: Mapping[str, tuple[Any, ...]]) -> bool:
        """Whether it is true of a case."""
        return self.holds(facts.get(self.field, ()))

    def negated(self) -> "Comparison":
        """The opposite comparison."""
        return Comparison(self.field, _OPPOSITE[self.op], self.values)


@dataclass(frozen=True)
class Join:
    """Several filters, of which all or any must hold."""

    op: Literal["and", "or"]
    parts: tuple["Filter", ...]

    def matches(self, facts: Mapping[str, tuple[Any, ...]]) -> bool:
        """Whether it is true of a case."""
        return (all if self.op == "and" else any)(part.matches(facts) for part in self.parts)

    def negated(self) -> "Join":
        """By De Morgan's laws."""
        return Join("or" if self.op == "and" else "and", tuple(part.negated() for part in self.parts))


Filter = Comparison | Join


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr")


def _value(tree: Any) -> Value:
    text = str(tree.children[0])
    return float(text) if tree.data == "number" else text[1:-1].replace("''", "'")


def _built(tree: Any) -> Filter:
    if tree.data in ("either", "both"):
        return Join("or" if tree.data == "either" else "and", tuple(_built(child) for child in tree.children))
    if tree.data == "negated":
        return _built(tree.children[0]).negated()
    field = str(tree.children[0]).strip('"')
    if tree.data == "compared":
        return Comparison(field, str(tree.children[1]), (_value(tree.children[2]),))
    if tree.data in ("among", "not_among"):
        values = tuple(_value(child) for child in tree.children[1].children)
        return Comparison(field, "in" if tree.data == "among" else "not in", values)
    return Comparison(field, str(tree.data))


def _check(part: Filter, fields: Mapping[str, Kind], text: str) -> None:
    if isinstance(part, Join):
        for child in part.parts:
            _check(child, fields, text)
        return
    if part.field not in fields:
        raise FilterError(f"filter {text!r}: there is no field {part.field!r}; there are {', '.join(sorted(fields))}")
    kind = fields[part.field]
    wanted: type = float if kind == "number" else str
    if any(not isinstance(value, wanted) for value in part.values):
        example = "60" if kind == "number" else "'CT'"
        raise FilterError(f"filter {text!r}: {part.field} is a {kind}; compare it with one, such as {example}")
    if kind == "text" and part.op in _ORDER:
        raise FilterError(f"filter {text!r}: {part.field} is a text, which has no order; use =, !=, in or not in")


def parse_filter(text: str, fields: Mapping[str, Kind]) -> Filter:
    """Read an expression and hold it against the fields that exist.

    Raises:
        FilterError: it is not an expression of the language, names a field that is not there, or compares a number
            with a text.
    """
    from lark.exceptions import UnexpectedInput

    if len(text) > _LONGEST:
        raise FilterError(f"the filter is longer than {_LONGEST} characters; put the cases in an index of their own")
    try:
        found = _built(_parser().parse(text).children[0])
    except UnexpectedInput as error:
        column = getattr(error, "column", -1)
        ended = getattr(getattr(error, "token", None), "type", "$END") == "$END" and not hasattr(error, "char")
        where = "at its end" if ended else f"at character {column}"
        raise FilterError(
            f"filter {text!r}: cannot be understood {where}; write it like  modality = 'CT' and age >= 60  "
            f"(texts in single quotes; and, or, not, in, is known)"
        ) from error
    except RecursionError as error:
        raise FilterError("the filter is nested too deeply; use  in (...)") from error
    _check(found, fields, text)
    return found
