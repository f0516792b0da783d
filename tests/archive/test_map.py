"""The map of an archive: similar cases near each other, queries among them, kept true by every change of the index."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from medclip.archive.build import Place
from medclip.archive.layout import MAP
from medclip.archive.map import CaseMap
from medclip.archive.map_file import read_map
from medclip.archive.map_upkeep import draw_map, keep_map, map_faults, map_notes, points_of
from medclip.archive.moving import back_up, export_index, import_index
from medclip.archive.upkeep import change_cases, compact_index, remove_cases
from medclip.archive.verify import verify_index
from medclip.cases import read_cases
from medclip.errors import ArchiveError, FilterError
from medclip.index import CaseIndex, Entry, Record, VectorView
from medclip.index.backends.base import backend_names

KEPT = Path(__file__).with_name("index-0.1.zip")
Medclip = Callable  # type: ignore[type-arg]
_WIDTH, _GROUPS = 16, ("lung", "liver", "brain")


def _vector(rng: np.random.Generator, group: int) -> np.ndarray:
    vector = np.eye(_WIDTH)[group] + rng.normal(scale=0.1, size=_WIDTH)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _entry(rng: np.random.Generator, number: int, content: str = "first") -> Entry:
    """A case of one of three groups, which lie apart."""
    group = number % 3
    labels = {"organ": _GROUPS[group]}
    facts = {"label.organ": (labels["organ"],), "age": (float(number),)}
    record = Record(f"case-{number:03d}", f"p{number}", labels, {}, facts, "", f"{content} {number}")
    return Entry(record, [VectorView("fused", 0, _vector(rng, group), labels)], {})


def _made(folder: Path, count: int, backend: str = "faiss") -> CaseIndex:
    folder.mkdir()
    rng = np.random.default_rng(1)
    uri = str(folder / "cases.db") if backend == "milvus" else None
    entries = [_entry(rng, number) for number in range(count)]
    CaseIndex.create(folder, entries, fingerprint="f", backend=backend, uri=uri, fields={"age": "number"})
    return CaseIndex.open(folder)


@pytest.fixture(params=backend_names())
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "milvus":
        pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    return name


@pytest.fixture
def opened(tmp_path: Path, backend: str) -> Iterator[CaseIndex]:
    """Sixty cases of three groups, with their map."""
    index = _made(tmp_path / "index", 60, backend)
    draw_map(index, seed=0)
    yield index
    index.close()


def _map(index: CaseIndex) -> CaseMap:
    found = read_map(index)
    assert found is not None
    return found


def _middles(known: CaseMap) -> np.ndarray:
    """(3, 2) of the groups."""
    group = np.asarray([int(case_id[-3:]) % 3 for case_id in known.case_ids])
    return np.stack([known.points[group == number].mean(axis=0) for number in range(3)])


def _nearest_group(known: CaseMap, points: np.ndarray) -> list[int]:
    return np.linalg.norm(points[:, None] - _middles(known), axis=2).argmin(axis=1).tolist()


def test_similar_cases_lie_together_and_a_query_among_those_it_is_like(opened: CaseIndex) -> None:
    known = _map(opened)
    assert list(known.case_ids) == sorted(opened.contents())
    assert np.abs(known.points).max() == pytest.approx(1)
    assert _nearest_group(known, known.points) == [number % 3 for number in range(60)]
    rng = np.random.default_rng(7)
    queries = np.stack([_vector(rng, number % 3) for number in range(30)])
    assert _nearest_group(known, known.place(queries)) == [number % 3 for number in range(30)]
    moved = known.place(queries + np.float32(1e-5))
    np.testing.assert_allclose(moved, known.place(queries), atol=5e-3)


def test_points_carry_the_values_that_they_are_coloured_by(opened: CaseIndex) -> None:
    known = _map(opened)
    by_organ = points_of(opened, known, "organ")
    assert [(p.case_id, p.values) for p in by_organ] == [
        (f"case-{number:03d}", (_GROUPS[number % 3],)) for number in range(60)
    ]
    assert [(p.x, p.y) for p in by_organ] == [(x, y) for x, y in known.points.tolist()]
    assert [p.values for p in points_of(opened, known, "age")] == [(float(number),) for number in range(60)]
    with pytest.raises(FilterError, match="no field 'size'"):
        points_of(opened, known, "size")


def test_the_same_seed_draws_the_same_map(opened: CaseIndex) -> None:
    before = opened.attachment(MAP).read_bytes()
    draw_map(opened, seed=0)
    assert opened.attachment(MAP).read_bytes() == before


def test_who_comes_and_who_changes_is_placed_and_nobody_else_moves(opened: CaseIndex) -> None:
    known, before, rng = _map(opened), opened.generation(), np.random.default_rng(3)
    opened.add([_entry(rng, number) for number in (60, 61)])
    keep_map(opened, known, before, ["case-060", "case-061"])
    now = _map(opened)
    assert list(now.case_ids) == sorted(opened.contents())
    np.testing.assert_array_equal(now.points[:60], known.points)
    assert _nearest_group(now, now.points[60:]) == [0, 1]
    before = opened.generation()
    other = _entry(rng, 5, "second")
    opened.update([Entry(other.record, [VectorView("fused", 0, _vector(rng, 0), {})], {})])
    keep_map(opened, now, before, ["case-005"])
    assert _nearest_group(now, _map(opened).points[5:6]) == [0]
    assert map_faults(opened) == map_notes(opened) == []


def test_what_a_killed_change_left_undone_is_said_and_the_next_one_does_it(opened: CaseIndex) -> None:
    rng = np.random.default_rng(3)
    opened.add([_entry(rng, 60)])
    opened.update([_entry(rng, 7, "second")])
    opened.remove(["case-001"])
    assert "lacks 2 cases" in map_notes(opened)[0]
    assert "has 1 cases that the index lacks" in map_faults(opened)[0]
    known, before = _map(opened), opened.generation()
    opened.add([_entry(rng, 61)])
    keep_map(opened, known, before, ["case-061"])
    assert list(_map(opened).case_ids) == sorted(opened.contents())
    assert map_faults(opened) == map_notes(opened) == []


@pytest.mark.parametrize("count", [1, 2, 3, 9, 12])
def test_few_cases_are_drawn_too(tmp_path: Path, count: int) -> None:
    index = _made(tmp_path / "index", count)
    draw_map(index, seed=0)
    known = _map(index)
    assert (len(known), bool(np.isfinite(known.points).all())) == (count, True)
    assert np.isfinite(known.place(known.vectors)).all()


def test_cases_beyond_the_landmarks_are_placed_among_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medclip.archive.map_upkeep.LANDMARKS", 40)
    index = _made(tmp_path / "index", 90)
    draw_map(index, seed=0)
    known = _map(index)
    assert (len(known), len(known.landmarks)) == (90, 40)
    assert _nearest_group(known, known.points) == [number % 3 for number in range(90)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index that an earlier medclip made, which had no maps."""
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    return tmp_path / "index"


def _drawn(folder: Path) -> CaseMap:
    index = CaseIndex.open(folder)
    try:
        return _map(index)
    finally:
        index.close()


def test_an_older_index_gets_its_map_from_compact(folder: Path, medclip: Medclip, refused: Callable[..., str]) -> None:
    assert "medclip index compact" in refused(medclip("index", "map", folder, "--json"))
    compact_index(folder)
    assert len(_drawn(folder)) == 12
    assert verify_index(folder).faults == []
    said = json.loads(medclip("index", "map", folder, "--json", "--colour", "finding").out)
    assert {value for point in said["points"] for value in point["values"]} == {"cyst", "nodule"}


@pytest.mark.slow
def test_a_picture_of_it_is_drawn(folder: Path, medclip: Medclip, refused: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    compact_index(folder)
    for colour in ("finding", "age", "plane"):
        done = medclip("index", "map", folder, "--out", tmp_path / f"{colour}.svg", "--colour", colour)
        assert done.code == 0, done.err
    assert "cyst (6)" in (tmp_path / "finding.svg").read_text()
    assert "no field 'size'" in refused(medclip("index", "map", folder, "--json", "--colour", "size"))
    assert "--out" in refused(medclip("index", "map", folder))


def test_removed_means_removed_from_the_map(folder: Path) -> None:
    compact_index(folder)
    known = _drawn(folder)
    removal = remove_cases(folder, ["c11"])
    assert any(MAP in line for line in removal.deleted)
    now = _drawn(folder)
    assert set(now.case_ids) == set(known.case_ids) - {"c11"}
    assert len(now.vectors) == len(known.vectors) - 1
    assert b"c11" not in (folder / MAP).read_bytes()
    kept = [known.case_ids.index(case_id) for case_id in now.case_ids]
    np.testing.assert_array_equal(now.points, known.points[kept])
    found = verify_index(folder)
    assert found.faults == []
    assert not any(MAP in note for note in found.notes)


def test_a_damaged_map_is_a_fault_that_compact_mends_and_a_removal_does_not_keep(folder: Path, tmp_path: Path) -> None:
    compact_index(folder)
    file = folder / MAP
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    [fault] = verify_index(folder).faults
    assert all(word in fault for word in (MAP, "has changed since it was written", "medclip index compact"))
    with pytest.raises(ArchiveError, match="draws it anew"):
        change_cases(folder, [], tmp_path, update=False)
    assert any("was damaged" in line for line in remove_cases(folder, ["c11"]).deleted)
    assert not file.exists()
    compact_index(folder)
    assert len(_drawn(folder)) == 11
    assert verify_index(folder).faults == []


@pytest.mark.parametrize("content", [b"", b"no tensors", np.random.default_rng(0).bytes(500)])
def test_garbage_is_no_map(folder: Path, content: bytes) -> None:
    (folder / MAP).write_bytes(content)
    index = CaseIndex.open(folder)
    with pytest.raises(ArchiveError, match="is damaged"):
        read_map(index)
    index.close()


def test_a_map_goes_where_its_index_goes(folder: Path, tmp_path: Path) -> None:
    compact_index(folder)
    known = _drawn(folder)
    back_up(folder, tmp_path / "backup")
    assert (tmp_path / "backup" / MAP).read_bytes() == (folder / MAP).read_bytes()
    shutil.copytree(folder, tmp_path / "later")
    remove_cases(tmp_path / "later", ["c3"])
    export_index(folder, tmp_path / "all.gz")
    import_index(tmp_path / "all.gz", tmp_path / "later", tmp_path / "whole", Place())
    export_index(tmp_path / "later", tmp_path / "less.gz")
    import_index(tmp_path / "less.gz", folder, tmp_path / "less", Place())
    assert _drawn(tmp_path / "whole").case_ids == known.case_ids
    less = _drawn(tmp_path / "less")
    assert set(less.case_ids) == set(known.case_ids) - {"c3"}
    for made in ("whole", "less"):
        found = verify_index(tmp_path / made)
        assert found.faults == []
        assert not any(MAP in note for note in found.notes)


def test_commands_that_change_an_index_keep_its_map(
    few: Path, tiny_model: Path, tmp_path: Path, medclip: Medclip
) -> None:
    index = tmp_path / "index"
    done = medclip("index", "build", few, "--model", tiny_model, "--out", index, "--split", "train")
    assert done.code == 0, done.err
    built = _drawn(index)
    assert len(built) == 14
    done = medclip("index", "add", index, few, "--split", "dev")
    assert done.code == 0, done.err
    added = _drawn(index)
    assert set(added.case_ids) == {case.id for case in read_cases(few)}
    np.testing.assert_array_equal(added.points[[added.case_ids.index(one) for one in built.case_ids]], built.points)
    found = verify_index(index)
    assert found.faults == []
    assert not any(MAP in note for note in found.notes)
