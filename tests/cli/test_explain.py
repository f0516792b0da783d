"""What was answered once can be shown to be answered still, or why it is not."""

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.archive.upkeep import compact_index, remove_cases
from medclip.assistant import Assistant
from medclip.assistant.explanation import explain
from medclip.assistant.record import Record, read_record, write_record
from medclip.cases import Case
from medclip.errors import OutputError, RecordError
from medclip.files.sealed import sealed
from medclip.fusion.case_vector import unit
from medclip.index import CaseIndex

KEPT = Path(__file__).parents[1] / "archive" / "index-0.1.zip"
SECRET = "a round cyst xyzzy"
Medclip = Callable[..., Any]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An index of a few cases with a model of a few kilobytes, and a picture to ask with beside it."""
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    compact_index(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def recorded(small: Path) -> Path:
    """The record of a query of a scan and a text."""
    asked = Assistant.open(small).query([small.parent / "query.png"], [SECRET], record=True)
    assert asked.record is not None
    file = small.parent / "record.json"
    write_record(file, asked.record)
    return file


def _explained(index: Path, file: Path) -> tuple[list[str], list[str]]:
    found = explain(Assistant.open_without_model(index), read_record(file), file.name)
    return found.since, found.moved


def _rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The record with a change and a checksum that fits it, as somebody else might write it."""
    value = json.loads(file.read_text())
    del value["sha256"]
    change(value)
    file.write_text(json.dumps(sealed(value)))
    return file


def test_a_record_answers_again_without_the_model(small: Path, recorded: Path) -> None:
    asked = Assistant.open(small).query([small.parent / "query.png"], [SECRET]).answer
    for file in (small / "model").glob("*.onnx"):
        file.unlink()
    found = explain(Assistant.open_without_model(small), read_record(recorded), "record.json")
    assert (found.since, found.moved) == ([], [])
    assert found.answer == asked
    assert found.answer.labels
    assert found.answer.contributions


def test_the_opinions_pool_to_the_answer(small: Path, recorded: Path) -> None:
    found = explain(Assistant.open_without_model(small), read_record(recorded), "record.json")
    for one in found.answer.labels:
        said = found.opinions[one.label_set]
        names = ["frequencies", "vote", "scan+history", "scan", "history"]
        assert [opinion.name for opinion in said] == names
        logits = {
            row.label: sum(opinion.weight * np.log(opinion.probabilities[row.label]) for opinion in said)
            for row in one.ranked
        }
        total = sum(np.exp(logit) for logit in logits.values())
        for row in one.ranked:
            assert row.probability == pytest.approx(np.exp(logits[row.label]) / total, abs=1e-9)
            assert row.vote == pytest.approx(said[1].probabilities[row.label])


def test_an_archived_case_s_record_answers_again_even_when_its_patient_is_gone(small: Path, tmp_path: Path) -> None:
    asked = Assistant.open_without_model(small).similar("c1", record=True)
    assert asked.record is not None
    file = tmp_path / "similar.json"
    write_record(file, asked.record)
    assert _explained(small, file) == ([], [])
    index = CaseIndex.open(small)
    remove_cases(small, index.cases_of_patient(index.record("c1").patient))
    since, moved = _explained(small, file)
    assert "no longer archived: c" in " ".join(since)
    assert "Of the patient who was left out no case is archived any more." in since
    assert moved == [], "the case itself took no part"


def test_who_was_left_out_is_left_out_again(small: Path, tmp_path: Path) -> None:
    picture, patient = small.parent / "query.png", CaseIndex.open(small).record("c2").patient
    asked = Assistant.open(small).query(
        [picture], exclude_patient=patient, where="age is unknown or age >= 0", record=True
    )
    assert asked.record is not None
    file = tmp_path / "without.json"
    write_record(file, asked.record)
    assert "c2" not in {case.case_id for case in asked.answer.similar}
    found = explain(Assistant.open_without_model(small), read_record(file), "without.json")
    assert (found.since, found.moved) == ([], [])
    assert found.answer == asked.answer
    assert f'"{patient}"' not in file.read_text()


def test_what_words_ranked_is_said_and_not_compared(small: Path, tmp_path: Path) -> None:
    asked = Assistant.open(small).query([], ["a round cyst"], record=True)
    assert asked.answer.ranked_by == "similarity and words"
    assert asked.record is not None
    file = tmp_path / "words.json"
    write_record(file, asked.record)
    since, moved = _explained(small, file)
    assert len(since) == 1
    assert "ranked by words" in since[0]
    assert moved == []


def test_a_record_holds_no_text_path_or_patient(small: Path, recorded: Path) -> None:
    content = recorded.read_bytes()
    records = list(CaseIndex.open(small).records())
    for patient in {record.patient for record in records}:
        assert f'"{patient}"'.encode() not in content
    for record in records:
        assert not record.text or record.text.encode() not in content
    for word in ("xyzzy", "query.png", str(small.parent), small.name + '"'):
        assert word.encode() not in content, word
    assert os.stat(recorded).st_mode & 0o077 == 0, "it is its owner's to share"


def test_a_change_of_the_index_is_said_with_what_it_moved(small: Path, recorded: Path) -> None:
    with CaseIndex.open(small).snapshot():
        index = CaseIndex.open(small)
        first = read_record(recorded).answer.similar[0].case_id
        entry = next(one for one in index.entries() if one.record.id == first)
    new = replace(
        entry.record, id="new", patient="pnew", document={**entry.record.document, "id": "new", "patient": "pnew"}
    )
    CaseIndex.open(small).add([replace(entry, record=new)])
    since, moved = _explained(small, recorded)
    assert "The index has changed" in since[0]
    assert "new: new" in " ".join(moved)
    assert any("probability" in line and "→" in line for line in moved)
    remove_cases(small, ["new"])
    since, moved = _explained(small, recorded)
    assert moved == []
    assert since == ["The index holds the same cases, but was changed or compacted in between."]
    CaseIndex.open(small).update([replace(entry, record=replace(entry.record, content="another"))])
    since, moved = _explained(small, recorded)
    assert f"updated since: {first}" in " ".join(since)


def test_answers_that_were_fitted_anew_are_said(small: Path, recorded: Path) -> None:
    remove_cases(small, [read_record(recorded).answer.labels[0].voters[0].case_id])
    compact_index(small)
    since, moved = _explained(small, recorded)
    assert "The answers were fitted anew" in " ".join(since)
    assert "no longer archived" in " ".join(since)
    assert "voters: no longer" in " ".join(moved)


@pytest.mark.parametrize("seed", range(3))
def test_one_changed_byte_is_noticed(recorded: Path, seed: int) -> None:
    before, whole, rng = recorded.read_bytes(), read_record(recorded).model_dump_json(), random.Random(seed)
    told: list[str] = []
    for _ in range(100):
        place = rng.randrange(len(before))
        changed = bytes([rng.choice([byte for byte in range(256) if byte != before[place]])])
        recorded.write_bytes(before[:place] + changed + before[place + 1 :])
        try:
            assert read_record(recorded).model_dump_json() == whole, "only what means nothing, such as a blank"
        except RecordError as error:
            told.append(str(error))
    assert len(told) > 90
    assert all("record.json" in line for line in told)


def test_vectors_that_are_none_are_refused(small: Path, recorded: Path) -> None:
    def put(key: str, vector: object) -> Callable[[dict[str, Any]], None]:
        return lambda value: value["query"].update({key: vector})

    query = read_record(recorded).model_dump(mode="json")["query"]
    parts = query["parts"]
    nan = "AADAfw=="
    wrong: list[tuple[str, object]] = [
        ("whole", nan), ("whole", "AACAPw=="), ("whole", "?"), ("whole", 3), ("whole", None), ("whole", "AAA="),
        ("rests", {}), ("rests", {**query["rests"], "report": query["whole"]}), ("parts", None),
        ("parts", {**parts, "scans": []}), ("parts", {**parts, "history": nan}), ("parts", {**parts, "scans": [nan]}),
        ("parts", {**parts, "measurements": "AACAPw=="}), ("composition", "scan"), ("k", 0), ("k", 10**30),
        ("label_sets", ["\ud800"]), ("parts", {**parts, "scans": [parts["scans"][0][:-4]]}),
    ]  # fmt: skip
    kept = recorded.read_bytes()
    for key, value in wrong:
        recorded.write_bytes(kept)
        with pytest.raises(RecordError, match=r"record\.json") as refused:
            _explained(small, _rewritten(recorded, put(key, value)))
        assert "\n" not in str(refused.value), (key, value)


def test_what_is_no_record_is_refused_in_one_line(
    small: Path,
    recorded: Path,
    medclip: Medclip,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as opened:
        opened.truncate(1 << 30)
    other = tmp_path / "other.json"
    other.write_text("{}")
    words = tmp_path / "words.json"
    words.write_text("no JSON")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    for file, why in ((huge, "64 MiB"), (tmp_path, "no plain file"), (tmp_path / "none.json", "not found"),
                      (other, "no record"), (words, "no JSON"), (deep, "nested")):  # fmt: skip
        line = refused(medclip("explain", small, file))
        assert why in line
        assert file.name in line
    newer = _rewritten(recorded, lambda value: value.update(format=2, more=1))
    assert "newer medclip" in refused(medclip("explain", small, newer))


def test_a_record_from_before_there_were_sets_is_read_and_not_compared(small: Path, recorded: Path) -> None:
    def older(value: dict[str, Any]) -> None:
        del value["query"]["promise"]
        for one in value["answer"]["labels"]:
            del one["set"]

    assert _explained(small, _rewritten(recorded, older)) == ([], [])


def test_a_set_that_differs_is_told(small: Path, recorded: Path) -> None:
    def other(value: dict[str, Any]) -> None:
        value["answer"]["labels"][0]["set"] = {
            "labels": ["cyst"], "empty": False, "coverage": 0.9, "kind": "marginal", "interval": [0.8, 0.95], "patients": 20
        }  # fmt: skip

    _, moved = _explained(small, _rewritten(recorded, other))
    assert "finding, not ruled out: cyst (marginal, 0.8000 to 0.9500, 20 patients) → nothing could be" in moved
    with pytest.raises(RecordError, match=r"above 0\.5"):
        read_record(_rewritten(recorded, lambda value: value["query"]["promise"].update(coverage=1.5)))


def test_another_model_s_index_is_refused(small: Path, recorded: Path) -> None:
    _rewritten(recorded, lambda value: value["archive"].update(model="0" * 64))
    with pytest.raises(RecordError, match="another model"):
        _explained(small, recorded)


def test_only_a_record_is_replaced(recorded: Path, tmp_path: Path) -> None:
    record: Record = read_record(recorded)
    with pytest.raises(OutputError, match="already exists"):
        write_record(recorded, record)
    write_record(recorded, record, force=True)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        write_record(mine, record, force=True)
    assert mine.read_text() == "mine"


def test_the_command_says_same_with_0_and_other_with_1(
    index: Path,
    sample: Path,
    unseen: Case,
    medclip: Medclip,
    refused: Callable[..., str],
    small: Path,
    tmp_path: Path,
) -> None:
    file, page, copy = tmp_path / "recorded.json", tmp_path / "page.html", shutil.copytree(index, tmp_path / "copy")
    scan = sample / unseen.scans[0].file
    asked = medclip(
        "query", copy, "--scan", scan, "--text", unseen.note_text("history"), "--age", 61, "--json", "--record", file
    )
    assert asked.code == 0, asked.err
    told = medclip("explain", copy, file, "--json", "--html", page)
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert (found["same"], found["answer"]) == (True, json.loads(asked.out))
    assert "sample-" in page.read_text()
    shown = medclip("explain", copy, file)
    for words in ("probe on scan", "pooled", "voted:", "the answer is the same, to the last digit"):
        assert words in shown.out
    assert medclip("index", "add", copy, sample, "--split", "dev").code == 0
    after = medclip("explain", copy, file)
    assert after.code == 1, after.err
    assert "the answer differs" in after.out
    assert "The index has changed: it held 112 cases" in " ".join(after.out.split())
    assert unseen.id in after.out, "who is now the nearest"
    assert "another model" in refused(medclip("explain", small, file))
    similar = tmp_path / "similar.json"
    assert medclip("similar", copy, unseen.id, "--record", similar).code == 0
    assert medclip("explain", copy, similar).code == 0
    vectors = read_record(similar).query.whole
    assert np.allclose(unit(vectors), vectors, atol=1e-6)
