"""Tower features: what is done once is done once, whatever it is for, and is not done again after a kill."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch", reason="needs the extra train")

from medclip.cases import Case, Note, Scan
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training import features, orientation
from medclip.training.augmentation import augment
from medclip.training.features import PictureFeatures, compute_features
from medclip.training.orientation import Turned, turned_features
from medclip.training.timing import Stopwatch, Work

SIZE = 16


class _Towers:
    """Features that are the pictures themselves, and the lengths of the texts."""

    preprocessing = Preprocessing(size=SIZE, resize="pad", interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
    scripts = None
    threads = 2

    def __init__(self, dies_after: int | None = None) -> None:
        self.pictures, self.texts, self._dies_after = 0, list[str](), dies_after

    def scan_features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.pictures += len(pictures)
        if self._dies_after is not None and self.pictures > self._dies_after:
            raise KeyboardInterrupt
        return pictures.reshape(len(pictures), -1).astype(np.float32)

    def text_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return np.asarray([[len(text)] for text in texts], np.float32)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Twelve cases of two scans, two of which are the same file as another case's."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for i in range(22):
        picture = rng.integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "scans" / f"{i}.png")
    return [
        Case(
            id=f"case-{i}",
            patient=f"patient-{i}",
            scans=tuple(Scan(file=f"scans/{(2 * i + k) % 22}.png") for k in range(2)),
            notes=(Note(kind="findings", text=f"A lone nodule, number {i}."),),
        )
        for i in range(12)
    ]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is read."""
    seen: Counter[str] = Counter()

    def counted(path: Path) -> object:
        seen[path.name] += 1
        return read_scan(path)

    monkeypatch.setattr(features, "read_scan", counted)
    monkeypatch.setattr(orientation, "read_scan", counted)
    return seen


def _features(cases: list[Case], folder: Path, towers: _Towers, work: Work | None = None) -> PictureFeatures:
    return compute_features(
        cases, folder, towers, augmentations=3, seed=5, cache=folder / "cache", fingerprint="t", work=work
    )


def _turned(cases: list[Case], folder: Path, towers: _Towers) -> Turned:
    return turned_features(cases, folder, towers, seed=5, cache=folder / "cache", fingerprint="t", most=60)


def test_a_scan_is_read_once_for_all_of_its_augmentations(
    cases: list[Case], tmp_path: Path, reads: Counter[str]
) -> None:
    work = Work()
    found = _features(cases, tmp_path, _Towers(), work)
    assert sum(reads.values()) == 24
    assert found.pictures.shape == (4, 24, SIZE * SIZE)
    assert found.picture_scan.tolist() == list(range(24))
    assert set(work.seconds) == {"reading", "augmenting", "image tower", "text tower"}
    how = _Towers.preprocessing
    for i, file in enumerate(scan.file for case in cases for scan in case.scans):
        picture = read_scan(tmp_path / file).middle
        wanted = [prepare_scan(picture, how)]
        wanted += [augment(picture, how, np.random.default_rng((5, number, i))) for number in (1, 2, 3)]
        np.testing.assert_array_equal(found.pictures[:, i], np.stack(wanted).reshape(4, -1))


def test_a_text_that_is_there_twice_is_read_once(cases: list[Case], tmp_path: Path) -> None:
    towers = _Towers()
    found = _features(cases, tmp_path, towers)
    assert sorted(towers.texts) == sorted(f"A lone nodule, number {i}." for i in range(12))
    kinds = found.rows.text_kind.tolist()
    assert {"report", "findings", "sentence"} <= set(kinds)
    assert found.texts[:, 0].tolist() == [len(f"A lone nodule, number {i}.") for i in found.rows.text_case]


def test_what_was_done_before_a_kill_is_not_done_again(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_SHARD", 5)
    whole = _features(cases, tmp_path, _Towers())
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        _features(cases, tmp_path, _Towers(dies_after=50))  # of 24 scans in four copies
    towers = _Towers()
    resumed = _features(cases, tmp_path, towers)
    assert towers.pictures == 4 * (24 - 10)  # two shards of five scans were done
    np.testing.assert_array_equal(whole.pictures, resumed.pictures)
    np.testing.assert_array_equal(whole.picture_scan, resumed.picture_scan)
    assert _features(cases, tmp_path, towers).pictures.shape == whole.pictures.shape
    assert towers.pictures == 4 * (24 - 10)


def test_a_scan_is_read_once_for_all_the_ways_it_is_turned(
    cases: list[Case], tmp_path: Path, reads: Counter[str]
) -> None:
    found = _turned(cases, tmp_path, _Towers())
    assert len(found.names) == len(found.case_ids) == 60
    assert max(reads.values()) == 1
    by_case = {case.id: [read_scan(tmp_path / scan.file).middle for scan in case.scans] for case in cases}
    ways = {way.name: way.turn for way in orientation._WAYS[1:]}
    for case_id, name, feature in zip(found.case_ids, found.names, found.pictures, strict=True):
        called = orientation._NAMES[name]
        turns = [orientation._WAYS[0].turn, ways[called]] if called == "upright" else [ways[called]]
        looks = [prepare_scan(turn(p), _Towers.preprocessing) for turn in turns for p in by_case[case_id]]
        assert any(np.array_equal(feature, look.ravel()) for look in looks)


def test_a_stage_ends_where_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 3.0, 3.0, 7.0, 7.0, 12.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    told: list[str] = []
    watch = Stopwatch(told.append)
    for name in ("one", "two", "one"):
        watch.stage(name)
    watch.end()
    watch.end()
    assert watch.seconds == {"one": 7.0, "two": 4.0}
    assert told == ["one", "two", "one"]
