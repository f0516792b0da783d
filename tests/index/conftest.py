"""Entries to index, and one fixture that every backend runs through."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from medclip.index import CaseIndex, Entry, Record, VectorView
from medclip.index.backends.base import backend_names

BACKENDS = backend_names()


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = rng.normal(size=(n, d))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def make_entry(rng: np.random.Generator, case_id: str, patient: str, d: int = 8, views: int | None = None) -> Entry:
    """A case with one to four views, and facts that filters can tell apart; some are unknown."""
    count = views or int(rng.integers(1, 5))
    vectors = unit(rng, count, d)
    facts: dict[str, tuple] = {"modality": tuple(sorted({str(rng.choice(["CT", "MR", "CR"])) for _ in range(count)}))}
    if rng.random() < 0.7:
        facts["age"] = (float(rng.integers(0, 90)),)
    if rng.random() < 0.8:
        facts["label.location"] = (str(rng.choice(["Thorax", "Head", 'it\'s "odd" 100%_\\'])),)
    words = " ".join(rng.choice(["nodule", "effusion", "fracture", "mass", "left", "right"], 5))
    record = Record(
        case_id, patient, {"organ": "lung"}, {"note": case_id}, facts, words, f"content of {case_id} {rng.integers(9)}"
    )
    kinds = ["scan", "scan", "report", "fused"]
    return Entry(
        record,
        [VectorView(kinds[n], n, vectors[n], {"organ": "lung", "n": str(n)}) for n in range(count)],
        {0: bytes([int(rng.integers(256))] * 40)},
    )


def make_entries(seed: int, cases: int, patients: int | None = None, d: int = 8) -> list[Entry]:
    rng = np.random.default_rng(seed)
    patients = patients or max(1, cases // 2)
    return [make_entry(rng, f"case-{i:04d}", f"p{int(rng.integers(patients))}", d) for i in range(cases)]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "milvus":
        pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    return name


Maker = Callable[..., CaseIndex]


@pytest.fixture
def made(backend: str, tmp_path: Path) -> Iterator[Maker]:
    """Makes an index of some entries in the backend, opened."""
    opened: list[CaseIndex] = []

    def make(entries: list[Entry], name: str = "index") -> CaseIndex:
        folder = tmp_path / name
        folder.mkdir()
        create(folder, entries, backend)
        opened.append(CaseIndex.open(folder, fingerprint="f"))
        return opened[-1]

    yield make
    for index in opened:
        index.close()


def create(folder: Path, entries: list[Entry], backend: str) -> None:
    fields = {"age": "number", "modality": "text", "label.location": "text"}
    uri = str(folder / "cases.db") if backend == "milvus" else None
    CaseIndex.create(folder, entries, fingerprint="f", backend=backend, uri=uri, fields=fields)
