"""An index that an earlier medclip made opens, verifies, finds the same, and can be changed (see keep_index.py)."""

import json
from pathlib import Path

import pytest

from medclip.archive.layout import orientation_of
from medclip.archive.upkeep import compact_index, remove_cases
from medclip.archive.verify import verify_index
from medclip.assistant import Assistant
from medclip.assistant.answer import Answer
from medclip.index import CaseIndex


def test_it_finds_what_it_did(kept: Path) -> None:
    then = json.loads((kept / "answer.json").read_text())
    asked = Assistant.open(kept / "index").query([kept / "query.png"], ["a round cyst"])
    now = json.loads(asked.answer.model_dump_json())
    assert [case["case_id"] for case in now["similar"]] == [case["case_id"] for case in then["similar"]]
    for one, other in zip(now["similar"], then["similar"], strict=True):
        assert one.pop("similarity") == pytest.approx(other.pop("similarity"), abs=1e-4)
        del one["vote_weights"], other["vote_weights"]
        assert one == other


def test_answers_that_were_fitted_otherwise_are_withheld_until_they_are_fitted_anew(kept: Path) -> None:
    def answered() -> Answer:
        asked = Assistant.open(kept / "index").query([kept / "query.png"], ["a round cyst"], exclude_patient="p1")
        return asked.answer

    before = answered()
    assert before.labels == []
    assert "medclip index compact" in " ".join(before.cautions)
    assert Assistant.open_without_model(kept / "index").capabilities() == []
    assert compact_index(kept / "index") == ["finding"]
    after = answered()
    [found] = after.labels
    assert found.answer == "cyst"
    assert found.held_out_accuracy is None, "of six patients no figure is quoted"
    assert "medclip index compact" not in " ".join(after.cautions)


def test_every_file_of_it_verifies(kept: Path) -> None:
    found = verify_index(kept / "index")
    assert found.faults == []
    assert found.notes == []


def test_its_model_says_nothing_of_how_a_scan_lies(kept: Path) -> None:
    assert orientation_of(CaseIndex.open(kept / "index")) is None


def test_its_texts_are_read_as_before_and_nothing_is_called_unlike(kept: Path) -> None:
    answer = Assistant.open(kept / "index").query(history=["Der Patient klagt über Husten und Fieber."]).answer
    [caution] = [one for one in answer.cautions if "German" in one]
    assert "Translate" in caution
    assert answer.novelty is None, "its model has no gauge"


def test_it_can_be_changed(kept: Path) -> None:
    removed = remove_cases(kept / "index", ["c3"])
    assert [one.case_id for one in removed.removed] == ["c3"]
    assert compact_index(kept / "index") == ["finding"]
    assert verify_index(kept / "index").faults == []
    answer = Assistant.open_without_model(kept / "index").similar("c1").answer
    assert "c3" not in {case.case_id for case in answer.similar}


def test_where_the_encoders_were_tuned_on_cases_the_accuracy_is_said_to_be_too_high(kept: Path) -> None:
    compact_index(kept / "index")
    assert "tuned" not in " ".join(Assistant.open_without_model(kept / "index").similar("c1").answer.cautions)
    file = kept / "index" / "model" / "serving.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tuned": True}))
    assert "were tuned on cases" in " ".join(Assistant.open_without_model(kept / "index").similar("c1").answer.cautions)
