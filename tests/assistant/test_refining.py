"""Asking again: what is shown moves, who votes does not."""

import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclip.archive.upkeep import compact_index
from medclip.assistant import Assistant, Question, Refinement, Region
from medclip.assistant.answer import Answer
from medclip.assistant.explanation import explain
from medclip.assistant.record import read_record, write_record
from medclip.errors import ArchiveError, RefinementError
from medclip.index import CaseIndex

KEPT = Path(__file__).parents[1] / "archive" / "index-0.1.zip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a few cases with a model of a few kilobytes, and a picture to ask with beside it."""
    place = tmp_path_factory.mktemp("kept")
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(place)
    compact_index(place / "index")
    with Image.open(place / "query.png") as tiny:
        tiny.resize((96, 96), Image.Resampling.NEAREST).save(place / "query.png")
    return place / "index"


@pytest.fixture(scope="module")
def assistant(folder: Path) -> Assistant:
    return Assistant.open(folder)


@pytest.fixture(scope="module")
def question(assistant: Assistant, folder: Path) -> Question:
    """Of a scan and a text; the scan's file is gone when it is answered."""
    picture = folder.parent / "asked.png"
    picture.write_bytes((folder.parent / "query.png").read_bytes())
    asked = assistant.ask([picture], ["a round cyst"])
    picture.unlink()
    return asked


def _answer(assistant: Assistant, question: Question, refinement: Refinement | None = None, k: int = 4) -> Answer:
    return assistant.answer(question, k=k, refinement=refinement or Refinement()).answer


def _ids(answer: Answer) -> list[str]:
    return [case.case_id for case in answer.similar]


def test_a_question_is_answered_again_without_its_files_as_a_query_is(
    assistant: Assistant, question: Question, folder: Path
) -> None:
    queried = assistant.query([folder.parent / "query.png"], ["a round cyst"], k=4).answer
    assert _answer(assistant, question) == queried
    assert queried.refined is None
    assert queried.ranked_by == "similarity"


def test_marks_move_what_is_shown_and_no_label(assistant: Assistant, question: Question) -> None:
    plain = _answer(assistant, question)
    liked, unliked = _ids(plain)[-1], _ids(plain)[0]
    again = _answer(assistant, question, Refinement(like=(liked,), unlike=(unliked,)))
    before, after = ({case.case_id: case.similarity for case in one.similar} for one in (plain, again))
    gained = {case_id: after[case_id] - before[case_id] for case_id in before.keys() & after.keys()}
    assert gained[liked] > 0.1
    assert gained[liked] >= max(gained.values()) - 0.01
    assert unliked not in _ids(again)
    assert [one.model_dump() for one in again.labels] == [one.model_dump() for one in plain.labels]
    assert again.contributions == plain.contributions
    assert again.refined is not None
    assert (again.refined.like, again.refined.unlike) == ([liked], [unliked])
    assert again.ranked_by == "refined similarity"


def test_an_unliked_case_makes_room_for_another(assistant: Assistant, question: Question) -> None:
    everything = _ids(_answer(assistant, question, k=100))
    shown = _ids(_answer(assistant, question, Refinement(unlike=(everything[0],)), k=100))
    assert {everything[0]}.isdisjoint(shown)
    patients = {one.id: one.patient for one in assistant.index.records()}
    assert {patients[one] for one in shown} == {patients[one] for one in everything}, "who has another case stays"


def test_a_liked_case_stays_shown_before_others_of_its_patient_and_copies(
    assistant: Assistant, question: Question
) -> None:
    shown = _answer(assistant, question, k=100)
    patients = {one.id: one.patient for one in assistant.index.records()}
    for liked in sorted(patients.keys() - set(_ids(shown))):
        again = _answer(assistant, question, Refinement(like=(liked,), distinct=True), k=100)
        assert liked in _ids(again)
        assert [patients[one] for one in _ids(again)].count(patients[liked]) == 1


def test_less_of_the_query_is_the_query_of_the_rest(assistant: Assistant, question: Question, folder: Path) -> None:
    rest = _answer(assistant, question, Refinement(without=("history",)))
    scan = assistant.query([folder.parent / "query.png"], k=4).answer
    assert rest.refined is not None
    assert rest.model_copy(update={"refined": None}) == scan


def test_a_region_is_searched_among_scans_as_its_crop_would_be(
    assistant: Assistant, question: Question, folder: Path
) -> None:
    box = (0.25, 0.0, 1.0, 0.5)
    plain = _answer(assistant, question)
    found = _answer(assistant, question, Refinement(region=Region(1, box)))
    whole = np.asarray(Image.open(folder.parent / "query.png").convert("L"))
    height, width = whole.shape
    cut = whole[: round(height / 2), round(width / 4) :]
    Image.fromarray(cut).save(folder.parent / "cut.png")
    vector = assistant.ask([folder.parent / "cut.png"]).parts
    hits = assistant.index.search(assistant.fuser.fuse([vector]), 4, kinds=("scan",), one_per_patient=True)[0]
    assert [(one.case_id, one.similarity) for one in found.similar] == [(hit.case_id, hit.similarity) for hit in hits]
    assert {one.view for one in found.similar} == {"scan"}
    assert found.labels == plain.model_copy(update={"labels": found.labels}).labels
    assert [one.answer for one in found.labels] == [one.answer for one in plain.labels]


@pytest.mark.parametrize(
    ("refinement", "said"),
    [
        (Refinement(region=Region(2, (0, 0, 1, 1))), "has 1 scans"),
        (Refinement(region=Region(1, (0, 0, 1, 1), slice=2)), "1 slices were read"),
        (Refinement(region=Region(1, (0.5, 0, 0.2, 1))), "shares of the picture"),
        (Refinement(region=Region(1, (float("nan"), 0, 0.2, 1))), "shares of the picture"),
        (Refinement(region=Region(1, (0, 0, 0.01, 1))), "mark at least 16 × 16"),
        (Refinement(without=("report",)), "the query is of scan, history"),
        (Refinement(without=("scan", "history")), "nothing is left"),
        (Refinement(like=("c1",), unlike=("c1",)), "as like and as unlike"),
        (Refinement(like=("nobody",)), "has no case 'nobody'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    assistant: Assistant, question: Question, refinement: Refinement, said: str
) -> None:
    with pytest.raises((RefinementError, ArchiveError), match=said):
        _answer(assistant, question, refinement)


def test_an_archived_case_takes_marks_and_neither_less_nor_a_region(folder: Path) -> None:
    assistant = Assistant.open_without_model(folder)
    plain = assistant.similar("c1", k=4).answer
    unliked = _ids(plain)[0]
    again = assistant.similar("c1", k=4, refinement=Refinement(unlike=(unliked,))).answer
    assert unliked not in _ids(again)
    assert again.labels == [one.model_copy() for one in plain.labels]
    with pytest.raises(RefinementError, match="as a whole"):
        assistant.similar("c1", refinement=Refinement(without=("scan",)))


def test_a_copy_of_a_case_above_is_hidden_and_named(folder: Path, tmp_path: Path) -> None:
    import shutil

    place = tmp_path / "index"
    shutil.copytree(folder, place)
    index = CaseIndex.open(place)
    plain = Assistant.open_without_model(place).similar("c1", k=3).answer
    first = _ids(plain)[0]
    [entry] = [one for one in index.entries() if one.record.id == first]
    document = {**entry.record.document, "id": "copied", "patient": "another"}
    record = replace(entry.record, id="copied", patient="another", document=document)
    index.add([replace(entry, record=record)])
    assistant = Assistant.open_without_model(place)
    again = Assistant.open_without_model(folder).similar("c1", k=3, refinement=Refinement(distinct=True)).answer
    assert _ids(again) == _ids(plain), "phantoms are drawn alike, and are no copies"
    assert {first, "copied"} <= set(_ids(assistant.similar("c1", k=3).answer))
    answer = assistant.similar("c1", k=3, refinement=Refinement(distinct=True)).answer
    assert answer.refined is not None
    hidden = {one.case_id: one.of for one in answer.refined.copies}
    assert hidden.get(first) == "copied" or hidden.get("copied") == first
    assert len(hidden) == 1
    assert len({first, "copied"} & set(_ids(answer))) == 1
    assert answer.ranked_by == "similarity"


def test_a_record_answers_again_what_was_refined(
    assistant: Assistant, question: Question, folder: Path, tmp_path: Path
) -> None:
    plain = _ids(_answer(assistant, question))
    refinement = Refinement(
        like=(plain[2],), unlike=(plain[0],), without=("history",), region=Region(1, (0, 0, 0.75, 0.75)), distinct=True
    )
    asked = assistant.answer(question, k=3, refinement=refinement, record=True)
    assert asked.record is not None
    write_record(tmp_path / "record.json", asked.record)
    found = explain(Assistant.open_without_model(folder), read_record(tmp_path / "record.json"), "record.json")
    assert (found.since, found.moved) == ([], [])
    assert found.answer == asked.answer


def test_several_threads_answer_at_once_and_alike(assistant: Assistant, question: Question) -> None:
    ids = _ids(_answer(assistant, question))
    refinements = [
        Refinement(),
        Refinement(like=(ids[1],)),
        Refinement(unlike=(ids[0],)),
        Refinement(distinct=True),
    ] * 8
    alone = [_answer(assistant, question, one) for one in refinements[:4]] * 8
    with ThreadPoolExecutor(4) as workers:
        together = list(workers.map(lambda one: _answer(assistant, question, one), refinements))
    assert together == alone


@pytest.mark.slow
def test_the_command_says_what_was_applied(folder: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    ask = ("query", folder, "--scan", folder.parent / "query.png", "--text", "a round cyst", "-k", 3)
    marks = ("--like", "c3", "--unlike", "c7", "--without", "history", "--region", "1/1:0.2,0.1,0.9,0.8", "--distinct")
    page, record = folder.parent / "page.html", folder.parent / "marked.json"
    done = medclip(*ask, *marks, "--html", page, "--record", record)
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    assert "asked without the history: all of the answer is to the rest" in told
    assert "searched by a region of scan 1, slice 1 (0.2, 0.1, 0.9, 0.8); drawn to c3; away from c7" in told
    assert "near-duplicates hidden: none. Who votes, and so every label, is not moved by that." in told
    assert "drawn to c3; away from c7" in page.read_text()
    again = medclip("explain", folder, record)
    assert (again.code, "drawn to c3" in " ".join(again.out.split())) == (0, True), again.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--region", "1:0.2,0.1"), "SCAN[/SLICE]:LEFT,TOP,RIGHT,BOTTOM"),
        (("--region", "1:0,0,0.1,0.1"), "mark at least 16 × 16"),
        (("--without", "colour"), "one of scan, history, report, measurements"),
        (("--unlike", "nobody"), "has no case 'nobody'"),
    ],
)
def test_a_refinement_that_does_not_fit_is_one_line(
    folder: Path,
    options: tuple[str, ...],
    said: str,
    medclip: Callable,  # type: ignore[type-arg]
    refused: Callable,  # type: ignore[type-arg]
) -> None:
    assert said in refused(medclip("query", folder, "--scan", folder.parent / "query.png", *options))
