"""Cases are found by words through the postings of a segment as FTS5 alone finds them."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclip.errors import ArchiveError
from medclip.index import CaseIndex, Entry, Record, VectorView
from medclip.index.backends.base import Scope
from medclip.index.backends.local.bm25 import Stands, Weighted, best, norms, scores, weight_of
from medclip.index.backends.local.postings import Postings
from medclip.index.structures.base import Spec

from .conftest import unit

STRUCTURE = Spec("flat")  # a segment is made, quickly
STEMS = ("nodul", "effus", "opac", "fractur", "mass", "lung", "pleural", "normal", "left", "right", "no", "mild")
ENDS = ("", "s", "es", "ing", "ation", "ly")
ODD = (
    "café", "CAFÉ", "cafe\u0301", "Ödem", "t2_flair", "___", "肺部 结节", "肺部", "don't", "x" * 40_000, "\x00 nul", "½", "١٢٣",
    "é" * 20_000, "and", "OR", "near",
)  # fmt: skip


def _text(rng: np.random.Generator) -> str:
    """Words that are rare and words that stand in most texts, in texts of very different lengths."""
    count = int(rng.choice([0, 1, 8, 30, 100], p=[0.05, 0.1, 0.4, 0.4, 0.05]))
    frequent = rng.choice(["the", "of", "Of", "lung", "seen"], count // 3)
    stems = [STEMS[int(i) % len(STEMS)] for i in rng.zipf(1.5, count - len(frequent))]
    rare = [f"w{int(rng.zipf(1.2)) % 3000}" for _ in range(count // 4)]
    words = [*frequent, *(stem + str(rng.choice(ENDS)) for stem in stems), *rare]
    if rng.random() < 0.05:
        words.append(str(rng.choice(ODD)))
    if rng.random() < 0.01:
        words += ["many"] * int(rng.choice([254, 255, 256, 700]))
    rng.shuffle(words)
    return str(rng.choice([" ", ". ", ",\n"])).join(words)


def _entry(rng: np.random.Generator, number: int, prefix: str = "case") -> Entry:
    facts = {"age": (float(number % 100),), "modality": (("CT", "MR")[number % 2],)}
    # Ids in another order than that in which the cases come.
    case_id = f"{prefix}-{(number * 7919) % 100_003:06d}"
    views = [VectorView("scan", n, vector, {}) for n, vector in enumerate(unit(rng, 1 + number % 2, 8))]
    return Entry(Record(case_id, f"p{number // 3}", {}, {}, facts, _text(rng), case_id), views, {})


def _query(rng: np.random.Generator) -> str:
    words = _text(rng).split()
    return " ".join(words[: int(rng.choice([1, 3, 60]))])


def _make(folder: Path, entries: list[Entry]) -> Path:
    folder.mkdir()
    CaseIndex.create(folder, entries, fingerprint="f", structure=STRUCTURE)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    return _make(tmp_path_factory.mktemp("words") / "index", [_entry(rng, number) for number in range(3000)])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    return _make(tmp_path_factory.mktemp("words") / "index", [_entry(rng, number) for number in range(300)])


@pytest.fixture
def folder(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "index"))


def _same(index: CaseIndex, rng: np.random.Generator, times: int) -> None:
    """What is found by words is what FTS5 finds, in its order."""
    backend: Any = index._backend
    for turn in range(times):
        text = _query(rng) if turn else " ".join(ODD)
        where = rng.choice(["", "age < 1", "age < 50", "age > 1000", "modality = 'CT'"])
        patient = f"p{int(rng.integers(900))}" if rng.random() < 0.5 else None
        scope = Scope(None, index.filter(str(where)) if where else None, patient)
        want = int(rng.choice([1, 10, 100]))
        with index.snapshot():
            assert _worded(backend)
            expected = backend._catalogue.found_words(text, scope.holds, want)
            assert list(backend.words(text, want, scope).items()) == list(expected.items()), (text, want, scope)


def test_words_are_found_as_fts5_finds_them(fresh: Path) -> None:
    index = CaseIndex.open(fresh)
    _same(index, np.random.default_rng(0), 50)
    index.close()


@pytest.mark.slow
def test_words_are_found_as_fts5_finds_them_whatever_has_changed(folder: Path) -> None:
    rng = np.random.default_rng(1)
    index, reader = CaseIndex.open(folder), CaseIndex.open(folder)
    _same(index, rng, 150)
    _same(reader, rng, 5)
    for turn in range(3):
        ids = sorted(index.contents())
        index.remove(list(rng.choice(ids, 40, replace=False)))
        index.add([_entry(rng, number, f"new{turn}") for number in range(60)])
        ids = sorted(index.contents())
        index.update([_named(_entry(rng, 7), case_id) for case_id in rng.choice(ids, 30, replace=False)])
        for one in (index, reader):
            _same(one, rng, 30)
    index.compact()
    for one in (index, reader):
        _same(one, rng, 30)
    assert index.verify() == []
    index.close()
    reader.close()


def _named(entry: Entry, case_id: str) -> Entry:
    record = entry.record
    same = (record.labels, record.document, record.facts, record.text, record.content)
    return Entry(Record(case_id, record.patient, *same), entry.views, entry.thumbnails)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 30), want=st.sampled_from([1, 3, 20, 100]), filtered=st.sampled_from([None, 0.5, 0.01]))
def test_no_text_is_given_up_that_is_among_the_best(seed: int, want: int, filtered: float | None) -> None:
    rng = np.random.default_rng(seed)
    m = int(rng.choice([1, 50, 5000]))
    lengths = rng.integers(0, rng.choice([1, 20, 200]) + 1, m)
    norm = norms(lengths, float(lengths.mean()))
    terms = []
    for _ in range(int(rng.choice([1, 4, 40]))):
        count = max(1, int(m * rng.choice([0.8, 0.3, 0.05, 0.001])))
        texts = np.sort(rng.choice(m, count, replace=False)).astype(np.uint32)
        times = np.minimum(rng.geometric(rng.choice([0.5, 0.99]), count), 255).astype(np.uint8)
        if rng.random() < 0.3:
            dense = np.zeros(m, np.uint8)
            dense[texts] = times
            stands = Stands(None, dense, count, 2.2)
        else:
            stands = Stands(texts, times, count, 2.2)
        most = float(stands.of(np.arange(m, dtype=np.uint32), norm).max())
        terms.append(Weighted(Stands(stands.texts, stands.times, count, most), weight_of(m, count)))
    allowed = None if filtered is None else rng.random(m) < filtered
    everything = np.arange(m, dtype=np.uint32)
    truth = scores(terms, everything, norm)
    if allowed is not None:
        truth = np.where(allowed, truth, 0)
    found = best(terms, norm.astype(np.float32), want, allowed)
    least = np.sort(truth)[-min(want, m)]
    assert set(np.flatnonzero((truth >= least) & (truth > 0)).tolist()) <= set(found.tolist())
    assert allowed is None or allowed[found].all()
    if filtered is None and m == 5000 and truth[np.argsort(-truth)[min(3 * want, m - 1)]] < 0.9 * least:
        assert len(found) < m, "something is given up"


def _worded(backend: Any) -> bool:
    return any(part.words is not None for part in backend.state.segments)


def _segment(folder: Path) -> Path:
    """The one that holds the words."""
    [found] = {file.parent for file in (folder / "segments").glob("*/words-*")}
    return found


def _restate(folder: Path, change: Any) -> None:
    """Change what the catalogue says of the segment's files."""
    connection = sqlite3.connect(folder / "catalogue.sqlite")
    name = _segment(folder).name
    [(text,)] = connection.execute("SELECT manifest FROM segments WHERE name = ?", (name,))
    manifest = json.loads(text)
    change(manifest["sha256"])
    connection.execute("UPDATE segments SET manifest = ? WHERE name = ?", (json.dumps(manifest), name))
    connection.commit()
    connection.close()


def test_a_segment_that_an_older_medclip_made_opens_and_has_postings_once_it_is_compacted(folder: Path) -> None:
    _restate(folder, lambda digests: [digests.pop(name) for name in Postings.names()])
    segment = _segment(folder)
    for name in Postings.names():
        (segment / name).unlink()
    index = CaseIndex.open(folder)
    backend: Any = index._backend
    query = unit(np.random.default_rng(0), 1, 8)
    with index.snapshot():
        assert not _worded(backend)
    before = index.search(query, 10, words=["nodules in the left lung"])[0]
    assert index.verify() == []
    index.compact()
    index.close()
    index = CaseIndex.open(folder)
    backend = index._backend
    with index.snapshot():
        assert _worded(backend)
    assert index.search(query, 10, words=["nodules in the left lung"])[0] == before
    index.close()


def _altered() -> Iterator[tuple[str, Any]]:
    """Arrays of the right shape and type that hold what cannot be."""
    yield "words-texts.npy", lambda array: array + np.uint32(1 << 20)
    yield "words-ends.npy", lambda array: array * np.int64(-1)
    yield "words-ends.npy", lambda array: np.concatenate([array[:, :1], array[:, 1:-1] + (1 << 40), array[:, -1:]], 1)
    yield "words-most.npy", lambda array: array * np.float32("nan")
    yield "words-most.npy", lambda array: array + np.float32(1e30)
    yield "words-dense.npy", lambda array: array - np.int32(1 << 20)
    yield "words-cases.npy", lambda array: array + (1 << 40)
    yield "words-often.npy", lambda array: array - (1 << 40)
    yield "words-lengths.npy", lambda array: array.astype(np.int64)
    yield "words-times.npy", lambda array: array[:-1]
    yield "words-all.npy", lambda array: array[:, :-1]
    yield "words-ranks.npy", lambda array: array.astype(object)


@pytest.mark.parametrize(("name", "change"), list(_altered()))
def test_arrays_that_cannot_be_are_named_with_the_remedy_and_mended(
    few: Path, tmp_path: Path, name: str, change: Any
) -> None:
    folder = Path(shutil.copytree(few, tmp_path / "index"))
    file = _segment(folder) / name
    np.save(file, change(np.load(file)), allow_pickle=True)
    query, said = unit(np.random.default_rng(0), 1, 8), ""
    try:
        index = CaseIndex.open(folder)
        try:
            for text in ("the lung nodules seen of", "many masses w1 w2", "fractures"):
                index.search(query, 10, words=[text])
        finally:
            index.close()
    except ArchiveError as error:
        said = str(error)
    if name != "words-often.npy":  # what it says is of one term alone, and harmless
        assert "segments" in said
        assert said.endswith("medclip index verify --repair")
    index = CaseIndex.open_for_repair(folder)
    assert any(name in fault for fault in index.verify())
    assert index.repair()
    assert index.verify() == []
    index.close()


def test_what_is_removed_is_not_found_by_its_words_and_gone_from_the_files_once_it_is_compacted(folder: Path) -> None:
    """Until then it is said that the segment holds them."""
    rng = np.random.default_rng(5)
    index = CaseIndex.open(folder)
    odd = _entry(rng, 5000)
    record = odd.record
    same = (record.patient, record.labels, record.document, record.facts)
    index.add([Entry(Record("withdrawn", *same, "quokka the lung", "c"), odd.views, {})])
    index.compact()
    query = unit(rng, 1, 8)
    backend: Any = index._backend
    assert b"quokka" in (_segment(folder) / "words-terms.npy").read_bytes()
    assert list(backend.words("quokka", 10, Scope(None, None, None))) == ["withdrawn"]
    index.remove(["withdrawn"])
    assert backend.words("quokka", 10, Scope(None, None, None)) == {}
    assert "withdrawn" not in {hit.case_id for hit in index.search(query, 50, words=["quokka"])[0]}
    assert any("words" in line and "until  medclip index compact" in line for line in index.traces())
    index.compact()
    assert not any(b"quokka" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not any("words" in line for line in index.traces())
    index.close()
