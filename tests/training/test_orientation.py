"""How a scan lies: learnt in training, kept in the model, and told of scans that it has not seen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytest.importorskip("torch", reason="needs the extra train")

from sklearn.metrics import roc_auc_score

from medclip.archive.layout import orientation_of
from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases import Case, Scan, read_cases
from medclip.embedding.embedder import Embedder
from medclip.errors import BundleError
from medclip.files.plain import digest_of
from medclip.fusion import Fuser
from medclip.index import CaseIndex
from medclip.training.orientation import fit_orientation, scan_vectors, told, turned_features
from medclip.training.projection import Projection, Shape

NAMES = ("upright", "upside down", "turned by 180°", "turned left", "turned right", "inverted")
PATIENTS_LEARNT, PATIENTS_ASKED = 60, 20  # of MedPix: some 150 and 50 scans


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_training_keeps_it_and_serving_and_an_index_read_it(
    tiny_model: Path, tiny_index: Path, few: Path, medclip: Callable  # type: ignore[type-arg]
) -> None:  # fmt: skip
    model = ServingModel(Layout(tiny_model).serving.root)
    head = model.orientation
    assert head is not None
    assert head.names == NAMES
    query = Embedder(model).query([few / read_cases(few)[0].scans[0].file], [], [], {})
    found = head.probabilities(model.fuser.blocks(query.parts.scan(0))["scan"][None])
    assert found.shape == (1, len(NAMES))
    assert found.sum() == pytest.approx(1)
    archived = orientation_of(CaseIndex.open(tiny_index))
    assert archived is not None
    np.testing.assert_array_equal(archived.weights, head.weights)
    assert medclip("index", "verify", tiny_index).code == 0


def test_the_card_says_how_often_it_was_right_on_dev_scans(tiny_model: Path) -> None:
    facts = json.loads(Layout(tiny_model).training.read_text())["orientation"]
    assert 0 <= facts["right"] <= 1
    assert f"Of {facts['pictures']} dev scans, turned by chance" in Layout(tiny_model).card.read_text()


def test_one_changed_byte_of_it_is_refused(copy: Path, medclip: Callable, refused: Callable) -> None:  # type: ignore[type-arg]
    file = Layout(copy).serving.orientation
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "orientation.safetensors: has changed" in refused(medclip("model", "verify", copy))
    with pytest.raises(BundleError, match=r"orientation\.safetensors: has changed"):
        ServingModel(file.parent)


def test_that_it_is_missing_is_said(copy: Path) -> None:
    Layout(copy).serving.orientation.unlink()
    with pytest.raises(BundleError, match=r"orientation\.safetensors: .*not found"):
        ServingModel(Layout(copy).serving.root)


@pytest.mark.parametrize("how", ["nan", "narrow", "left over"])
def test_what_checksums_were_made_to_hide_is_refused(copy: Path, how: str) -> None:
    layout = Layout(copy).serving
    tensors = load_file(layout.orientation)
    if how == "nan":
        tensors["bias"][0] = np.nan
    elif how == "narrow":
        tensors["weights"] = tensors["weights"][:-1].copy()
    else:
        tensors["more"] = tensors["bias"]
    save_file(tensors, layout.orientation)
    manifest = json.loads(layout.manifest.read_bytes())
    manifest["sha256"][layout.orientation.name] = digest_of(layout.orientation)
    layout.manifest.write_text(json.dumps(manifest))
    model = ServingModel(layout.root)
    with pytest.raises(BundleError, match=r"orientation\.safetensors: does not tell"):
        model.verify_references()


def _of_medpix(folder: Path, patients: int) -> list[Case]:
    """Cases of the first patients, with their scans alone: file names begin with the patient's."""
    own: dict[str, list[str]] = {}
    for file in sorted((folder / "images").iterdir()):
        own.setdefault(file.name.split("_")[0], []).append(f"images/{file.name}")
    return [
        Case(id=name, patient=name, scans=tuple(Scan(file=file) for file in files))
        for name, files in list(own.items())[:patients]
    ]


def test_real_scans_that_are_upside_down_are_told_from_upright_ones(medpix: Path, model: Path, tmp_path: Path) -> None:
    """On patients that nothing has seen; the towers are frozen, and the axes those of the scans that are learnt from."""
    cases = _of_medpix(medpix, PATIENTS_LEARNT + PATIENTS_ASKED)
    learnt, asked = cases[:PATIENTS_LEARNT], cases[PATIENTS_LEARNT:]
    towers = ServingModel(Layout(model).serving.root).towers
    turned, unseen = (
        turned_features(part, medpix, towers, seed=0, cache=tmp_path, fingerprint="medpix", most=most)
        for part, most in ((learnt, 900), (asked, 300))
    )
    upright, texts = turned.pictures[turned.names == 0], towers.text_features(["CT of the chest.", "MR of the head."])
    projection = Projection(
        Shape(upright.shape[1], texts.shape[1], aligned=8, hidden=8, scan_kept=512, text_kept=2, aligned_share=0.3)
    )
    projection.fit_statistics(upright, texts, np.asarray(["caption", "caption"]))
    fuser = Fuser(projection.shape.width, 0, aligned=projection.shape.aligned)
    head = fit_orientation(turned, projection.eval(), fuser)
    assert head is not None
    asked_of = scan_vectors(unseen, projection, fuser)
    tilted = 1 - head.probabilities(asked_of)[:, 0]
    for name, least in (("upside down", 0.8), ("inverted", 0.9), ("turned left", 0.9)):
        rows = np.isin(unseen.names, (0, NAMES.index(name)))
        assert roc_auc_score(unseen.names[rows] > 0, tilted[rows]) > least, name
    found = told(head, unseen, projection, fuser)
    assert found is not None
    assert found.right > 0.6
    assert fit_orientation(turned.select(learnt[:9]), projection, fuser) is None, "of nine patients nothing is learnt"
    assert set(turned.select(learnt[:9]).case_ids) == {case.id for case in learnt[:9]}
