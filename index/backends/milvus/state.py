"""Which entities count: the number of the last change, and the cases that it deleted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medclip.errors import ArchiveError
from medclip.index import stored
from medclip.index.backends.milvus.expressions import literal

__all__ = ["State", "commit_state", "read_state"]

_ID = "state"


@dataclass(frozen=True)
class State:
    """What readers go by; one upsert of it is the commit of a change."""

    generation: int
    drops: tuple[str, ...]  # cases that the last change deleted
    fields: dict[str, str]  # what filters may ask for

    def visible(self, extra: str = "") -> str:
        """The entities that count, as an expression."""
        parts = [f"born <= {self.generation}"]
        if self.drops:
            parts.append(f"not (case_id in {literal(list(self.drops))} and born < {self.generation})")
        return " and ".join([*parts, *([extra] if extra else [])])


def read_state(client: Any, states: str, uri: str) -> State:
    """The state that is stated now.

    Raises:
        ArchiveError: there is none.
        GarbledError: it is not as medclip writes it.
    """
    found = client.get(states, ids=[_ID], output_fields=["value"])
    if not found:
        raise ArchiveError(f"{uri}: has no {states}; restore it from a backup")
    value = stored.mapping(found[0]["value"], "the state")
    drops = value.get("drops")
    if not isinstance(drops, list):
        raise stored.GarbledError("the list of deleted cases is none")
    return State(
        stored.whole(value.get("generation"), "the generation"),
        tuple(stored.text(one, "a deleted case") for one in drops),
        stored.fields(json.dumps(value.get("fields"))),
    )


def commit_state(client: Any, states: str, generation: int, drops: Sequence[str], fields: dict[str, str]) -> None:
    """State a change, whose entities are written."""
    value = {"generation": generation, "drops": list(drops), "fields": fields}
    client.upsert(states, [{"name": _ID, "value": value, "unused": [1.0, 0.0]}])
    client.flush(states)
