"""Each kind of view has a search structure of its own, so that what is asked runs unmasked; earlier indexes go on as they are."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.errors import ArchiveError
from medclip.index import CaseIndex, Entry, Record, VectorView
from medclip.index.ordering import Order
from medclip.index.structures.base import Spec

from .conftest import make_entries, unit

KEPT = Path(__file__).with_name("mixed-segment.zip")
"""70 cases by medclip of 2026-11-27, one of 60 removed and ten added, ``ivf-sq8`` over views of all kinds."""
KINDS = [None, ("scan",), ("report", "fused"), ("scan", "fused"), ("fused",), ("history",)]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    with zipfile.ZipFile(KEPT) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "index"


@pytest.fixture
def index(tmp_path: Path) -> CaseIndex:
    folder = tmp_path / "made"
    folder.mkdir()
    CaseIndex.create(folder, make_entries(0, 60), fingerprint="f", structure=Spec("ivf-pq4", {"nlist": 4}))
    opened = CaseIndex.open(folder)
    opened.add(make_entries(1, 70)[60:])
    opened.remove(["case-0007", "case-0062"])
    return opened


def _expected(index: CaseIndex, query: np.ndarray, kinds: tuple[str, ...] | None) -> list[tuple[str, float]]:
    """(case id, similarity) of all cases by their best view of these kinds."""
    best: dict[str, float] = {}
    for entry in index.entries():
        for view in entry.views:
            if kinds is None or view.kind in kinds:
                similarity = float(view.vector @ query)
                best[entry.record.id] = max(similarity, best.get(entry.record.id, -2.0))
    return sorted(best.items(), key=lambda one: -one[1])


def _holds(index: CaseIndex) -> None:
    for query in unit(np.random.default_rng(5), 6, 8):
        for kinds in KINDS:
            expected = _expected(index, query, kinds)
            found = index.search(query[None], 12, kinds=kinds)[0]
            assert [hit.similarity for hit in found] == pytest.approx([s for _, s in expected[:12]], abs=1e-5)
            assert {hit.case_id for hit in found} == {case_id for case_id, _ in expected[:12]}
    everyone = sorted(record.id for record in index.records())
    assert index.listed(Order(()), 1000).case_ids == everyone
    assert sum(index.tally(["age"])["age"].values()) == len(everyone)
    assert sorted(case_id for case_id, _ in index.column("age")) == everyone
    assert index.verify() == []


def test_each_kind_is_searched_by_itself_and_together_with_others(index: CaseIndex) -> None:
    assert len(list((index.folder / "segments").iterdir())) == 3  # scan, report, fused
    _holds(index)
    index.compact()
    _holds(index)
    index.close()


def test_an_earlier_index_is_searched_as_it_is_and_compact_gives_each_kind_its_structure(kept: Path) -> None:
    index = CaseIndex.open(kept)
    assert [path.name for path in (kept / "segments").iterdir()] == ["614fb4c0b3a2"]
    _holds(index)
    assert any("compact makes a quicker one" in line for line in index.stats()["advice"])
    where = index.filter("modality = 'CT'")
    query = unit(np.random.default_rng(6), 1, 8)
    before = index.search(query, 100, kinds=["scan"], where=where)[0]
    index.compact()
    _holds(index)
    assert [hit.case_id for hit in index.search(query, 100, kinds=["scan"], where=where)[0]] == [
        hit.case_id for hit in before
    ]
    assert index.stats()["advice"] == []
    index.close()


def test_queries_together_find_what_each_finds_alone(index: CaseIndex) -> None:
    queries = unit(np.random.default_rng(2), 150, 8)
    patients = [None, *sorted({record.patient for record in index.records()})]
    excluded = [patients[number % len(patients)] for number in range(len(queries))]
    for number, kinds in enumerate(KINDS * 2):
        of_all = excluded if number < len(KINDS) else [None] * len(queries)
        together = index.search(queries, 5, kinds=kinds, exclude_patients=of_all, one_per_patient=number % 2 == 0)
        for query, patient, found in zip(queries, of_all, together, strict=True):
            [alone] = index.search(
                query[None], 5, kinds=kinds, exclude_patients=[patient], one_per_patient=number % 2 == 0
            )
            assert [hit.case_id for hit in found] == [hit.case_id for hit in alone]
            assert [hit.similarity for hit in found] == pytest.approx([hit.similarity for hit in alone], abs=1e-5)
            assert patient not in {hit.patient for hit in found}
    index.close()


def test_a_search_sees_every_change_whoever_made_it(index: CaseIndex) -> None:
    """A search that needs nothing of the catalogue begins no transaction: it looks whether anybody has changed anything."""
    other = CaseIndex.open(index.folder)
    new = make_entries(9, 90)[80:]
    query = new[0].views[0].vector[None]
    for writer, reader in ((index, other), (other, index), (index, index)):
        for change in (lambda w: w.add(new), lambda w: w.compact(), lambda w: w.remove([e.record.id for e in new])):
            reader.search(query, 1)
            change(writer)
            there = new[0].record.id in writer.contents()
            assert (reader.search(query, 1)[0][0].case_id == new[0].record.id) == there
    index.close()
    other.close()


def test_a_state_that_cannot_be_read_is_said_each_time(index: CaseIndex) -> None:
    """And the state before it, which holds a case that is gone, is never asked again."""
    gone = next(index.entries())
    query = gone.views[0].vector[None]
    assert index.search(query, 1)[0][0].case_id == gone.record.id
    other = CaseIndex.open(index.folder)
    other.remove([gone.record.id])
    other.compact()
    other.close()
    for file in index.folder.glob("segments/*/reach.json"):
        file.unlink()
    for _ in range(3):
        with pytest.raises(ArchiveError, match="--repair"):
            index.search(query, 1)
    index.close()


def test_a_connection_that_was_opened_anew_is_not_taken_for_the_one_before(index: CaseIndex) -> None:
    """SQLite counts the changes of others for each connection from the same number on."""
    backend: Any = index._backend
    access = backend._catalogue._access
    gone = next(index.entries())
    query = gone.views[0].vector[None]
    assert index.search(query, 1)[0][0].case_id == gone.record.id
    other = CaseIndex.open(index.folder)
    other.remove([gone.record.id])
    access._closing()
    access._open()  # as a reader does that may not write, when a writer begins
    for _ in range(2):
        assert index.search(query, 1)[0][0].case_id != gone.record.id
    index.close()
    other.close()


@pytest.mark.parametrize("name", ["flat", "hnsw", "ivf-flat", "ivf-pq4"])
def test_an_index_may_be_emptied_and_a_kind_may_have_one_view(name: str, tmp_path: Path) -> None:
    settings = {"hnsw": {"m": 16, "ef_construction": 40}}.get(name, {"nlist": 4})
    entries = make_entries(0, 30)
    lone = Entry(
        Record("lone", "pl", {}, {}), [VectorView("measurements", 0, unit(np.random.default_rng(1), 1, 8)[0], {})], {}
    )
    CaseIndex.create(tmp_path, [*entries, lone], fingerprint="f", structure=Spec(name, settings))
    index = CaseIndex.open(tmp_path)
    assert index.search(lone.views[0].vector[None], 1)[0][0].case_id == "lone"
    index.remove([record.id for record in index.records()])
    index.compact()
    assert index.search(lone.views[0].vector[None], 5) == [[]]
    assert index.verify() == []
    index.add(entries[:3])
    assert len(index.search(lone.views[0].vector[None], 5)[0]) == 3
    index.close()


@pytest.mark.parametrize("name", ["flat", "ivf-pq4"])
def test_equal_vectors_tie_wherever_they_stand_and_however_they_are_searched_for(name: str, tmp_path: Path) -> None:
    """As two cases of one report text do: the case id decides, not a last bit."""
    rng = np.random.default_rng(0)
    d = 65
    same = unit(rng, 1, d)[0]

    def equal(case_id: str) -> Entry:
        return Entry(Record(case_id, f"p{case_id}", {}, {}), [VectorView("scan", 0, same, {})], {})

    CaseIndex.create(
        tmp_path,
        [*make_entries(0, 200, d=d), *map(equal, ("z1", "b1", "y1"))],
        fingerprint="f",
        structure=Spec(name, {"nlist": 4}),
    )
    index = CaseIndex.open(tmp_path)
    index.add([equal("a2"), equal("z2"), equal("c2")])
    for noise in unit(rng, 30, d):
        query = same + 0.3 * noise
        query /= np.linalg.norm(query)
        [alone] = index.search(query[None], 6)
        assert [hit.case_id for hit in alone] == ["a2", "b1", "c2", "y1", "z1", "z2"]
        assert index.search(np.stack([query] * 3), 6)[1] == alone
    index.close()
