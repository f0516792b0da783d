"""What ``verify`` asks of the entities: whether each case has just those vectors that its file has."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from medclip.errors import ArchiveError
from medclip.index.records import Entry

__all__ = ["entity_faults"]


def entity_faults(collection: str, rows: Iterable[dict[str, Any]], read: Callable[[str], Entry | None]) -> list[str]:
    """What is wrong, as lines.

    Args:
        rows: every entity that counts.
        read: the case of that id, from its file.
    """
    found: list[str] = []
    stored: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        stored.setdefault(row["case_id"], []).append(row)
    for case_id, views in stored.items():
        try:
            entry = read(case_id)
        except ArchiveError as error:
            found.append(str(error))
            continue
        expected = {(v.kind, v.number): v for v in entry.views} if entry else {}
        if {(row["kind"], row["number"]) for row in views} != set(expected) or sum(r["head"] for r in views) != 1:
            found.append(f"{collection}: views of case {case_id} are missing or too many")
        elif any(
            not np.array_equal(np.asarray(row["vector"], np.float32), expected[row["kind"], row["number"]].vector)
            for row in views
        ):
            found.append(f"{collection}: a vector of case {case_id} has changed since it was written")
    return found
