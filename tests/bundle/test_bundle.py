"""A model folder verifies itself, and serving equals training."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medclip.bundle.layout import Layout, ServingManifest
from medclip.bundle.serving import LEAST_COSINE, ServingModel, together
from medclip.bundle.verify import verify_bundle
from medclip.cases import Case
from medclip.embedding.embedder import EmbeddedCase, Embedder
from medclip.errors import BundleError
from medclip.files.tensors import read_tensors, write_tensors
from medclip.fusion import Parts
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan

pytest.importorskip("torch", reason="needs the extra train")
from medclip.training.verify import verify_torch


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_both_paths_give_what_training_saw(model: Path) -> None:
    found = verify_bundle(model)
    assert found.onnx_cosine > LEAST_COSINE
    assert verify_torch(model) > LEAST_COSINE


def test_the_card_says_what_happened(model: Path) -> None:
    card = Layout(model).card.read_text()
    facts = json.loads(Layout(model).training.read_text())
    assert "Not a medical device" in card
    assert "synthetic phantoms" in card
    assert f"| trained on | {facts['train']['cases']} |" in card
    assert f"epoch {facts['best_epoch']}" in card


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "serving/scan_tower.onnx", "serving/text_head.onnx", "serving/tokenizer.json",
     "serving/probes.safetensors", "training.json", "serving/serving.json", "bundle.json"],
)  # fmt: skip
def test_a_missing_file_is_named(copy: Path, name: str, medclip: Callable, refused: Callable) -> None:  # type: ignore[type-arg]
    (copy / name).unlink()
    assert name.split("/")[-1] in refused(medclip("model", "verify", copy))


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "bundle.json", "training.json", "serving/serving.json", "serving/scan_tower.onnx",
     "serving/tokenizer.json", "serving/probes.safetensors"],
)  # fmt: skip
def test_a_pipe_in_place_of_a_file_hangs_nothing(copy: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError, match="is no plain file"):
        verify_bundle(copy)


def test_a_manifest_names_no_file_outside_its_folder(copy: Path) -> None:
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["sha256"]["../elsewhere"] = "0" * 64
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="outside the folder"):
        verify_bundle(copy)


def test_every_file_may_be_read_by_whom_the_umask_lets(model: Path) -> None:
    assert len({path.stat().st_mode & 0o777 for path in model.rglob("*") if path.is_file()}) == 1


def test_one_changed_tensor_is_noticed(copy: Path) -> None:
    tensors = load_file(copy / "weights.safetensors")
    name = "projection.scan.head.linear.bias"
    tensors[name] = tensors[name] + 1
    save_file(tensors, copy / "weights.safetensors")
    with pytest.raises(BundleError, match=r"weights\.safetensors: has changed"):
        verify_bundle(copy)


def test_a_missing_tensor_is_named(copy: Path) -> None:
    tensors = load_file(copy / "weights.safetensors")
    del tensors["projection.scan.head.linear.bias"]
    save_file(tensors, copy / "weights.safetensors")
    with pytest.raises(BundleError, match=r"projection\.scan\.head\.linear\.bias is missing"):
        verify_bundle(copy)


def test_probes_notice_what_checksums_were_made_to_hide(model: Path, tmp_path: Path) -> None:
    """A folder whose checksums fit, but whose preprocessing is another: plausible, wrong vectors."""
    file = Layout(Path(shutil.copytree(model, tmp_path / "copy"))).serving.manifest
    manifest = ServingManifest.model_validate_json(file.read_bytes())
    other = manifest.preprocessing.model_copy(update={"resize": "crop", "interpolation": "bilinear"})
    file.write_text(manifest.model_copy(update={"preprocessing": other}).model_dump_json())
    with pytest.raises(BundleError, match="another picture"):
        ServingModel(file.parent).verify_references()


def test_embeddings_are_unit_vectors_whatever_the_batch(model: Path, sample: Path, sample_cases: list[Case]) -> None:
    embedder = Embedder(ServingModel(Layout(model).serving.root))
    pictures = [read_scan(sample / scan.file) for case in sample_cases[:6] for scan in case.scans]
    together = embedder.scans(pictures)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.scans([picture]) for picture in pictures])
    np.testing.assert_allclose((together * alone).sum(1), 1, atol=1e-5)


def test_a_query_walks_the_same_way_as_an_archived_case(model: Path, sample: Path, sample_cases: list[Case]) -> None:
    embedder = Embedder(ServingModel(Layout(model).serving.root))
    case = next(c for c in sample_cases if len(c.scans) == 2)
    archived = next(iter(embedder.cases([case], sample)))
    assert isinstance(archived, EmbeddedCase)
    scans = [sample / s.file for s in case.scans]
    query = embedder.query(scans, [case.note_text("history")], [case.report], case.measured)
    fused = next(view.vector for view in archived.views(embedder.fuser) if view.kind == "fused")
    assert float(embedder.fuser.fuse([query.parts])[0] @ fused) > 0.9999


def test_a_long_text_is_read_to_its_end(model: Path) -> None:
    embedder = Embedder(ServingModel(Layout(model).serving.root))
    start = "The lungs are clear. " * 200
    one, other = embedder.texts([start + "No effusion.", start + "Meningioma of the left convexity. " * 60])
    assert float(one @ other) < 0.999


def test_arrays_are_read_back_as_they_were_however_they_lay_in_memory(tmp_path: Path) -> None:
    by_column = np.arange(6, dtype=np.float32).reshape(2, 3).T
    digest = write_tensors(tmp_path / "t.safetensors", {"t": by_column})
    assert np.array_equal(read_tensors(tmp_path / "t.safetensors", digest)["t"], by_column)


def test_the_stored_head_tells_how_a_scan_lies(model: Path, sample: Path, sample_cases: list[Case]) -> None:
    """As well as the head in training told it of dev scans."""
    serving = ServingModel(Layout(model).serving.root)
    head, fuser, how = serving.orientation, serving.fuser, serving.manifest.preprocessing
    assert head is not None
    scans = [read_scan(sample / case.scans[0].file).middle for case in sample_cases if case.split == "dev"]
    turns = {"upright": np.array, "upside down": np.flipud, "turned left": np.rot90, "inverted": lambda one: 255 - one}
    right = []
    for name, turn in turns.items():
        vectors = serving.embed_scans([[prepare_scan(np.ascontiguousarray(turn(one)), how)] for one in scans])
        blocks = [
            fuser.blocks(Parts(v[None], v[None][:0], v[None][:0], np.zeros(fuser.measurements, np.float32)))
            for v in vectors
        ]
        right += [
            head.names[i] == name for i in head.probabilities(np.stack([one["scan"] for one in blocks])).argmax(1)
        ]
    told = json.loads(Layout(model).training.read_text())["orientation"]["right"]
    assert np.mean(right) > told - 0.15
    assert told > 0.5, "by chance one in six"


def test_windows_are_read_together_as_the_longest_allows() -> None:
    """The short ends of long texts would be padded to full length, a hundred at a time: gigabytes of it."""
    rng = np.random.default_rng(0)
    for lengths in ([], [256], [3] * 100 + [256] * 50, [512, 700], sorted(rng.integers(1, 256, 300).tolist())):
        places = list(together(lengths))
        assert [n for place in places for n in range(place.start, place.stop)] == list(range(len(lengths)))
        assert all(
            place.stop - place.start == 1 or (place.stop - place.start) * lengths[place.stop - 1] <= 512
            for place in places
        )
        assert len(places) <= 2 * sum(lengths) / 512 + 2 + sum(length > 512 for length in lengths)
