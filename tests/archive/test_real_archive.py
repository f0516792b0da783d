"""An archive of real cases: what it states of its answers to every kind of question."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medclip.cases import read_cases, write_cases

Medclip = Callable  # type: ignore[type-arg]
CASES = 240


@pytest.fixture(scope="module")
def told(medpix: Path, model: Path, medclip: Medclip, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:  # type: ignore[type-arg]
    """What an index of MedPix cases says of its label sets; the model has seen none of them, and no real scan at all."""
    folder = tmp_path_factory.mktemp("real")
    assert medclip("cases", "import", "medpix-2.0", medpix, "--out", folder / "cases").code == 0
    write_cases(folder / "cases", read_cases(folder / "cases")[:CASES])
    assert medclip("index", "build", folder / "cases", "--model", model, "--out", folder / "index").code == 0
    return json.loads(medclip("index", "info", folder / "index", "--json").out)["label_sets"]  # type: ignore[no-any-return]


def test_adding_what_is_known_costs_no_more_than_noise(told: list[dict]) -> None:  # type: ignore[type-arg]
    """The pool beside the best of its opinions, which is the best by chance, too: hence not in every single question."""
    lost, worse = [], 0
    for found in told:
        for name, pool in found["measured"].items():
            best = max(one["accuracy"] for one in found["opinions"][name].values())
            lost.append(best - pool["accuracy"])
            worse += lost[-1] > (best * (1 - best) / pool["patients"]) ** 0.5
    assert len(lost) == 45, "three label sets, fifteen compositions"
    assert sum(lost) / len(lost) < 0.01
    assert worse <= 4, "questions of 45 in which the pool is more than one standard error below"


def test_no_answer_is_worse_than_to_name_the_commonest_class_always(told: list[dict]) -> None:  # type: ignore[type-arg]
    for found in told:
        commonest = max(found["patients"].values()) / sum(found["patients"].values())
        for name, pool in found["measured"].items():
            assert pool["accuracy"] > commonest - 2 * (commonest * (1 - commonest) / pool["patients"]) ** 0.5, name
            assert pool["calibration_error"] < 0.15, name  # of 200 answers, 0.07 by chance alone
