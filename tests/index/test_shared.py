"""An archive that colleagues may read and its owner alone may write, while the owner changes it."""

import multiprocessing
import os
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.index import CaseIndex, Entry

from .conftest import make_entries, make_entry
from .crashing import build

NOBODY = 65534
ROUNDS = int(os.environ.get("MEDCLIP_ROUNDS", "30"))  # of three: add, remove, compact

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can read as another user")


def _become_nobody(folder: Path) -> None:
    CaseIndex.open(folder).close()  # loads what nobody may not read: Python's own modules
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _document(case_id: str) -> dict[str, str]:
    return {"note": case_id * 200}


def _long(entry: Entry) -> Entry:
    """With a record of several pages, so that pages come and go."""
    return replace(entry, record=replace(entry.record, document=_document(entry.record.id)))


def _answers(index: CaseIndex) -> tuple[str, ...]:
    """The cases that a search finds, each with its record and vectors: all of one state."""
    with index.snapshot():
        hits = index.search(np.eye(1, 8, dtype=np.float32), 1000)[0]
        for hit in hits:
            assert index.record(hit.case_id).document == _document(hit.case_id)
            assert index.views_of(hit.case_id)
        assert len(hits) == len(index) == len(index.contents())
    return tuple(sorted(hit.case_id for hit in hits))


def _reads(folder: Path, pipe: Connection, keeps_open: bool) -> None:
    _become_nobody(folder)
    pipe.send("ready")
    kept = CaseIndex.open(folder) if keeps_open else None
    seen: dict[tuple[str, ...], int] = {}
    errors: list[str] = []
    last = False
    while not last:
        last = pipe.poll(0.002)
        try:
            index = kept or CaseIndex.open(folder)
            found = _answers(index)
            seen[found] = seen.get(found, 0) + 1
            if kept is None:
                index.close()
        except Exception as error:  # noqa: BLE001
            errors.append(f"{type(error).__name__}: {error}")
    pipe.send((seen, errors, found))


def _change(folder: Path, new: list[Entry], round_: int) -> None:
    index = CaseIndex.open(folder)
    if round_ % 3 == 0:
        index.add(new)
    elif round_ % 3 == 1:
        index.remove([entry.record.id for entry in new])
    else:
        index.compact()
    index.close()


def _heard(pipe: Connection) -> Any:
    assert pipe.poll(60), "the reader says nothing"
    return pipe.recv()


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("logs", ["as left", "deleted before"])
def test_whoever_may_only_read_has_one_state_or_the_other_while_the_owner_changes_it(
    shared_place: Path, logs: str
) -> None:
    base = [_long(entry) for entry in make_entries(0, 60)]
    new = [_long(make_entry(np.random.default_rng(7), f"new-{i:04d}", f"q{i}")) for i in range(40)]
    folder = shared_place / "index"
    build(folder, base)
    if logs == "deleted before":  # as other programs and older versions leave it
        for file in folder.glob("catalogue.sqlite-*"):
            file.unlink()
    context = multiprocessing.get_context("spawn")
    readers = []
    for keeps_open in (True, False):
        mine, theirs = context.Pipe()
        child = context.Process(target=_reads, args=(folder, theirs, keeps_open), daemon=True)
        child.start()
        readers.append((mine, child))
    assert [_heard(mine) for mine, _ in readers] == ["ready", "ready"]
    for round_ in range(ROUNDS):
        _change(folder, new, round_)
    without = tuple(sorted(entry.record.id for entry in base))
    states = {without, tuple(sorted([*without, *(entry.record.id for entry in new)]))}
    for mine, child in readers:
        mine.send("enough")
        seen, errors, found = _heard(mine)
        child.join(30)
        assert not errors, (len(errors), sum(seen.values()), sorted(set(errors))[:5])
        assert set(seen) == states
        assert found == without
