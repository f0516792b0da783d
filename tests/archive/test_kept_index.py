"""An index that an earlier medclip made opens, verifies, answers the same, and can be changed (see keep_index.py)."""

import json
import zipfile
from pathlib import Path

import pytest

from medclip.archive.upkeep import compact_index, remove_cases
from medclip.archive.verify import verify_index
from medclip.assistant import Assistant

KEPT = Path(__file__).with_name("index-0.1.zip")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    return tmp_path


def test_it_answers_as_it_did(kept: Path) -> None:
    then = json.loads((kept / "answer.json").read_text())
    asked = Assistant.open(kept / "index").query([kept / "query.png"], ["a round cyst"])
    now = json.loads(asked.answer.model_dump_json())
    assert now.pop("cautions") == []  # which came later; of what is familiar such an index says nothing
    assert now.keys() == then.keys()
    assert [case["case_id"] for case in now["similar"]] == [case["case_id"] for case in then["similar"]]
    for one, other in zip(now["similar"], then["similar"], strict=True):
        assert one.pop("similarity") == pytest.approx(other.pop("similarity"), abs=1e-4)
        assert one.pop("vote_weights") == pytest.approx(other.pop("vote_weights"), abs=1e-3)
        assert one == other
    for one, other in zip(now["labels"], then["labels"], strict=True):
        assert [found["label"] for found in one["ranked"]] == [found["label"] for found in other["ranked"]]
        assert one["ranked"][0]["probability"] == pytest.approx(other["ranked"][0]["probability"], abs=1e-3)
        assert one["held_out_accuracy"] == other["held_out_accuracy"]


def test_every_file_of_it_verifies(kept: Path) -> None:
    found = verify_index(kept / "index")
    assert found.faults == []
    assert found.notes == []


def test_it_can_be_changed(kept: Path) -> None:
    removed = remove_cases(kept / "index", ["c3"])
    assert [one.case_id for one in removed.removed] == ["c3"]
    assert compact_index(kept / "index") == ["finding"]
    assert verify_index(kept / "index").faults == []
    answer = Assistant.open_without_model(kept / "index").similar("c1")
    assert "c3" not in {case.case_id for case in answer.similar}
