"""Towers in the layouts of BiomedCLIP, MedSigLIP, SigLIP 2, CLIP, RAD-DINO and all-mpnet-base-v2, with no connection."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from medclip.bundle.layout import Layout  # noqa: E402
from medclip.bundle.serving import ServingModel  # noqa: E402
from medclip.cases import read_cases  # noqa: E402
from medclip.modalities.scan.encoder import ScanTower  # noqa: E402
from medclip.modalities.scan.prepare import prepare_scan  # noqa: E402
from medclip.modalities.scan.read import read_scan  # noqa: E402
from medclip.modalities.text.tokens import TextTokenizer  # noqa: E402
from medclip.training.towers import load_image_half, load_towers, rebuild_towers, save_recipes  # noqa: E402
from tests.conftest import Shared  # noqa: E402
from tests.tiny_hub import LAYOUTS, as_mpnet, as_open_clip_siglip  # noqa: E402

TEXTS = ["Axial CT of the chest.", "No effusion; the patient's liver is normal."]

ALONE = """
import json, sys

def refuse(event, _):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print(f"a connection was opened: {event}", file=sys.stderr)
        sys.exit(9)

sys.addaudithook(refuse)
from medclip.cli.app import run
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["medclip", *arguments]
    try:
        run()
    except SystemExit as ended:
        if ended.code:
            raise
"""
"""Runs commands one after another; whatever asks for a connection ends it."""


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, shared: Shared) -> tuple[Path, str]:
    """A folder in one of the layouts, and how it is named as towers."""
    make, form = LAYOUTS[request.param]
    folder = shared(f"layout-{request.param}", make)
    return folder, form.format(folder)


def alone(*commands: list[object]) -> subprocess.CompletedProcess[str]:
    """Run commands in a process that may open no connection, as a user without HF_HUB_OFFLINE would."""
    given = json.dumps([[str(one) for one in command] for command in commands])
    free = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    return subprocess.run(
        [sys.executable, "-P", "-c", ALONE, given], capture_output=True, text=True, env=free, check=False
    )


@pytest.mark.slow
def test_each_layout_trains_is_verified_indexed_and_asked_without_a_connection(
    layout: tuple[Path, str], few: Path, tmp_path: Path
) -> None:
    folder, towers = layout
    model, index = tmp_path / "model", tmp_path / "index"
    case = read_cases(few)[0]
    scan = few / case.scans[0].file
    done = alone(
        ["train", few, "--out", model, "--towers", towers, "--epochs", 2, "--device", "cpu"],
        ["model", "verify", model],
        ["index", "build", few, "--model", model, "--out", index],
        ["query", index, "--scan", scan, "--text", TEXTS[0]],
        ["index", "info", index],
    )
    assert done.returncode == 0, done.stderr
    assert case.id in done.stdout
    facts = json.loads((model / "training.json").read_text())
    assert str(folder) in facts["image_tower"]["name"] + facts["text_tower"]["name"]
    card = (model / "README.md").read_text()
    assert all(facts[half]["licence"] in card for half in ("image_tower", "text_tower"))
    said = f"weights: {facts['image_tower']['whose']}: {facts['image_tower']['licence']}"
    assert done.stdout.count(said) == 2  # of model verify, and of the index that may be somewhere else
    assert str(folder.parent) not in done.stdout.replace(str(few), "").replace(
        str(tmp_path), ""
    )  # which names no place
    terms = "its terms bind whoever serves it" in done.stdout
    assert terms == ("health-ai-developer-foundations" in facts["image_tower"]["licence"])

    loaded = load_towers(towers)  # what onnxruntime serves is what the library's own model gives
    served = ServingModel(Layout(model).serving.root).towers
    prepared = prepare_scan(read_scan(scan).middle, loaded.preprocessing)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (loaded.preprocessing.mean, loaded.preprocessing.std))
    with torch.inference_mode():
        seen = loaded.model.encode_image(
            (torch.from_numpy(prepared.copy())[None, None] / 255 - mean) / std, normalize=True
        )
    ours = served.scan_features(prepared[None])
    if "default" not in towers.split("+")[0]:
        assert float((ours[:, : seen.shape[1]] * seen.numpy()).sum()) > 0.999
    assert served.text_features(TEXTS).shape[0] == 2


def test_each_layout_is_rebuilt_from_its_recipe(layout: tuple[Path, str], tmp_path: Path) -> None:
    loaded = load_towers(layout[1])
    save_recipes(loaded, tmp_path)
    built = rebuild_towers(tmp_path)
    built.load_state_dict(loaded.model.state_dict(), strict=True)
    size = loaded.preprocessing.size
    with torch.inference_mode():
        picture = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        ids = torch.tensor([[*loaded.reading.prefix, 5, 6, *loaded.reading.suffix]])
        if loaded.reading.fixed_length:
            ids = torch.nn.functional.pad(
                ids, (0, loaded.reading.context_length - ids.shape[1]), value=loaded.reading.pad
            )
        np.testing.assert_allclose(built.encode_image(picture), loaded.model.encode_image(picture), atol=1e-5)
        np.testing.assert_allclose(built.encode_text(ids), loaded.model.encode_text(ids), atol=1e-5)


@pytest.mark.slow
def test_crops_of_a_vit_come_from_one_forward_and_are_what_an_index_is_asked_by(
    hub_layout: Path, few: Path, tmp_path: Path
) -> None:
    model, index = tmp_path / "model", tmp_path / "index"
    case = read_cases(few)[0]
    done = alone(
        [
            "train",
            few,
            "--out",
            model,
            "--towers",
            f"local-dir:{hub_layout}",
            "--crops",
            "--epochs",
            2,
            "--device",
            "cpu",
        ],
        ["model", "verify", model],
        ["index", "build", few, "--model", model, "--out", index],
        ["query", index, "--scan", few / case.scans[0].file],
    )
    assert done.returncode == 0, done.stderr
    assert case.id in done.stdout
    served = ServingModel(Layout(model).serving.root)
    assert served.manifest.preprocessing.crops_of_map
    prepared = prepare_scan(read_scan(few / case.scans[0].file).middle, served.manifest.preprocessing)
    assert served.towers.scan_features(prepared[None]).shape[:2] == (1, 10)


def test_a_crop_is_what_the_patches_below_it_say(hub_layout: Path) -> None:
    towers = load_towers(f"local-dir:{hub_layout}", crops=True)
    tower = ScanTower(towers.model.visual, towers.preprocessing)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, tower.size, tower.size), dtype=torch.uint8, generator=generator)
    x = picture[:, None] * tower.scale + tower.shift
    with torch.inference_mode():
        rows = tower(picture)[0]
        patches = towers.model.visual.forward_intermediates(x, indices=[0, 1], normalize_intermediates=True)
    embedding, (halfway, last) = patches["image_features"], patches["image_intermediates"]
    own, cells = embedding.shape[1], last.shape[1]
    corner = tower.boxes[1]  # the first: top and left, half as long as the picture
    assert corner == (0, 0, tower.size // 2, tower.size // 2)
    normal = torch.nn.functional.normalize
    expected = normal(last[0, :, :2, :2].mean((1, 2)), dim=0)  # of 4 x 4 patches
    torch.testing.assert_close(rows[1, own : own + cells], expected)
    torch.testing.assert_close(rows[1, -cells:], normal(halfway[0, :, :2, :2].mean((1, 2)), dim=0))
    torch.testing.assert_close(rows[:, :own], normal(embedding, dim=-1).expand(len(rows), -1))
    torch.testing.assert_close(rows[0, own : own + cells], normal(last[0].mean((1, 2)), dim=0))


def _words(name: str, folder: Path) -> np.ndarray:
    """Text features of `TEXTS` as serving makes them: our tokenizer, our windows, the loaded tower."""
    towers = load_towers(name)
    file = folder / "tokenizer.json"
    file.write_text(towers.tokenizer_json, encoding="utf-8")
    windows = TextTokenizer(file, towers.reading).windows(TEXTS)
    with torch.inference_mode():
        return np.asarray(towers.model.encode_text(torch.from_numpy(windows.ids)))


def test_texts_are_read_as_open_clip_reads_them_where_a_tower_is_shown_its_padding(tmp_path: Path) -> None:
    import open_clip

    as_open_clip_siglip(tmp_path / "towers")
    name = f"local-dir:{tmp_path / 'towers'}"
    network, tokenize = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    with torch.inference_mode():
        expected = network.encode_text(tokenize(TEXTS)).numpy()
    np.testing.assert_allclose(_words(name, tmp_path), expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["medsiglip", "siglip2", "clip"], indirect=True)
def test_texts_are_read_as_transformers_reads_them(layout: tuple[Path, str], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder, name = layout
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    said = [text.lower() for text in TEXTS]  # as SigLIP 2's processor does, and as the others' tokenizers do anyway
    context = load_towers(name).reading.context_length
    ids = tokenizer(said, padding="max_length", max_length=context, truncation=True, return_tensors="pt").input_ids
    with torch.inference_mode():
        found = model.get_text_features(input_ids=ids)
        expected = getattr(found, "pooler_output", found).numpy()
    np.testing.assert_allclose(_words(name, tmp_path), expected, atol=1e-5)


def test_texts_are_read_as_sentence_transformers_reads_them(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    as_mpnet(tmp_path / "towers")
    ours = _words(f"default+sentence-transformers:{tmp_path / 'towers'}", tmp_path)
    theirs = SentenceTransformer(str(tmp_path / "towers"), device="cpu").encode(TEXTS)
    assert (ours / np.linalg.norm(ours, axis=1, keepdims=True) * theirs).sum(1).min() > 0.99999


@pytest.mark.parametrize(
    ("layout", "other"),
    [("medsiglip", {}), ("clip", {}), ("rad-dino", {}),
     ("rad-dino", {"size": {"shortest_edge": 592}})],
    indirect=["layout"],
)  # fmt: skip
def test_a_scan_is_prepared_as_the_model_s_own_processor_does(
    layout: tuple[Path, str], other: dict[str, object], few: Path, tmp_path: Path
) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor

    folder = tmp_path / "towers"
    shutil.copytree(layout[0], folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))
    how = load_image_half(layout[1].replace(str(layout[0]), str(folder)).split("+")[0]).preprocessing
    picture = np.asarray(Image.open(few / read_cases(few)[0].scans[0].file).convert("L"))[
        :, :200
    ]  # upright, not square
    expected = AutoImageProcessor.from_pretrained(folder)(Image.fromarray(picture).convert("RGB"), return_tensors="np")
    mean, std = (np.asarray(part).reshape(3, 1, 1) for part in (how.mean, how.std))
    ours = (prepare_scan(picture, how)[None] / 255 - mean) / std
    assert (
        np.abs(ours - expected["pixel_values"][0]).mean() * np.mean(how.std) < 1 / 255
    )  # within rounding, on the mean
