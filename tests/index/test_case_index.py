"""`CaseIndex` against a brute-force twin."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medclip.errors import ArchiveError
from medclip.index import CaseIndex, Record, VectorView
from medclip.index.backends.base import backend_names, load_backend
from medclip.index.case_index import Entry


def _unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = rng.normal(size=(n, d))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def _entries(rng: np.random.Generator, cases: int, patients: int, d: int) -> list[Entry]:
    entries = []
    for i in range(cases):
        views = int(rng.integers(1, 5))
        vectors = _unit(rng, views, d)
        entries.append(
            Entry(
                Record(f"case-{i:03d}", f"p{int(rng.integers(patients))}", {"organ": "lung"}, {"note": i}),
                [VectorView("scan", n, vectors[n], {"organ": "lung", "n": str(n)}) for n in range(views)],
                {0: bytes([i % 256])},
            )
        )
    return entries


def _brute(entries: list[Entry], query: np.ndarray, k: int, patient: str | None, once: bool) -> list[tuple[str, float]]:
    best = [
        (e.record.id, e.record.patient, max(float(query @ v.vector) for v in e.views))
        for e in entries
        if e.record.patient != patient
    ]
    best.sort(key=lambda item: (-item[2], item[0]))
    if once:
        seen: set[str] = set()
        best = [b for b in best if not (b[1] in seen or seen.add(b[1]))]
    return [(b[0], b[2]) for b in best[:k]]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000), cases=st.integers(1, 40), k=st.integers(1, 50), once=st.booleans(), leave=st.booleans()
)
def test_search_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cases: int, k: int, once: bool, leave: bool
) -> None:
    rng = np.random.default_rng(seed)
    entries = _entries(rng, cases, max(1, cases // 2), 8)
    folder = tmp_path_factory.mktemp("index")
    CaseIndex.create(folder, entries, fingerprint="f")
    index = CaseIndex.open(folder, fingerprint="f")
    query = _unit(rng, 1, 8)
    patient = entries[0].record.patient if leave else None
    hits = index.search(query, k, exclude_patients=[patient], one_per_patient=once)[0]
    expected = _brute(entries, query[0], k, patient, once)
    assert [hit.case_id for hit in hits] == [case_id for case_id, _ in expected]
    np.testing.assert_allclose([hit.similarity for hit in hits], [s for _, s in expected], atol=1e-5)
    index.close()


@pytest.mark.parametrize("name", backend_names())
def test_every_backend_gives_exact_neighbours_and_never_pads(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors, queries = _unit(rng, 50, 16), _unit(rng, 5, 16)
    kind = load_backend(name)
    kind.from_vectors(vectors).save(tmp_path / kind.file)
    backend = kind.load(tmp_path / kind.file)
    found = backend.query(queries, 100)
    expected = queries @ vectors.T
    for row in range(len(queries)):
        np.testing.assert_array_equal(found.rows[row], np.argsort(-expected[row]))
        np.testing.assert_allclose(found.similarities[row], np.sort(expected[row])[::-1], atol=1e-5)
    among = np.asarray([3, 7, 11], np.int64)
    assert [set(rows) for rows in backend.query(queries, 10, among).rows] == [{3, 7, 11}] * 5


def test_only_the_kinds_asked_for_match(tmp_path: Path) -> None:
    near, far = np.asarray([1, 0], np.float32), np.asarray([0.6, 0.8], np.float32)
    views = [VectorView("history", 0, near, {}), VectorView("fused", 0, far, {})]
    CaseIndex.create(tmp_path, [Entry(Record("a", "a", {}, {}), views, {})], fingerprint="f")
    index = CaseIndex.open(tmp_path)
    assert index.search(near[None], 1)[0][0].kind == "history"
    hit = index.search(near[None], 1, kinds=("fused",))[0][0]
    assert (hit.kind, hit.similarity) == ("fused", pytest.approx(0.6))
    assert index.search(near[None], 1, kinds=("scan",)) == [[]]


def test_ties_go_to_the_smaller_case_id(tmp_path: Path) -> None:
    v = np.asarray([1, 0], np.float32)
    entries = [Entry(Record(i, i, {}, {}), [VectorView("scan", 0, v, {})], {}) for i in ("b", "c", "a", "d")]
    CaseIndex.create(tmp_path, entries, fingerprint="f")
    hits = CaseIndex.open(tmp_path).search(v[None], 3)[0]
    assert [hit.case_id for hit in hits] == ["a", "b", "c"]


def test_an_index_of_another_model_is_refused(tmp_path: Path) -> None:
    CaseIndex.create(tmp_path, _entries(np.random.default_rng(0), 3, 3, 4), fingerprint="one")
    with pytest.raises(ArchiveError, match="another model"):
        CaseIndex.open(tmp_path, fingerprint="two")
    with pytest.raises(ArchiveError, match="another width"):
        CaseIndex.open(tmp_path).search(np.ones((1, 5), np.float32), 1)


def test_one_id_given_twice_is_refused(tmp_path: Path) -> None:
    entries = _entries(np.random.default_rng(0), 1, 1, 4) * 2
    with pytest.raises(ArchiveError, match="given twice"):
        CaseIndex.create(tmp_path, entries, fingerprint="f")


def _noticed(folder: Path) -> str:
    """What opening and verifying say of a damaged index."""
    try:
        return "; ".join(CaseIndex.open(folder).verify())
    except ArchiveError as error:
        return str(error)


@pytest.mark.parametrize("name", ["catalogue.sqlite", "vectors.npy", "flat.faiss", "index.json"])
def test_a_damaged_or_missing_file_is_named(name: str, tmp_path: Path) -> None:
    CaseIndex.create(tmp_path, _entries(np.random.default_rng(0), 20, 10, 8), fingerprint="f")
    assert CaseIndex.open(tmp_path).verify() == []
    file = tmp_path / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert name in _noticed(tmp_path)
    file.unlink()
    with pytest.raises(ArchiveError, match=name.replace(".", r"\.")):
        CaseIndex.open(tmp_path)
