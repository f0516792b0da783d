"""`CaseIndex` on every backend against a brute-force twin."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from medclip.errors import ArchiveError
from medclip.index import CaseIndex, Entry, Record, VectorView

from .conftest import Maker, create, make_entries, make_entry, unit
from .twin import Twin, same_entry

_FILTERS = [
    None,
    "modality = 'CT'",
    "not modality = 'CT'",
    "age >= 45 and modality in ('MR', 'CR')",
    "age is unknown or label.location = 'Head'",
    "not (age < 30 or label.location = 'Thorax')",
    "label.location = 'it''s \"odd\" 100%_\\'",
    "modality not in ('CT', 'MR') and age is known",
    "age > 1000",
]


def _same(hits: list[Any], expected: list[tuple[str, float]]) -> None:
    np.testing.assert_allclose([hit.similarity for hit in hits], [s for _, s in expected], atol=2e-5)
    assert [hit.case_id for hit in hits] == [case_id for case_id, _ in expected]


@pytest.mark.parametrize("where", _FILTERS)
def test_search_equals_brute_force(made: Maker, where: str | None) -> None:
    entries = make_entries(3, 60)
    index, twin = made(entries), Twin(entries)
    rng = np.random.default_rng(0)
    condition = None if where is None else index.filter(where)
    for k, once, patient, kinds in [
        (1, False, None, None), (10, True, "p3", None), (10, False, "p1", ("scan", "fused")), (200, True, None, None)
    ]:  # fmt: skip
        query = unit(rng, 1, 8)
        hits = index.search(query, k, kinds=kinds, where=condition, exclude_patients=[patient], one_per_patient=once)[0]
        _same(hits, twin.search(query[0], k, kinds=kinds, where=condition, patient=patient, once=once))


class _Changes(RuleBasedStateMachine):
    """Any sequence of changes leaves what a dictionary would hold."""

    backend = ""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.rng = np.random.default_rng(seed)
        entries = make_entries(seed, 12)
        create(self.folder, entries, self.backend)
        self.index = CaseIndex.open(self.folder)
        self.reader = CaseIndex.open(self.folder) if self.backend == "faiss" else self.index
        self.twin = Twin(entries)

    @rule(number=st.integers(0, 20), several=st.integers(1, 4))
    def add(self, number: int, several: int) -> None:
        new = [make_entry(self.rng, f"case-{number + i:04d}", f"p{number % 5}") for i in range(several)]
        if any(entry.record.id in self.twin.entries for entry in new):
            with pytest.raises(ArchiveError, match="is in the index already"):
                self.index.add(new)
        else:
            self.index.add(new)
            self.twin.entries |= {entry.record.id: entry for entry in new}

    @rule(number=st.integers(0, 20), moved=st.booleans())
    def update(self, number: int, moved: bool) -> None:
        new = make_entry(self.rng, f"case-{number:04d}", "p-moved" if moved else f"p{number % 5}")
        if new.record.id in self.twin.entries:
            self.index.update([new])
            self.twin.entries[new.record.id] = new
        else:
            with pytest.raises(ArchiveError, match="is not in the index"):
                self.index.update([new])

    @rule(number=st.integers(0, 20))
    def remove(self, number: int) -> None:
        name = f"case-{number:04d}"
        if name in self.twin.entries:
            gone = self.twin.entries.pop(name)
            assert [one.vectors for one in self.index.remove([name])] == [len(gone.views)]
        else:
            with pytest.raises(ArchiveError, match="is not in the index"):
                self.index.remove([name])

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def reopen(self) -> None:
        if self.reader is self.index:
            self.index.close()
            self.index = self.reader = CaseIndex.open(self.folder)
        else:
            self.index.close()
            self.index = CaseIndex.open(self.folder)

    @invariant()
    def holds_the_same(self) -> None:
        if not hasattr(self, "index"):
            return
        query = unit(self.rng, 1, 8)
        for index in (self.index, self.reader):
            assert len(index) == len(self.twin.entries)
            _same(index.search(query, 5, one_per_patient=True)[0], self.twin.search(query[0], 5, once=True))

    def teardown(self) -> None:
        if hasattr(self, "index"):
            assert all(same_entry(one, self.twin.entries[one.record.id]) for one in self.index.entries())
            assert self.index.verify() == []
            self.index.close()


def test_any_sequence_of_changes_leaves_what_a_dictionary_would_hold(backend: str) -> None:
    machine = type("Changes", (_Changes,), {"backend": backend})
    quick = settings(
        max_examples=4 if backend == "milvus" else 25, stateful_step_count=12, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=quick)


def test_what_was_deleted_and_came_again_is_found(made: Maker) -> None:
    """Nothing is lost by delete, reopen, add."""
    entries = make_entries(5, 20)
    index = made(entries)
    index.remove([entry.record.id for entry in entries[10:]])
    again = CaseIndex.open(index.folder) if index.stats()["backend"] == "faiss" else index
    again.add(entries[10:])
    for entry in entries:
        hit = again.search(entry.views[0].vector[None], 1)[0][0]
        assert (hit.case_id, hit.similarity) == (entry.record.id, pytest.approx(1, abs=1e-5))


def test_a_field_that_came_with_a_case_can_still_be_asked_for_after_others_changed_the_index(made: Maker) -> None:
    entries = make_entries(6, 4)
    index = made(entries[:2])
    folder = index.folder
    rare = replace(entries[2].record, facts={"scanner": ("old",)})
    index.add([replace(entries[2], record=rare)])
    index.close()
    again = CaseIndex.open(folder)
    again.add(entries[3:])
    hits = again.search(entries[2].views[0].vector[None], 5, where=again.filter("scanner = 'old'"))[0]
    assert [hit.case_id for hit in hits] == [rare.id]
    again.close()


@pytest.mark.slow
def test_a_reader_sees_a_change_at_its_next_search_and_never_within_one_snapshot(tmp_path: Path) -> None:
    entries = make_entries(1, 10)
    create(tmp_path, entries[:9], "faiss")
    reader, writer = CaseIndex.open(tmp_path), CaseIndex.open(tmp_path)
    query = entries[9].views[0].vector[None]
    with reader.snapshot():
        before = reader.search(query, 3)
        writer.add(entries[9:])
        assert reader.search(query, 3) == before
        assert len(reader) == 9
    assert reader.search(query, 1)[0][0].case_id == entries[9].record.id


def test_words_and_vectors_are_fused_by_reciprocal_ranks(made: Maker) -> None:
    vectors = unit(np.random.default_rng(0), 3, 8)
    texts = ["sarcoidosis of the lung", "a simple nodule", "nothing of note"]
    entries = [
        Entry(Record(c, c, {}, {}, {}, text), [VectorView("report", 0, v, {})], {})
        for c, text, v in zip("abc", texts, vectors, strict=True)
    ]
    index = made(entries)
    query = vectors[2][None]
    by_vector = [hit.case_id for hit in index.search(query, 3)[0]]
    fused = index.search(query, 3, words=["patient with SARCOIDOSIS ('x' OR \"y\") NEAR *"])[0]
    score = {case_id: 1 / (60 + rank) for rank, case_id in enumerate(by_vector, start=1)}
    score["a"] += 1 / 61
    assert [hit.case_id for hit in fused] == sorted(score, key=lambda c: (-score[c], c))
    assert {hit.case_id: hit.similarity for hit in fused} == pytest.approx(
        {c: float(v @ vectors[2]) for c, v in zip("abc", vectors, strict=True)}, abs=1e-5
    )


def test_only_the_kinds_asked_for_match(made: Maker) -> None:
    near, far = np.asarray([1, 0], np.float32), np.asarray([0.6, 0.8], np.float32)
    views = [VectorView("history", 0, near, {}), VectorView("fused", 0, far, {})]
    index = made([Entry(Record("a", "a", {}, {}), views, {})])
    assert index.search(near[None], 1)[0][0].kind == "history"
    hit = index.search(near[None], 1, kinds=("fused",))[0][0]
    assert (hit.kind, hit.similarity) == ("fused", pytest.approx(0.6))
    assert index.search(near[None], 1, kinds=("scan",)) == [[]]


def test_ties_go_to_the_smaller_case_id(made: Maker) -> None:
    v = np.asarray([1, 0], np.float32)
    entries = [Entry(Record(i, i, {}, {}), [VectorView("scan", 0, v, {})], {}) for i in ("b", "c", "a", "d")]
    assert [hit.case_id for hit in made(entries).search(v[None], 3)[0]] == ["a", "b", "c"]


def test_an_index_of_another_model_is_refused(made: Maker) -> None:
    index = made(make_entries(0, 3, 3))
    with pytest.raises(ArchiveError, match="another width"):
        index.search(np.ones((1, 5), np.float32), 1)
    folder = index.folder
    index.close()
    with pytest.raises(ArchiveError, match="another model"):
        CaseIndex.open(folder, fingerprint="two")


def _bad(change: str) -> Entry:
    good = make_entry(np.random.default_rng(0), "new", "p", views=1)
    record, vector = good.record, good.views[0].vector
    vectors = {
        "width": vector[:4], "NaN": np.full(8, np.nan, np.float32), "unit length": np.zeros(8, np.float32),
    }  # fmt: skip
    ids = {"slash": "a/b", "empty": "", "control": "a\nb", "longer": "x" * 201}
    if change in ids:
        record = Record(ids[change], "p", {}, {})
    views = [VectorView("scan", 0, vectors.get(change, vector), {})]
    return Entry(record, views, {})


@pytest.mark.parametrize("change", ["width", "NaN", "unit length", "slash", "empty", "control", "longer"])
def test_what_cannot_be_indexed_is_refused_and_nothing_is_lost(made: Maker, change: str) -> None:
    entries = make_entries(2, 6)
    index = made(entries)
    before = index.stats()["generation"]
    with pytest.raises(ArchiveError, match="cannot be indexed"):
        index.add([make_entry(np.random.default_rng(1), "fine", "p"), _bad(change)])
    assert (len(index), index.stats()["generation"]) == (6, before)
    assert index.verify() == []


def test_an_id_with_quotes_is_an_id_like_any_other(made: Maker) -> None:
    odd = 'it\'s "odd" -- ; DROP TABLE cases'
    entries = [*make_entries(4, 5), make_entry(np.random.default_rng(1), odd, odd)]
    index = made(entries)
    assert index.record(odd).patient == odd
    assert index.cases_of_patient(odd) == [odd]
    hits = index.search(entries[-1].views[0].vector[None], 10, exclude_patients=[odd])[0]
    assert len(hits) == 5
    assert odd not in [hit.case_id for hit in hits]
    assert [one.case_id for one in index.remove([odd])] == [odd]
    assert len(index) == 5


def test_one_id_given_twice_is_refused(tmp_path: Path, backend: str) -> None:
    with pytest.raises(ArchiveError, match="given twice"):
        create(tmp_path, make_entries(0, 1) * 2, backend)


def test_an_index_of_a_newer_medclip_is_refused(made: Maker) -> None:
    index = made(make_entries(0, 3))
    index.close()
    file = index.folder / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(ArchiveError, match="newer medclip"):
        CaseIndex.open(index.folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), cases=st.integers(1, 40), k=st.integers(1, 50), once=st.booleans())
def test_search_equals_brute_force_whatever_the_size(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cases: int, k: int, once: bool
) -> None:
    entries = make_entries(seed, cases)
    folder = tmp_path_factory.mktemp("index")
    create(folder, entries, "faiss")
    index = CaseIndex.open(folder)
    query = unit(np.random.default_rng(seed), 1, 8)
    _same(index.search(query, k, one_per_patient=once)[0], Twin(entries).search(query[0], k, once=once))
    index.close()
