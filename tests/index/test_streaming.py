"""Cases pass through an index's changes a few at a time: memory does not grow with their number."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medclip.index import CaseIndex, Entry

from .conftest import create, make_entry

CASES = 400


class _Watched(Entry):
    """An entry that is itself alone."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


class _Stream:
    """Entries made one by one, and how many of them were held at once."""

    def __init__(self, seed: int) -> None:
        self._seed, self.most = seed, 0

    def __iter__(self) -> Iterator[Entry]:
        alive: weakref.WeakSet[Entry] = weakref.WeakSet()
        rng = np.random.default_rng(self._seed)
        for number in range(CASES):
            made = make_entry(rng, f"case-{number}", f"patient-{number}", views=1)
            entry = _Watched(made.record, made.views, made.thumbnails)
            alive.add(entry)
            self.most = max(self.most, len(alive))
            yield entry
            del entry


@pytest.mark.parametrize("change", ["create", "add", "update"])
def test_few_cases_are_held_at_once(change: str, tmp_path: Path) -> None:
    stream = _Stream(0)
    if change == "create":
        CaseIndex.create(tmp_path, stream, fingerprint="f")
    else:
        there = (
            list(_Stream(1)) if change == "update" else [make_entry(np.random.default_rng(1), "first", "p", views=1)]
        )
        create(tmp_path, there, "faiss")
        index = CaseIndex.open_to_change(tmp_path)
        (index.add if change == "add" else index.update)(stream)
        index.close()
    assert 0 < stream.most <= 150
    index = CaseIndex.open(tmp_path)
    assert len(index) == CASES + (change == "add")
    assert index.verify() == []
    index.close()
