"""Several questions answered together."""

from pathlib import Path
from typing import Any

import pytest

from medclip.assistant.asking import Question
from medclip.assistant.assistant import Assistant
from medclip.cases import read_cases
from medclip.errors import NotThereError, RefinementError
from medclip.index import CaseIndex


@pytest.fixture(scope="module")
def assistant(tiny_index: Path) -> Assistant:
    return Assistant.open(tiny_index)


@pytest.fixture(scope="module")
def questions(assistant: Assistant, few: Path) -> list[Question]:
    """Of every kind, and several of one."""
    cases = [case for case in read_cases(few) if case.scans and case.report][:3]
    asked = []
    for case in cases:
        scan, report = few / case.scans[0].file, case.report or ""
        asked += [
            assistant.ask([scan], ["45 year old man with cough"]),
            assistant.ask([scan]),
            assistant.ask(history=[f"seen in {case.id}"]),
            assistant.ask([scan], ["cough"], report=[report]),
        ]
    return asked


@pytest.mark.parametrize("words", [None, True, False])
def test_each_is_answered_as_it_is_alone(assistant: Assistant, questions: list[Question], words: bool | None) -> None:
    together = assistant.answer_many(questions, k=3, words=words, record=True)
    assert len(together) == len(questions)
    for question, asked in zip(questions, together, strict=True):
        alone = assistant.answer(question, k=3, words=words, record=True)
        assert asked.answer == alone.answer
        assert asked.scans == alone.scans
        assert asked.record is not None
        assert alone.record is not None
        assert asked.record.answer == alone.record.answer


def test_more_of_one_kind_are_searched_for_as_often_as_one(
    assistant: Assistant, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []
    search = CaseIndex.search

    def counted(self: CaseIndex, queries: Any, *args: Any, **more: Any) -> Any:
        searched.append(len(queries))
        return search(self, queries, *args, **more)

    monkeypatch.setattr(CaseIndex, "search", counted)
    assistant.answer_many(questions[:1])
    one = len(searched)
    searched.clear()
    assistant.answer_many(questions[::4])
    assert len(searched) == one
    assert max(searched) >= len(questions[::4])


def test_none_is_answered_where_one_cannot_be(assistant: Assistant, questions: list[Question]) -> None:
    assert assistant.answer_many([]) == []
    with pytest.raises(NotThereError, match="cannot answer label set 'nothing'"):
        assistant.answer_many(questions, label_sets=["nothing"])
    stranger = Question(**{**vars(questions[0]), "model": "another"})
    with pytest.raises(RefinementError, match="embedded by another model"):
        assistant.answer_many([questions[1], stranger])
