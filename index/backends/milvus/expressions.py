"""A filter in the language of Milvus."""

import json

from medclip.index.filters import Comparison, Filter, Join

__all__ = ["expression", "literal"]


def literal(value: object) -> str:
    """A value as a literal of Milvus's language, which escapes as JSON does; no other text of a user gets in."""
    return json.dumps(value)


def expression(where: Filter) -> str:
    """A filter in Milvus's language."""
    if isinstance(where, Join):
        return "(" + f" {where.op} ".join(expression(part) for part in where.parts) + ")"
    return _comparison(where)


def _comparison(where: Comparison) -> str:
    field = f"facts[{literal(where.field)}]"
    known = f"exists {field}"
    if where.op == "known":
        return known
    if where.op == "unknown":
        return f"(not {known})"
    if where.op in ("<", "<=", ">", ">="):
        return f"({known} and {field} {where.op} {literal(where.values[0])})"
    if all(isinstance(value, float) for value in where.values):
        among = " or ".join(f"{field} == {literal(value)}" for value in where.values)
    else:
        among = f"json_contains_any({field}, {literal(list(where.values))})"
    return f"({known} and ({among}))" if where.op in ("=", "in") else f"({known} and not ({among}))"
