"""``--distil``: the image tower learns what another gives."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from safetensors.torch import load_file, save_file  # noqa: E402

from medclip.bundle.layout import Layout  # noqa: E402
from medclip.bundle.verify import verify_bundle  # noqa: E402
from medclip.cases import read_cases  # noqa: E402
from medclip.cases.splits import Fold, choose_fold  # noqa: E402
from medclip.errors import BundleError, CaseError  # noqa: E402
from medclip.training.distil import Distilled, distil_image_tower  # noqa: E402
from medclip.training.settings import DistilSettings  # noqa: E402
from medclip.training.towers import load_towers  # noqa: E402
from tests.conftest import Shared  # noqa: E402
from tests.tiny_hub import LAYOUTS  # noqa: E402

SETTINGS = DistilSettings(epochs=4, batch=5, rate=1e-3, map_rate=1e-4)


@pytest.fixture
def teacher(shared: Shared) -> str:
    """Another small tower, as nobody trained as the student; its features are no linear map of the student's.

    Of weights as they are drawn they nearly are: a layer that adds little to what it is given leaves nothing to learn.
    """
    make, form = LAYOUTS["clip"]

    def stern(out: Path) -> None:
        make(out)
        file = out / "model.safetensors"
        tensors = load_file(file)
        layers = [name for name in tensors if name.startswith("vision_model.encoder") and tensors[name].ndim == 2]
        save_file(tensors | {name: tensors[name] * 3 for name in layers}, file, {"format": "pt"})

    return form.format(shared("stern-clip", stern))


@pytest.fixture
def fold(few: Path) -> Fold:
    return choose_fold(read_cases(few), 0)


Learn = Callable[..., tuple[Distilled, dict[str, "torch.Tensor"]]]


@pytest.fixture
def learn(few: Path, hub_layout: Path, teacher: str, fold: Fold) -> Learn:
    """Distils into new small towers; what it came to, and the image tower's tensors."""

    def run(
        work: Path, settings: DistilSettings = SETTINGS, fold: Fold = fold
    ) -> tuple[Distilled, dict[str, torch.Tensor]]:
        towers = load_towers(f"local-dir:{hub_layout}")
        found = distil_image_tower(towers, teacher, fold, few, settings, device="cpu", work=work)
        return found, towers.model.visual.state_dict()

    return run


@pytest.mark.slow
def test_the_tower_comes_nearer_to_its_teacher_on_scans_that_it_did_not_learn_from(
    sample: Path, hub_layout: Path, teacher: str, tmp_path: Path
) -> None:
    towers = load_towers(f"local-dir:{hub_layout}")
    first = {name: tensor.clone() for name, tensor in towers.model.visual.state_dict().items()}
    fold, settings = choose_fold(read_cases(sample), 0), replace(SETTINGS, batch=16)
    found = distil_image_tower(towers, teacher, fold, sample, settings, device="cpu", work=tmp_path)
    assert found.teacher.name == teacher
    assert found.before is not None
    assert found.after is not None
    assert found.epochs[-1].loss < found.epochs[0].loss
    assert found.best > 0
    assert found.after == max(epoch.cosine or -1 for epoch in found.epochs)
    assert found.after > found.before + 0.004
    learnt = towers.model.visual.state_dict()
    assert any(not torch.equal(first[name], learnt[name]) for name in first)


@pytest.mark.slow
def test_only_the_tower_counts_and_one_that_learnt_nothing_stays_as_it_was(
    learn: Learn, tmp_path: Path, hub_layout: Path
) -> None:
    found, learnt = learn(tmp_path, replace(SETTINGS, epochs=3, rate=0.0))
    assert found.best == 0
    assert {epoch.cosine for epoch in found.epochs} == {found.before} == {found.after}
    first = load_towers(f"local-dir:{hub_layout}").model.visual.state_dict()
    assert all(torch.equal(first[name], learnt[name]) for name in first)


@pytest.mark.slow
def test_what_was_stopped_between_two_epochs_goes_on_to_the_same_numbers(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = learn(tmp_path / "whole")
    from medclip.training import distil

    class StoppedError(Exception):
        pass

    saved: list[int] = []

    class Stopping(distil.Checkpoint):
        def save(self, state: distil.State) -> None:
            super().save(state)
            saved.append(1)
            if len(saved) == 2:
                raise StoppedError

    monkeypatch.setattr(distil, "Checkpoint", Stopping)
    with pytest.raises(StoppedError):
        learn(tmp_path / "cut")
    monkeypatch.undo()
    resumed, found = learn(tmp_path / "cut")
    assert resumed == whole
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_without_dev_scans_the_last_epoch_is_kept(learn: Learn, tmp_path: Path, fold: Fold) -> None:
    found, _ = learn(tmp_path, replace(SETTINGS, epochs=2), Fold(fold.train, ()))
    assert (found.before, found.after, found.best) == (None, None, 2)


def test_there_must_be_something_to_learn_and_enough_to_learn_from(
    few: Path, hub_layout: Path, teacher: str, fold: Fold, tmp_path: Path
) -> None:
    def run(name: str, settings: DistilSettings) -> None:
        towers = load_towers(f"local-dir:{hub_layout}")
        distil_image_tower(towers, name, fold, few, settings, device="cpu", work=tmp_path)

    with pytest.raises(BundleError, match="name another, larger one"):
        run(f"local-dir:{hub_layout}", SETTINGS)
    with pytest.raises(BundleError, match="are not known"):
        run("nonsense", SETTINGS)
    with pytest.raises(BundleError, match="no such folder"):
        run("sentence-transformers:/nowhere", SETTINGS)
    with pytest.raises(CaseError, match="batches of 500 scans"):
        run(teacher, replace(SETTINGS, batch=500))


@pytest.mark.slow
def test_a_model_says_from_whom_it_learnt(
    sample: Path, hub_layout: Path, teacher: str, tmp_path: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    out = tmp_path / "model"
    how = ["--towers", f"local-dir:{hub_layout}", "--distil", teacher, "--epochs", 2, "--device", "cpu"]
    assert "give one of them" in refused(medclip("train", sample, "--out", out, *how, "--unfreeze"))
    done = medclip("train", sample, "--out", out, *how)
    assert done.code == 0, done.err
    assert "cosine on the dev scans" in done.out
    verify_bundle(out)
    facts = json.loads(Layout(out).training.read_text())
    assert facts["distilled"]["teacher"]["name"] == teacher
    learnt = facts["distilled"]["best"] > 0
    manifest = json.loads(Layout(out).serving.manifest.read_text())
    assert manifest["tuned"] == learnt
    assert ("stern-clip" in str(manifest["weights"])) == learnt
    assert ("learnt on the cases below" in Layout(out).card.read_text()) == learnt
    assert medclip("model", "verify", out).code == 0
    assert "without --folds" in refused(medclip("evaluate", sample, *how, "--folds", 3))
