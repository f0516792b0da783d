"""``medclip train --compare``: several towers on the same cases."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")

from medclip.evaluation.protocols import Predicted
from medclip.evaluation.subgroups import paired_differences
from tests.conftest import Shared
from tests.tiny_hub import LAYOUTS


@pytest.mark.slow
def test_every_figure_is_one_that_evaluate_gives_of_the_same_towers(
    few: Path, hub_layout: Path, shared: Shared, medclip: Callable
) -> None:  # type: ignore[type-arg]
    make, form = LAYOUTS["clip"]
    names = [f"local-dir:{hub_layout}", form.format(shared("layout-clip", make))]
    how = ["--epochs", 2, "--device", "cpu", "--json"]
    done = medclip("train", few, "--compare", *names, *how)
    assert done.code == 0, done.err
    compared = json.loads(done.out)
    assert [one["name"] for one in compared] == names
    alone = medclip("evaluate", few, "--towers", names[1], *how)
    assert compared[1]["figures"] == json.loads(alone.out)
    assert compared[0]["figures"] != compared[1]["figures"]
    assert compared[0]["differences"] == []
    accuracies = [
        {(f["protocol"], f["label_set"]): f["value"] for f in one["figures"]
         if (f["method"], f["metric"], f["group"]) == ("combined", "accuracy", None)}
        for one in compared
    ]  # fmt: skip
    told = [one for one in compared[1]["differences"] if one["metric"] == "accuracy"]
    assert {(one["protocol"], one["label_set"]) for one in told} == set(accuracies[0])
    for one in told:
        key = one["protocol"], one["label_set"]
        assert one["value"] == pytest.approx(accuracies[1][key] - accuracies[0][key])
    assert all(one["cost"]["scan_seconds"] > 0 and one["cost"]["megabytes"] > 0.1 for one in compared)
    table = medclip("train", few, "--compare", *names, *how[:-1])
    assert table.code == 0, table.err
    assert all(
        word in table.out for word in ("SYNTHETIC", "caption-to-scan", "ms, one thread", "licence", "not stated")
    )


def test_what_does_not_go_together_is_a_line(few: Path, tmp_path: Path, medclip: Callable, refused: Callable) -> None:  # type: ignore[type-arg]
    for arguments, said in (
        (["--compare", "default"], "two towers or more"),
        (["--compare", "default", "default"], "named twice"),
        (["--compare", "default", "multilingual", "--out", tmp_path / "m"], "--compare makes none"),
        (["--compare", "default", "multilingual", "--text-tower", "mpnet"], "name the towers after the cases"),
        (["default"], "--compare alone"),
        (["--folds", "5", "--out", tmp_path / "m"], "--compare alone"),
        ([], "--out is missing"),
        (["--compare", "default", "nonsense", "--device", "cpu"], "towers 'nonsense' are not known"),
    ):
        assert said in refused(medclip("train", few, *arguments)), arguments
        assert not (tmp_path / "m").exists()


def _predicted(right: list[bool], patients: list[str]) -> Predicted:
    labels = ["a", "b"] * (len(right) // 2)
    chosen = [label if well else {"a": "b", "b": "a"}[label] for label, well in zip(labels, right, strict=True)]
    return Predicted(["a", "b"], np.asarray([[one == "a", one == "b"] for one in chosen], float), labels, patients)


def test_two_answers_are_compared_on_the_same_patients() -> None:
    patients = [f"p{number:02}" for number in range(40)]
    before = [number % 4 != 0 for number in range(40)]
    after = [number % 4 != 0 or number < 20 for number in range(40)]
    value, interval = paired_differences(_predicted(before, patients), _predicted(after, patients))["accuracy"]
    assert value == pytest.approx(5 / 40)
    assert interval is not None
    assert 0 < interval[0] < value < interval[1] < 0.3  # five of forty are better and none is worse
    same = paired_differences(_predicted(before, patients), _predicted(before, patients))["accuracy"]
    assert same == (0.0, None)
    some = _predicted(after[:20], patients[:20])  # the others were not asked by the second
    value, _ = paired_differences(_predicted(before, patients), some)["accuracy"]
    assert value == pytest.approx(5 / 20)
    assert paired_differences(_predicted(before, patients), _predicted(after, [f"q{p}" for p in patients])) == {}
