"""The joint loss, and an answer that every modality moves."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medclip.errors import CaseError
from medclip.training.losses import supervised_contrastive_loss
from medclip.training.settings import LossWeights, parse_weights

Medclip = Callable  # type: ignore[type-arg]


@pytest.mark.slow
def test_an_answer_says_how_each_modality_moved_it(joint: Path, tmp_path: Path, medclip: Medclip) -> None:
    model, index = tmp_path / "model", tmp_path / "index"
    trained = medclip("train", joint, "--out", model, "--fuser", "gated", "--epochs", 3, "--device", "cpu")
    assert trained.code == 0, trained.err
    assert "verified" in medclip("model", "verify", model).out
    assert medclip("index", "build", joint, "--model", model, "--split", "train", "--out", index).code == 0
    scan = next((joint / "scans").iterdir())
    asked = ("query", index, "--scan", scan, "--text", "Chills at night.", "--measure", "temp=102.6[degF]")
    answer = json.loads(medclip(*asked, "--json").out)
    assert answer["query"] == "scan+history+measurements"
    moved = {part["part"]: part for part in answer["contributions"]}
    assert set(moved) == {"scan", "history", "measurements"}
    for part in moved.values():  # the label turns on each of the three
        assert part["shift"]["course"] > 0.01, part
    [course] = json.loads(medclip("index", "info", index, "--json").out)["label_sets"]
    right = {name: measured["accuracy"] for name, measured in course["measured"].items()}
    assert right["scan+history+measurements"] > 0.7
    for part in ("scan", "history", "measurements", "scan+history", "scan+measurements", "history+measurements"):
        assert right[part] < 0.65, part
    assert "without the measurements" in medclip(*asked).out


def test_unknown_labels_and_lonely_classes_are_no_loss() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.tensor([0, 0, 1, 1, -1, 2])
    whole = supervised_contrastive_loss(vectors, labels, 10.0)
    moved = vectors.clone()
    moved[4] = -moved[4]
    assert torch.isclose(supervised_contrastive_loss(moved, labels, 10.0), whole)
    assert supervised_contrastive_loss(vectors, torch.tensor([0, 1, 2, -1, -1, -1]), 10.0) == 0


def test_loss_weights_are_three_numbers_from_zero_up() -> None:
    assert parse_weights("0,2,0.5") == LossWeights(0.0, 2.0, 0.5)
    for bad in ("1,1", "1,1,x", "1,1,-1", "1,1,nan"):
        with pytest.raises(CaseError, match="three numbers"):
            parse_weights(bad)
