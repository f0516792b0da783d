"""The proof that fusion fuses: a label that no two modalities give."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Medclip = Callable  # type: ignore[type-arg]
SINGLE, WHOLE = ("scans", "history-only", "measurements"), "scan+history+measurements"


@pytest.fixture(scope="module")
def ablated(joint: Path, tmp_path_factory: pytest.TempPathFactory, medclip: Medclip) -> dict[tuple[str, str], float]:
    """(method, query) → accuracy on the cohort's dev cases, and the picture of it."""
    picture = tmp_path_factory.mktemp("ablation") / "ablation.png"
    done = medclip("evaluate", joint, "--ablate", "--picture", picture, "--epochs", 5, "--device", "cpu", "--threads", 1,
                   "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert "trained for 5 epochs, no dev set chose one" in done.err
    assert picture.read_bytes()[:4] == b"\x89PNG"
    return {
        (figure["method"], figure["protocol"]): figure["value"]
        for figure in json.loads(done.out)
        if figure["label_set"] == "course" and figure["metric"] == "accuracy"
    }


@pytest.mark.parametrize("fuser", ["gated", "attention"])
def test_a_label_that_needs_all_modalities_is_found_by_fusing_them(
    fuser: str, ablated: dict[tuple[str, str], float]
) -> None:
    assert ablated[fuser, WHOLE] >= 0.80  # those of docs/figures.md are higher; chance is 0.5
    for alone in SINGLE:
        assert ablated[fuser, alone] <= 0.65


def test_the_ablation_has_every_fuser_the_baseline_and_the_floor(ablated: dict[tuple[str, str], float]) -> None:
    methods = {method for method, _ in ablated}
    fusers = {"sum", "concat", "gated", "attention"}
    assert methods == fusers | {"answer", "cnn-lstm", "frozen", "majority", "sum, never seen"}
    assert ("cnn-lstm", "scan+history") in ablated
    assert ablated["majority", WHOLE] == pytest.approx(0.5, abs=0.05)
