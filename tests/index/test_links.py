"""A folder that somebody else made: nothing outside it is read, written or deleted through it, and nothing in it hangs."""

import os
import shutil
from pathlib import Path

import pytest

from medclip.errors import ArchiveError, MedclipError
from medclip.index import CaseIndex
from medclip.index.folder import odd_parts
from medclip.index.lock import writer_lock

from .conftest import make_entries
from .crashing import build


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """An index, beside a folder of somebody's files."""
    build(tmp_path / "index", make_entries(0, 30))
    (tmp_path / "index" / "model").mkdir()
    (tmp_path / "index" / "model" / "serving.json").write_text("{}")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    (elsewhere / "precious" / "thesis.txt").write_text("years of work")
    (elsewhere / "notes.txt").write_text("important")
    return tmp_path / "index"


def _elsewhere(folder: Path) -> dict[str, bytes]:
    root = folder.parent / "elsewhere"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("segments", "precious"), ("writer.lock", "notes.txt"), ("catalogue.sqlite", "catalogue"), ("index.json", "manifest"),
        ("catalogue.sqlite-wal", "notes.txt"), ("catalogue.sqlite-shm", "notes.txt"), ("model", "precious"),
        ("model/serving.json", "notes.txt"), ("segments/0123456789ab", "precious"), ("vocabulary.json", "notes.txt"),
        ("anything", "precious"),
    ],
)  # fmt: skip
def test_a_link_in_place_of_anything_is_refused_and_what_it_leads_to_is_left_alone(
    planted: Path, name: str, target: str
) -> None:
    elsewhere = planted.parent / "elsewhere"
    shutil.copy(planted / "catalogue.sqlite", elsewhere / "catalogue")
    shutil.copy(planted / "index.json", elsewhere / "manifest")
    link = planted / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere / target)
    before = _elsewhere(planted)
    for use in (CaseIndex.open, CaseIndex.open_for_repair):
        with pytest.raises(ArchiveError, match="symbolic link"):
            use(planted)
    assert _elsewhere(planted) == before


@pytest.mark.parametrize("name", ["segments", "writer.lock", "model"])
def test_a_link_that_is_planted_under_an_open_index_is_not_followed_by_its_next_change(
    planted: Path, name: str
) -> None:
    index = CaseIndex.open(planted)
    link = planted / name
    shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
    link.symlink_to(planted.parent / "elsewhere" / ("notes.txt" if name == "writer.lock" else "precious"))
    before = _elsewhere(planted)
    (planted.parent / "copy").mkdir()
    for change in (
        lambda: index.remove(["case-0001"]), index.compact, lambda: index.copy_to(planted.parent / "copy", ["model"])
    ):  # fmt: skip
        with pytest.raises(MedclipError, match="symbolic link"):
            change()
    assert any("symbolic link" in fault for fault in index.verify())
    index.close()
    with pytest.raises(MedclipError), writer_lock(planted):
        pass
    assert _elsewhere(planted) == before


@pytest.mark.parametrize(
    "name", ["index.json", "writer.lock", "catalogue.sqlite", "model/serving.json", "segments/pipe"]
)
def test_a_pipe_in_place_of_anything_is_refused_at_once(planted: Path, name: str) -> None:
    (planted / name).unlink(missing_ok=True)
    os.mkfifo(planted / name)
    with pytest.raises(ArchiveError, match=r"no plain file|not found"):
        CaseIndex.open(planted)


def test_an_index_may_itself_be_reached_by_a_link(planted: Path) -> None:
    (planted.parent / "current").symlink_to(planted)
    index = CaseIndex.open(planted.parent / "current")
    index.remove(["case-0001"])
    index.close()
    assert len(CaseIndex.open(planted)) == 29


def test_a_copy_holds_what_is_known_and_nothing_that_a_killed_run_left(planted: Path) -> None:
    for name in (".probe.partial", ".index.embedded", "notes"):
        (planted / name).mkdir()
        (planted / name / "left.txt").write_text("of patients")
    index = CaseIndex.open(planted)
    copy = planted.parent / "copy"
    copy.mkdir()
    index.copy_to(copy, ["model", "probe"])
    index.close()
    kept = {"index.json", "catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm", "segments", "model"}
    assert {path.name for path in copy.iterdir()} == kept
    assert CaseIndex.open(copy).verify() == []


def test_a_lock_that_is_another_file_s_name_is_not_written(planted: Path) -> None:
    other = planted.parent / "precious"
    other.write_text("mine")
    (planted / "writer.lock").unlink(missing_ok=True)
    (planted / "writer.lock").hardlink_to(other)
    with pytest.raises(ArchiveError, match="another file's name"), writer_lock(planted):
        pass
    assert other.read_text() == "mine"


def test_a_change_does_not_go_into_an_index_that_was_replaced(tmp_path: Path) -> None:
    build(tmp_path / "index", make_entries(0, 3))
    index = CaseIndex.open(tmp_path / "index")
    build(tmp_path / "index", make_entries(0, 4))
    with pytest.raises(ArchiveError, match="has been replaced"):
        index.remove([next(index.records()).id])
    index.close()
    again = CaseIndex.open(tmp_path / "index")
    assert len(again) == 4
    again.close()


def test_a_segment_that_a_writer_deletes_meanwhile_holds_nothing_and_is_no_error(planted: Path) -> None:
    (planted / "segments" / "0123456789ab").mkdir(parents=True)
    (planted / "a link").symlink_to("anywhere")
    looking = odd_parts(planted, bulk=False)
    assert "a link" in next(looking)
    shutil.rmtree(planted / "segments")
    assert not list(looking)
    with pytest.raises(FileNotFoundError):
        list(odd_parts(planted / "segments", bulk=False))
