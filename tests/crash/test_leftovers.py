"""What killed runs leave: the next run cleans it, a removal cleans or names it, and one process works in a place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medclip.archive import fitting
from medclip.archive.build import build_index
from medclip.archive.fitting import fitted_on
from medclip.archive.layout import REPORT
from medclip.archive.moving import back_up
from medclip.archive.upkeep import change_cases, remove_cases
from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.manifest import read_cases
from medclip.embedding.shards import embed_archive, open_shards, work_folder
from medclip.errors import ArchiveError, OutputError
from medclip.files.workplaces import held, partial_of
from medclip.index import CaseIndex
from medclip.index.lock import writer_lock
from tests.crash.world import PATIENT, World, leftovers


@pytest.fixture
def index(world: World, tmp_path: Path) -> Path:
    world.fresh(tmp_path)
    return tmp_path / "index"


def _add(world: World, index: Path) -> list[str]:
    return change_cases(index, read_cases(world.more), world.more, update=False, threads=1).written


def test_a_removal_finds_a_patient_who_was_only_on_the_way_in(world: World, index: Path) -> None:
    """An add that is killed leaves records and vectors of cases that the index does not hold."""
    remove_cases(index, [], PATIENT)
    work = work_folder(index)
    made = embed_archive(read_cases(world.more), world.more, world.model, work, threads=1)
    removal = remove_cases(index, [], PATIENT)
    assert (removal.removed, removal.deleted) == ([], [f"{made[0]}: embedded cases"])
    assert not list(work.glob("*.safetensors"))
    with pytest.raises(ArchiveError, match="no case of that patient"):
        remove_cases(index, [], PATIENT)
    other = embed_archive(read_cases(world.changed)[:2], world.changed, world.model, work, threads=1)
    remove_cases(index, ["base-05"])
    assert other[0].is_file(), "what holds nothing of the removed is kept for the next run"


def test_a_damaged_report_of_the_build_does_not_stop_a_removal(world: World, index: Path) -> None:
    del world
    for damage in (b'{"skip', b"[]", b'{"skipped": 3}', b"\xff"):
        (index / REPORT).write_bytes(damage)
        victim = next(iter(_contents(index)))
        assert f"{index / REPORT}: was damaged" in remove_cases(index, [victim]).deleted
        assert victim not in _contents(index)
        assert not (index / REPORT).exists()
    (index / REPORT).write_text(
        json.dumps({"cases": 9, "skipped": {"gone": "unreadable"}, "partial": {}}), encoding="utf-8"
    )
    assert remove_cases(index, ["gone"]).deleted == [f"{index / REPORT}: what it said of 1 cases"]
    assert json.loads((index / REPORT).read_bytes()) == {"cases": 9, "skipped": {}, "partial": {}}


def _contents(index: Path) -> dict[str, str]:
    opened = CaseIndex.open(index)
    try:
        return opened.contents()
    finally:
        opened.close()


def test_an_unknown_id_is_refused_before_anything_is_deleted(index: Path) -> None:
    before = _contents(index)
    with pytest.raises(ArchiveError, match="no case 'bsae-01'"):
        remove_cases(index, ["base-00", "bsae-01"])
    assert _contents(index) == before


def test_what_another_killed_command_left_beside_the_index_is_named(index: Path) -> None:
    left = partial_of(index.parent / "backup") / "new"
    left.mkdir(parents=True)
    (left.parent / "lock").write_text("medclip\n")
    assert any(
        line.startswith(f"{left.parent}: is of another command") for line in remove_cases(index, [], PATIENT).traces
    )
    with pytest.raises(ArchiveError, match=r"may hold it: .*\.backup\.partial"):
        remove_cases(index, [], PATIENT)
    with held(partial_of(index)):
        assert any(
            line.startswith(f"{partial_of(index)}: a process") for line in remove_cases(index, ["base-01"]).traces
        )


def test_a_backup_copies_nothing_that_was_left_half_made(index: Path) -> None:
    (index / ".probe.partial" / "new").mkdir(parents=True)
    back_up(index, index.parent / "backup")
    assert not list((index.parent / "backup").glob(".*"))


@pytest.mark.parametrize("left", ["of another model", "half deleted", "only begun", "of cases that are in by now"])
def test_the_next_change_clears_what_a_killed_one_left(left: str, world: World, index: Path) -> None:
    work = work_folder(index)
    if left == "of cases that are in by now":
        _add(world, index)
    embed_archive(read_cases(world.more), world.more, world.model, work, threads=1)
    if left == "of another model":
        (work / "shards.json").write_text(json.dumps({"format": 1, "fingerprint": "another"}), encoding="utf-8")
    elif left == "half deleted":
        (work / "shards.json").unlink()
    elif left == "only begun":
        shutil.rmtree(work)
        (work / ".shards.json.partial").mkdir(parents=True)
        (work / "lock").write_text("medclip\n")
    (index / ".vocabulary.json.partial").mkdir()
    assert len(_add(world, index)) == (0 if left == "of cases that are in by now" else len(read_cases(world.more)))
    assert leftovers(index.parent) == []


def test_of_two_changes_the_second_learns_of_the_first_before_it_embeds(world: World, index: Path) -> None:
    with writer_lock(index):
        for action in (lambda: _add(world, index), lambda: remove_cases(index, [], PATIENT)):
            with pytest.raises(ArchiveError, match=r"is being changed by process \d+"):
                action()
        with pytest.raises(ArchiveError, match=r"is being changed by process \d+"):
            build_index(read_cases(world.cases), world.cases, world.model, index, force=True, threads=1)
    assert leftovers(index.parent) == []


def test_a_change_within_a_change_needs_no_turn_of_its_own_but_another_thread_does(index: Path) -> None:
    from threading import Thread

    opened = CaseIndex.open(index)
    said: list[str] = []

    def beside() -> None:
        try:
            opened.remove(["base-03"])
        except ArchiveError as error:
            said.append(str(error))

    with opened.changing():
        opened.remove(["base-02"])
        thread = Thread(target=beside)
        thread.start()
        thread.join()
    assert "is being changed" in said[0]
    assert {"base-02", "base-03"} - set(opened.contents()) == {"base-02"}
    opened.close()


def test_one_job_embeds_into_a_folder(world: World, tmp_path: Path) -> None:
    fingerprint = ServingModel(Layout(world.model).serving.root).fingerprint
    cases = read_cases(world.more)
    with (
        open_shards(tmp_path / "shards", fingerprint),
        pytest.raises(ArchiveError, match="another process is embedding"),
    ):
        embed_archive(cases, world.more, world.model, tmp_path / "shards", threads=1)
    assert len(embed_archive(cases, world.more, world.model, tmp_path / "shards", threads=1)) == 1
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(ArchiveError, match="is not empty and holds no"):
        embed_archive(cases, world.more, world.model, tmp_path / "notes", threads=1)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_one_process_trains_a_model(world: World, hub_layout: Path, tmp_path: Path) -> None:
    from medclip.training.run import train_model

    def train(**how: bool) -> Any:
        return train_model(
            read_cases(world.cases), world.cases, tmp_path / "m", towers_name=f"local-dir:{hub_layout}", **how
        )

    with held(tmp_path / "m.training"):
        for how in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(OutputError, match="another process is training it"):
                train(**how)
    shutil.rmtree(tmp_path / "m.training")
    (tmp_path / "m.training").mkdir()
    (tmp_path / "m.training" / "thesis.docx").touch()
    with pytest.raises(OutputError, match="is no unfinished training"):
        train(force=True)
    assert (tmp_path / "m.training" / "thesis.docx").exists()


def test_a_sample_of_many_cases_is_fitted_on_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(fitted_on(5, 0)) == list(range(5))
    monkeypatch.setattr(fitting, "FITTED", 3)
    assert fitted_on(100, 0) == fitted_on(100, 0) != fitted_on(100, 1)
    assert len(fitted_on(100, 0)) == 3
