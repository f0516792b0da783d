"""What a user types and sees."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medclip.assistant.answer import Answer
from medclip.cases import Case

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
        for ranked in found["ranked"]:  # a class has what its voters give it, and some of the archive's frequency
            given = [c["vote_weights"][found["label_set"]] for c in similar
                     if c["labels"].get(found["label_set"]) == ranked["label"]]  # fmt: skip
            assert sum(given) < ranked["vote"] < sum(given) + 0.5


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
    done = medclip("query", index, "--text-file", note, "--label", "finding", "--json")
    answer = json.loads(done.out)
    assert answer["query"] == "text"
    assert [found["label_set"] for found in answer["labels"]] == ["finding"]
    assert answer["labels"][0]["ranked"][0]["label"] == "cyst"


def test_the_terminal_shows_both_parts_and_the_disclaimer(index: Path, medclip: Medclip) -> None:
    done = medclip("query", index, "--text", "a solid round nodule of the lung")
    assert done.code == 0
    for word in ("vote", "probe", "Not a medical device", "SYNTHETIC", "similar cases", "cosine"):
        assert word in done.out
    assert max(map(len, done.out.splitlines())) < 200


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
    rows = json.loads(medclip("evaluate", other, "--index", index, "--json").out)
    assert {"protocol", "label_set", "method", "metric", "value", "sd", "n"} <= set(rows[0])
    by_key = {(r["protocol"], r["label_set"], r["method"], r["metric"]): r["value"] for r in rows}
    assert by_key["scan-only", "location", "combined", "accuracy"] > 0.9
    assert (
        by_key["scan-only", "finding", "combined", "accuracy"] > by_key["scan-only", "finding", "majority", "accuracy"]
    )
    assert ("caption-to-scan", None, "retrieval", "recall@10") in by_key
