"""What an archive holds nothing like: told by p-values that are what they say, from files that are what they were."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medclip.archive.layout import PROBE, fuser_of, orientation_of
from medclip.archive.novelty import read_novelty
from medclip.cases import Case
from medclip.diagnosis.novelty import LEVEL, reference_of
from medclip.errors import ArchiveError
from medclip.fusion import Parts
from medclip.index import CaseIndex


def test_of_what_is_like_the_archive_one_in_twenty_is_called_unlike() -> None:
    rng = np.random.default_rng(0)
    called = []
    for _ in range(200):
        drawn = rng.normal(size=(3, 300)).astype(np.float32)
        reference = reference_of(drawn[:, :200], [f"p{i}" for i in range(200)])
        called.append((reference.p_values([*drawn[:, 200:]]) < LEVEL).mean())
    assert abs(np.mean(called) - LEVEL) < 0.01


def test_a_p_value_is_the_share_that_is_as_unlike() -> None:
    reference = reference_of([np.arange(99, dtype=np.float32)], [f"p{i}" for i in range(99)])
    found = reference.p_values([np.asarray([200, 98, 49, -5], np.float32)])
    assert found.tolist() == pytest.approx([0.01, 0.02, 0.51, 1.0])


def test_one_patient_counts_once() -> None:
    measures = np.asarray([*range(100), *([1000.0] * 60)], np.float32)
    reference = reference_of([measures], [*(f"p{i}" for i in range(100)), *(["many"] * 60)])
    assert reference.patients == 101
    [p] = reference.p_values([np.asarray([999], np.float32)])
    assert p == pytest.approx(2 / 102)


def test_of_nineteen_patients_and_fewer_nothing_is_called_unlike() -> None:
    few, enough = (reference_of([np.zeros(n, np.float32)], [f"p{i}" for i in range(n)]) for n in (19, 20))
    assert not few.can_tell
    assert enough.can_tell


def test_a_damaged_file_is_named_and_never_used(index: Path, tmp_path: Path) -> None:
    opened = CaseIndex.open(index)
    fuser, orientation = fuser_of(opened), orientation_of(opened)
    assert orientation is not None
    whole = read_novelty(opened.attachment(PROBE), fuser, orientation)
    assert whole is not None
    assert {"scan", "history", "report"} == whole.references.keys()
    for name in ("novelty.json", "novelty.safetensors"):
        folder = tmp_path / f"damaged-{name}"
        shutil.copytree(opened.attachment(PROBE), folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(bytes(content))
        with pytest.raises(ArchiveError, match=f"{name}.*compact"):
            read_novelty(folder, fuser, orientation)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match=r"novelty.json.*compact"):
        read_novelty(tmp_path / "empty", fuser, orientation)
    assert read_novelty(tmp_path / "empty", replace(fuser, gauge=0), orientation) is None, "a model of medclip 0.1"
    with pytest.raises(ArchiveError, match="another model"):
        read_novelty(opened.attachment(PROBE), fuser, None)


RECIPE = "Whisk three eggs with a pinch of salt and fold in the flour."


def test_what_the_archive_has_never_seen_is_said_first(
    index: Path,
    sample: Path,
    unseen: Case,
    medclip: Callable,  # type: ignore[type-arg]
    tmp_path: Path,
) -> None:
    scan, page, record = sample / unseen.scans[0].file, tmp_path / "page.html", tmp_path / "record.json"
    asked = ("query", index, "--scan", scan, "--text")
    known, strange = (json.loads(medclip(*asked, text, "--json").out) for text in (unseen.note_text("history"), RECIPE))
    assert known["novelty"]["verdict"] == "not told apart"
    assert known["novelty"]["p"] >= LEVEL
    assert strange["novelty"]["verdict"] == "unlike the archive"
    assert strange["similar"]
    assert {(one["answer"], one["set"], one["withheld"]) for one in strange["labels"]} == {
        (None, None, "unlike the archive")
    }
    [text] = [one for one in strange["contributions"] if one["part"] == "history"]
    assert text["without"]["location"] == unseen.labels["location"], "the scan alone is like the archive's"
    said = medclip(*asked, RECIPE, "--html", page, "--record", record)
    assert said.code == 0
    for shown in (said.out, page.read_text()):
        assert "Probably nothing like this is in the archive: the history" in shown
        assert "right for" not in shown
        assert "were treated" not in shown
    assert medclip("explain", index, record).code == 0, "answered again from the record, the same is said"


def test_ten_copies_of_something_strange_are_as_strange_as_one(index: Path) -> None:
    opened = CaseIndex.open(index)
    novelty = read_novelty(opened.attachment(PROBE), fuser_of(opened), orientation_of(opened))
    assert novelty is not None
    width = novelty.fuser.base
    far = np.zeros((1, width), np.float32)
    far[0, -novelty.fuser.gauge], far[0, 300] = 0.049, 1
    nothing, none = far[:0], np.zeros(novelty.fuser.measurements, np.float32)
    once, often = (
        novelty.judge(Parts(np.repeat(far, count, 0) / np.linalg.norm(far), nothing, nothing, none))
        for count in (1, 10)
    )
    assert once is not None
    assert often is not None
    assert once.p <= often.p <= 1.3 * once.p


def test_an_archived_case_is_not_judged(index: Path, sample_cases: list[Case], medclip: Callable) -> None:  # type: ignore[type-arg]
    archived = next(case.id for case in sample_cases if case.split == "train")
    assert json.loads(medclip("similar", index, archived, "--json").out)["novelty"] is None
