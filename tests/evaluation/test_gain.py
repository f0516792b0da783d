"""What the similar cases hold, against chance by brute force and an index made by hand."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from medclip.archive.build import Place, create_index
from medclip.archive.entries import entry_of
from medclip.assistant.assistant import Among, Assistant
from medclip.cases import Case
from medclip.embedding.embedder import EmbeddedCase
from medclip.evaluation.gain import EXACT, Holdings, chance, gain_figures
from medclip.evaluation.held_out import pose_under
from medclip.fusion import Fuser
from medclip.index import CaseIndex

WIDTH = 8


def _embedded(name: str, degrees: float, diagnosis: str | None = None, **known: object) -> EmbeddedCase:
    """A case whose history is a vector at this angle, so that near angles are similar."""
    case = Case.model_validate(
        {"id": name, "notes": [{"kind": "history", "text": "x"}], "outcome": {"diagnosis": diagnosis}, **known}
    )
    vector = np.zeros((1, WIDTH), np.float32)
    vector[0, :2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    nothing = np.empty((0, WIDTH), np.float32)
    return EmbeddedCase(case, (), nothing, nothing, vector, np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("holders", "total", "depth"), [(0, 7, 3), (1, 7, 3), (3, 7, 2), (6, 7, 3), (7, 7, 1), (2, 4, 10)]
)
def test_chance_is_the_share_of_all_draws_that_hold_it(holders: int, total: int, depth: int) -> None:
    draws = list(combinations(range(total), min(depth, total)))
    assert chance(holders, total, depth) == pytest.approx(np.mean([min(draw) < holders for draw in draws]))


def test_what_is_shown_is_counted_by_rank_beside_chance(tmp_path: Path) -> None:
    fuser = Fuser(WIDTH, 2)
    archive = [
        _embedded("far", 60, "Gout ", labels={"kind": "b"}),
        _embedded("near", 1, "asthma", labels={"kind": "a"}),
        _embedded("next", 10, "gout", labels={"kind": "a"}),
        _embedded("again", 2, "asthma", labels={"kind": "a"}, patient="near"),  # one case a patient is shown
        *[_embedded(f"other{i}", 20 + i) for i in range(3)],
    ]
    create_index((entry_of(case, fuser) for case in archive), "by hand", tmp_path, Place())
    index = CaseIndex.open(tmp_path)
    assistant = Assistant(index, [], None, fuser, None)
    asked = pose_under(
        "history-only",
        [
            _embedded("u1", 0, "GOUT", labels={"kind": "b"}),  # the second shown is of gout, the sixth of kind b
            _embedded("u2", 0, "unheard of"),  # nobody's diagnosis: no query for it
            _embedded("u3", 60, "gout"),  # the first shown is of gout
        ],
        fuser,
    )
    holdings = Holdings.of(index)
    assert (holdings.total, holdings.patients[EXACT, "gout"], holdings.patients["kind", "a"]) == (6, 2, 2)
    found = {
        (f.label_set, f.method, f.metric): f
        for f in gain_figures("history-only", assistant, holdings, [(q, []) for q in asked])
    }
    assert {f.n for f in found.values()} == {2}
    assert [found[EXACT, "shown", f"hit@{k}"].value for k in (1, 3, 5, 10)] == [0.5, 1, 1, 1]
    assert found[EXACT, "chance", "hit@3"].value == pytest.approx(1 - (4 * 3 * 2) / (6 * 5 * 4))
    assert {label_set for label_set, _, _ in found} == {EXACT}  # an index that answers nothing on kind is not asked it


def test_the_answers_first_classes_stand_beside_what_is_shown(index: Path, unseen: Case, sample: Path) -> None:
    assistant = Assistant.open(index)
    (one,) = [found for found in assistant.embedder.cases([unseen], sample) if isinstance(found, EmbeddedCase)]
    (posed,) = pose_under("scan+history", [one], assistant.fuser)
    [answers] = assistant.diagnose([(posed.parts, Among())])
    figures = gain_figures("scan+history", assistant, Holdings.of(assistant.index), [(posed, answers)])
    found = {(f.label_set, f.method, f.metric): f.value for f in figures}
    for answer in answers:
        rank = [ranked.label for ranked in answer.ranked].index(unseen.case_labels[answer.label_set])
        for depth in (1, 3, 5, 10):
            assert found[answer.label_set, "answer", f"hit@{depth}"] == (rank < depth)
            assert 0 < found[answer.label_set, "chance", f"hit@{depth}"] <= 1
