"""What a user types and sees."""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medclip.assistant.answer import Answer
from medclip.cases import Case, read_cases
from tests.command import SCRIPT

SCHEMA = Path(__file__).parents[2] / "docs" / "answer.schema.json"
Medclip = Callable  # type: ignore[type-arg]


@pytest.fixture(scope="session")
def answered(
    index: Path, sample: Path, unseen: Case, medclip: Medclip, tmp_path_factory: pytest.TempPathFactory
) -> dict:  # type: ignore[type-arg]
    page = tmp_path_factory.mktemp("page") / "page.html"
    done = medclip(
        "query", index, "--scan", sample / unseen.scans[0].file, "--text", unseen.note_text("history"), "-k", 6,
        "--json", "--html", page,
    )  # fmt: skip
    assert done.code == 0, done.err
    return {"answer": json.loads(done.out), "page": page.read_text()}


def test_an_unseen_case_is_recognised(answered: dict, unseen: Case) -> None:  # type: ignore[type-arg]
    by_set = {found["label_set"]: found for found in answered["answer"]["labels"]}
    assert by_set["location"]["answer"] == unseen.labels["location"]
    assert by_set["modality"]["answer"] == unseen.labels["modality"]
    for found in by_set.values():
        for part in ("probability", "vote", "probe"):
            assert sum(ranked[part] for ranked in found["ranked"]) == pytest.approx(1, abs=1e-3)


def test_the_evidence_is_shown(answered: dict, sample_cases: list[Case], unseen: Case) -> None:  # type: ignore[type-arg]
    similar = answered["answer"]["similar"]
    assert len(similar) == 6
    patients = {case.id: case.patient for case in sample_cases}
    shown = [patients[case["case_id"]] for case in similar]
    assert len(set(shown)) == 6
    assert unseen.patient not in shown
    assert [c["similarity"] for c in similar] == sorted((c["similarity"] for c in similar), reverse=True)
    for found in answered["answer"]["labels"]:
        assert len(found["voters"]) == 10, "six are shown, ten vote"
        assert sum(voter["share"] for voter in found["voters"]) + found["archive_share"] == pytest.approx(1)
        for ranked in found["ranked"]:  # a class has what its voters give it, and some of the archive's frequency
            given = sum(voter["share"] for voter in found["voters"] if voter["label"] == ranked["label"])
            assert given < ranked["vote"] < given + found["archive_share"]
        shares = {voter["case_id"]: voter["share"] for voter in found["voters"]}
        for case in similar:
            assert case["vote_weights"].get(found["label_set"]) == shares.get(case["case_id"])


def test_what_is_shown_changes_no_answer(index: Path, sample: Path, unseen: Case, medclip: Medclip) -> None:
    ask = ("query", index, "--scan", sample / unseen.scans[0].file, "--text", unseen.note_text("history"), "--json")
    usual = json.loads(medclip(*ask).out)
    assert usual["labels"]
    for how in (("-k", 3), ("-k", 50), ("--words",), ("--no-words",)):
        other = json.loads(medclip(*ask, *how).out)
        assert other["labels"] == usual["labels"], how
        if "-k" not in how:
            assert other["contributions"] == usual["contributions"], how
    text = ("query", index, "--report", "a thin-walled cystic lesion", "--json")
    shown = [json.loads(medclip(*text, how).out) for how in ("--words", "--no-words")]
    assert shown[0]["labels"] == shown[1]["labels"]
    assert shown[0]["ranked_by"] != shown[1]["ranked_by"]


def test_an_archived_case_is_answered_without_the_probe_that_has_seen_it(
    index: Path, sample_cases: list[Case], medclip: Medclip, tmp_path: Path
) -> None:
    case = next(case for case in sample_cases if case.split == "train")
    answer = json.loads(medclip("similar", index, case.id, "--json").out)
    assert answer["labels"]
    for found in answer["labels"]:
        assert {ranked["probe"] for ranked in found["ranked"]} == {None}
        assert case.id not in {voter["case_id"] for voter in found["voters"]}
    page = tmp_path / "page.html"
    assert "by the vote alone" in " ".join(medclip("similar", index, case.id, "--html", page).out.split())
    assert "by the vote alone" in page.read_text()


def test_a_scan_that_is_archived_already_is_said_first(
    index: Path, sample: Path, sample_cases: list[Case], medclip: Medclip
) -> None:
    case = next(case for case in sample_cases if case.split == "train")
    ask = ("query", index, "--scan", sample / case.scans[0].file, "--json")
    first, *_ = json.loads(medclip(*ask).out)["cautions"]
    assert case.id in first
    assert "--exclude-patient" in first
    without = json.loads(medclip(*ask, "--exclude-patient", case.patient).out)
    assert "Archived already" not in " ".join(without["cautions"])


def test_a_patient_who_is_not_there_cannot_be_left_out(index: Path, medclip: Medclip, refused: Callable) -> None:  # type: ignore[type-arg]
    assert "--exclude-patient" in refused(medclip("query", index, "--text", "a cyst", "--exclude-patient", "nobody"))


def test_a_filter_that_nothing_matches_is_no_answer(index: Path, medclip: Medclip, refused: Callable) -> None:  # type: ignore[type-arg]
    ask = ("query", index, "--report", "a cyst of the head", "--where")
    assert "sex is female, male, other" in refused(medclip(*ask, "sex = 'F'"))
    assert "label.location is " in refused(medclip(*ask, "label.location = 'Thorx'"))
    answer = json.loads(medclip(*ask, "age > 129", "--json").out)
    assert (answer["labels"], answer["similar"]) == ([], [])
    assert "No archived case matches --where" in " ".join(answer["cautions"])
    some = json.loads(medclip(*ask, "label.location = 'Head'", "--json").out)
    assert "Only cases that match --where vote" in " ".join(some["cautions"])
    assert all(case["labels"]["location"] == "Head" for case in some["similar"])
    assert "location" not in {found["label_set"] for found in some["labels"]}, "the filter would answer itself"
    assert some["labels"]


def test_more_cases_than_there_are_is_a_plain_sentence(index: Path, medclip: Medclip) -> None:
    answer = json.loads(medclip("query", index, "--report", "a cyst", "-k", 1000, "--json").out)
    assert f"{len(answer['similar'])} cases are shown, not 1000" in " ".join(answer["cautions"])


def test_a_measurement_that_the_model_does_not_know_is_left_out_and_said(
    index: Path,
    medclip: Medclip,
    refused: Callable,  # type: ignore[type-arg]
) -> None:
    known = json.loads(medclip("index", "info", index, "--json").out)["measurements"]
    assert "creatinine" not in known
    asked = ("query", index, "--report", "a cyst", "--measure", "creatinine=80umol/L", "--json")
    answer = json.loads(medclip(*asked).out)
    assert answer["query"] == "report"
    assert "Left out: creatinine" in " ".join(answer["cautions"])
    assert "too few archived cases" in refused(medclip("query", index, "--measure", "creatinine=80umol/L"))


def test_stated_probabilities_are_drawn_against_what_came_true(index: Path, medclip: Medclip, tmp_path: Path) -> None:
    picture = tmp_path / "reliability.png"
    done = medclip("index", "info", index, "--picture", picture)
    assert done.code == 0, done.err
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "interval" in done.out
    for found in json.loads(medclip("index", "info", index, "--json").out)["label_sets"]:
        for measured in found["measured"].values():
            assert measured["patients"] <= 112
            assert sum(one["share"] for one in measured["bins"]) == pytest.approx(1)


def test_the_json_keeps_to_its_schema(answered: dict) -> None:  # type: ignore[type-arg]
    Answer.model_validate(answered["answer"])
    assert json.loads(SCHEMA.read_text()) == Answer.model_json_schema()


def test_the_page_is_self_contained_and_says_what_it_is(answered: dict) -> None:  # type: ignore[type-arg]
    page = answered["page"]
    assert "Not a medical device" in page
    assert "SYNTHETIC" in page
    assert len(re.findall(r'src="data:image/jpeg;base64,', page)) >= 7
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_beside_the_query_stand_its_own_scans_alone_and_none_is_marked(answered: dict) -> None:  # type: ignore[type-arg]
    """A place marked in a scan reads as evidence; what once was marked lay on the lesion in none of 64 scans."""
    beside = answered["page"].partition("<aside>")[2].partition("</aside>")[0]
    assert re.findall(r'<img [^>]*alt="([^"]*)"', beside) == ["scan 1 of the query"]
    assert "resembles" not in beside


def test_text_from_a_case_cannot_break_out_of_the_page(index: Path, medclip: Medclip, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert medclip("query", index, "--text", "nodule <script>alert(1)</script>", "--html", page).code == 0
    assert "<script>" not in page.read_text()


def test_similar_leaves_the_patient_s_own_cases_out(index: Path, sample_cases: list[Case], medclip: Medclip) -> None:
    train = [case for case in sample_cases if case.split == "train"]
    case = train[0]
    done = medclip("similar", index, case.id, "-k", 200, "--json")
    shown = [c["case_id"] for c in json.loads(done.out)["similar"]]
    patients = {c.id: c.patient for c in train}
    assert case.patient not in {patients[case_id] for case_id in shown}
    assert len(shown) == len({c.patient for c in train}) - 1  # never padded, one a patient


def test_a_text_alone_and_one_label_set(index: Path, medclip: Medclip, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Axial CT of the head shows a thin-walled cystic lesion.")
    done = medclip("query", index, "--report-file", note, "--label", "finding", "--json")
    answer = json.loads(done.out)
    assert answer["query"] == "report"
    assert [found["label_set"] for found in answer["labels"]] == ["finding"]
    assert answer["labels"][0]["ranked"][0]["label"] == "cyst"


def test_the_terminal_shows_both_parts_and_the_disclaimer(index: Path, medclip: Medclip) -> None:
    done = medclip("query", index, "--report", "a solid round nodule of the lung")
    assert done.code == 0
    for word in ("vote", "probe", "Not a medical device", "SYNTHETIC", "similar cases", "cosine"):
        assert word in done.out
    assert max(map(len, done.out.splitlines())) < 200


def test_what_cannot_be_ruled_out_is_said_and_recorded(
    index: Path,
    medclip: Medclip,
    refused: Callable,  # type: ignore[type-arg]
    unseen: Case,
    tmp_path: Path,
) -> None:
    ask = ("query", index, "--text", unseen.note_text("history"))
    assert "--coverage 1.5: must be above 0.5 and below 1" in refused(medclip(*ask, "--coverage", 1.5))
    assert "--coverage 0.5" in refused(medclip("similar", index, "nobody", "--coverage", 0.5))
    record, page = tmp_path / "record.json", tmp_path / "page.html"
    usual, less, more = (
        {one["label_set"]: one["set"] for one in json.loads(medclip(*ask, "--json", *how).out)["labels"]}
        for how in ((), ("--coverage", 0.6, "--record", record), ("--small-sample",))
    )
    for name, found in usual.items():
        assert set(less[name]["labels"]) <= set(found["labels"]) <= set(more[name]["labels"])
        assert (less[name]["coverage"], found["coverage"]) == (0.6, 0.9)
        assert found["interval"][0] < 0.9 <= more[name]["interval"][0]
    again = medclip("explain", index, record, "--json")
    assert again.code == 0, "it is asked again with the same promise"
    assert {one["label_set"]: one["set"] for one in json.loads(again.out)["answer"]["labels"]} == less
    shown = " ".join(medclip(*ask, "--html", page).out.split())
    assert re.search(
        r"for 90% of new patients of each class.* \(of all together \d+% to \d+%, by 112 left out\)", shown
    )
    assert "for 90% of new patients of each class" in page.read_text()


def test_an_index_says_what_it_can_answer(index: Path, medclip: Medclip) -> None:
    told = json.loads(medclip("index", "info", index, "--json").out)
    assert {found["label_set"] for found in told["label_sets"]} == {"finding", "location", "modality"}
    assert 0 < told["diagnoses"]["nameable"] <= told["diagnoses"]["cases"] == 112


def test_a_copied_index_answers_the_same(index: Path, medclip: Medclip, tmp_path: Path) -> None:
    ask = ("--text", "layering fluid on the left", "--json")
    copy = shutil.copytree(index, tmp_path / "elsewhere")
    assert medclip("query", copy, *ask).out == medclip("query", index, *ask).out
    assert medclip("index", "verify", copy).code == 0


def test_an_index_is_measured_only_on_cases_it_has_not_seen(
    index: Path,
    sample: Path,
    sample_cases: list[Case],
    medclip: Medclip,
    refused: Callable,
    tmp_path: Path,  # type: ignore[type-arg]
) -> None:
    from medclip.cases import write_cases

    assert "never seen" in refused(medclip("evaluate", sample, "--index", index))
    other = shutil.copytree(sample, tmp_path / "other")
    write_cases(other, [case for case in sample_cases if case.split == "dev"])
    told = refused(medclip("evaluate", other, "--index", index, "--by", "sex,gender"))
    assert "'gender'" in told
    assert "age, sex, modality" in told
    assert "--ablate" in refused(medclip("evaluate", other, "--ablate", "--by", "sex"))
    rows = json.loads(medclip("evaluate", other, "--index", index, "--by", "sex", "--json").out)
    assert {"protocol", "label_set", "method", "metric", "value", "sd", "n", "group", "interval"} <= set(rows[0])
    by_key = {(r["protocol"], r["label_set"], r["method"], r["metric"]): r["value"] for r in rows if not r["group"]}
    assert 0 < by_key["full", "finding", "chance", "hit@1"] < by_key["full", "finding", "shown", "hit@1"]
    groups = {
        r["group"]: r["n"]
        for r in rows
        if (r["protocol"], r["label_set"], r["metric"]) == ("full", "finding", "accuracy") and r["group"]
    }
    known = [case for case in read_cases(other) if "finding" in case.case_labels]
    assert groups == Counter(f"sex={sex}" for _, sex in {(case.patient, case.sex or "not known") for case in known})
    assert by_key["scan-only", "location", "combined", "accuracy"] > 0.9
    assert (
        by_key["scan-only", "finding", "combined", "accuracy"] > by_key["scan-only", "finding", "majority", "accuracy"]
    )
    assert ("caption-to-scan", None, "retrieval", "recall@10") in by_key


def test_no_library_keeps_or_sends_how_it_is_used(index: Path, sample: Path, unseen: Case, tmp_path: Path) -> None:
    """ONNX Runtime keeps a device id and a queue of events in the user's cache where it is let."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    asked = [str(SCRIPT), "query", str(index), "--scan", str(sample / unseen.scans[0].file)]
    done = subprocess.run(asked, env={**env, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in left} <= {tmp_path / ".cache" / "medclip" / "verified"}, (
        "our own, which says nothing"
    )
    assert sum(path.stat().st_size for path in left) == 0
