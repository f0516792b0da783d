"""``medclip model fetch``, from a hub on this machine, and what is wrong with towers that cannot be had."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from safetensors.torch import load_file  # noqa: E402

from medclip.errors import BundleError  # noqa: E402
from medclip.training.towers import load_image_half, load_towers, named  # noqa: E402
from medclip.training.towers.licence import UNKNOWN, intended_use_of, licence_of, restriction  # noqa: E402
from tests.command import SCRIPT, Ran  # noqa: E402
from tests.conftest import Shared  # noqa: E402
from tests.tiny_hub import as_biomedclip, as_clip, as_medsiglip, as_mpnet, as_rad_dino  # noqa: E402
from tests.tiny_server import hub  # noqa: E402

BIOMEDCLIP, BERT = (
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

Fetch = Callable[..., Ran]


@pytest.fixture(scope="module")
def layouts(shared: Shared) -> Path:
    """One folder of each layout; BiomedCLIP's as Microsoft has it: pickled, its text tower's configuration elsewhere."""

    def make(out: Path) -> None:
        out.mkdir()
        as_biomedclip(out / "biomedclip", localised=False, pickled=True)
        (out / "bert").mkdir()
        for name in TOKENIZER:
            (out / "biomedclip" / name).rename(out / "bert" / name)
        as_biomedclip(out / "whole")
        shutil.copyfile(out / "whole" / "text_config" / "config.json", out / "bert" / "config.json")
        as_medsiglip(out / "medsiglip")
        as_rad_dino(out / "rad-dino")
        as_mpnet(out / "mpnet")
        as_clip(out / "clip")

    return shared("fetch-layouts", make)


@pytest.fixture
def fetch(layouts: Path, tmp_path: Path) -> Iterator[Fetch]:
    """Runs the command as a user with a connection would; `connected` says whether he has one."""
    folders = {BIOMEDCLIP: layouts / "biomedclip", BERT: layouts / "bert", "org/rad-dino": layouts / "rad-dino",
               "google/medsiglip-448": None}  # fmt: skip
    with hub(folders) as address:

        def run(*arguments: object, connected: bool = True) -> Ran:
            there = {"HF_ENDPOINT": address if connected else "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
            free = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
            done = subprocess.run(
                [SCRIPT, "model", "fetch", *map(str, arguments)],
                capture_output=True, text=True, env={**free, **there}, check=False,
            )  # fmt: skip
            return Ran(done.returncode, done.stdout, done.stderr)

        yield run


@pytest.mark.slow
def test_biomedclip_is_fetched_whole_from_a_hub_that_has_it_in_pieces_and_then_loaded_without(
    fetch: Fetch, tmp_path: Path, layouts: Path
) -> None:
    out = tmp_path / "biomedclip"
    done = fetch(BIOMEDCLIP, "--out", out)
    assert done.code == 0, done.err
    assert f"--towers local-dir:{out}" in done.out
    assert "licence: mit" in done.out
    assert "For **tests** of layouts alone." in done.out
    assert not list(out.rglob("*.bin"))
    assert json.loads((out / "fetched.json").read_text())["from"] == BIOMEDCLIP
    moved = out.rename(tmp_path / "brought")
    loaded = load_towers(f"local-dir:{moved}")
    published = torch.load(layouts / "biomedclip" / "open_clip_pytorch_model.bin", weights_only=True)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, published[name]), name


@pytest.mark.slow
def test_what_cannot_be_fetched_is_a_line_with_the_remedy(fetch: Fetch, tmp_path: Path, refused: Callable) -> None:  # type: ignore[type-arg]
    out = tmp_path / "out"
    for name, said in (
        ("google/medsiglip-448", "accept its terms at https://huggingface.co/google/medsiglip-448"),
        ("no/such", "check the name"),
        ("default", "nothing to fetch"),
        ("ViT-B-32:openai", "give hf-hub:ORG/REPO"),
        (tmp_path, "holds no model"),
    ):
        assert said in refused(fetch(name, "--out", out)), name
        assert not out.exists()
    assert "no connection to the hub" in refused(fetch("org/other", "--out", out, connected=False))
    assert fetch("org/rad-dino", "--out", out).code == 0
    assert "already exists" in refused(fetch("org/rad-dino", "--out", out))
    again = fetch("org/rad-dino", "--out", out, "--force", connected=False)  # from the hub's cache
    assert again.code == 0, again.err


def _changed(layouts: Path, tmp_path: Path, name: str, change: Callable[[Path], object]) -> Path:
    folder = tmp_path / name
    shutil.copytree(layouts / name, folder)
    change(folder)
    return folder


def _edit(folder: Path, **fields: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_towers_that_lack_something_say_what_and_where_it_is_had(layouts: Path, tmp_path: Path) -> None:
    def refused(form: str, said: str) -> None:
        with pytest.raises(BundleError) as caught:
            load_towers(form)
        assert said in str(caught.value), str(caught.value)
        assert "\n" not in str(caught.value)

    refused(f"local-dir:{layouts / 'biomedclip'}", "put that model's config.json into")
    clip = _changed(layouts, tmp_path, "clip", lambda folder: (folder / "tokenizer.json").unlink())
    refused(f"transformers:{clip}", "tokenizer")
    picture = _changed(layouts, tmp_path, "medsiglip", lambda folder: (folder / "preprocessor_config.json").unlink())
    refused(f"transformers:{picture}", "has no preprocessor_config.json")
    shutil.rmtree(picture)
    flexible = _changed(layouts, tmp_path, "medsiglip", lambda folder: _edit(folder, model_type="siglip2"))
    refused(f"transformers:{flexible}", "one resolution")
    shutil.rmtree(flexible)
    code = _changed(layouts, tmp_path, "medsiglip", lambda folder: _edit(folder, auto_map={"AutoModel": "evil.Model"}))
    refused(f"transformers:{code}", "never run")
    other = _changed(layouts, tmp_path, "rad-dino", lambda folder: _edit(folder, hidden_size=64))
    refused(f"transformers:{other}+default", "another architecture")
    bare = _changed(layouts, tmp_path, "mpnet", lambda folder: (folder / "model.safetensors").unlink())
    refused(f"default+sentence-transformers:{bare}", "has no weights")
    pickled = layouts / "whole-pickled"
    if not pickled.exists():
        as_biomedclip(pickled, pickled=True)
    refused(f"local-dir:{pickled}", "convert the folder with  medclip model fetch")
    refused(f"transformers:{layouts / 'rad-dino'}", "name it by --image-tower")
    refused(f"sentence-transformers:{layouts / 'mpnet'}", "name it by --text-tower")
    refused(f"local-dir:{layouts / 'clip'}", f"name it transformers:{layouts / 'clip'}")
    refused(f"transformers:{layouts / 'mpnet'}", "a text tower is named sentence-transformers:FOLDER")
    refused(f"default+sentence-transformers:{layouts / 'clip'}", f"name it transformers:{layouts / 'clip'}")
    refused(f"local-dir:{tmp_path}", "holds no model")
    refused(f"default+transformers:{layouts / 'rad-dino'}", "reads scans alone")


def test_weights_of_before_torch_1_6_are_made_safetensors_too(layouts: Path, tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    folder = _changed(layouts, tmp_path, "clip", lambda _: None)
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    done = medclip("model", "fetch", folder, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    made = load_file(tmp_path / "out" / "model.safetensors")
    assert made.keys() == held.keys()
    assert all(torch.equal(made[name], held[name]) for name in held)


def test_a_pickle_that_holds_more_than_tensors_is_not_read(
    layouts: Path, tmp_path: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    folder = _changed(layouts, tmp_path, "clip", lambda folder: (folder / "model.safetensors").unlink())
    torch.save({"weights": Evil()}, folder / "pytorch_model.bin")
    assert "holds more than tensors" in refused(medclip("model", "fetch", folder, "--out", tmp_path / "out"))
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()


def test_halves_are_named_apart_or_together(tmp_path: Path) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    assert named("default", None, None) == "default"
    assert named("default", None, "multilingual") == "multilingual"
    assert named("default", None, "english") == "default"
    assert named("default", "lite2", None) == "lite2+default"
    assert named("default", None, "mpnet") == "default+mpnet"
    assert named("lite2+mpnet", None, None) == "lite2+mpnet"
    assert (
        named("default", f"transformers:{folder}", "org/name")
        == f"transformers:{folder}+sentence-transformers:org/name"
    )
    assert named("default", None, str(folder)) == f"default+sentence-transformers:{folder}"
    with pytest.raises(BundleError, match="bring their own image tower; name each by itself"):
        named("lite2+mpnet", "lite2", None)


def test_a_card_s_licence_and_intended_use_are_read_as_they_stand(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    assert licence_of(tmp_path) == UNKNOWN
    card.write_text(
        "---\ntags: [x]\nlicense: cc-by-nc-4.0\n---\n# Model\n## Intended Use\n### Primary\n\nResearch *only*.\n"
    )
    assert licence_of(tmp_path) == "cc-by-nc-4.0"
    assert "commercial" in (restriction(licence_of(tmp_path)) or "")
    assert intended_use_of(tmp_path) == "Research *only*."
    card.write_text("no front matter")
    for said in ("license:\ntags: [x]\nlicense_name: own", "license: # none\nlicense_name: own"):
        card.write_text(f"---\n{said}\n---\n")
        assert licence_of(tmp_path) == "own"
    card.write_text("---\nlicense:\n- cc-by-nc-4.0\n- mit\n---\n")
    assert licence_of(tmp_path) == "cc-by-nc-4.0"
    card.write_bytes(b"---\nlicense: mit  # \xff\n---\n")
    assert licence_of(tmp_path) == "mit"
    card.write_text("no front matter")
    (tmp_path / "LICENSE").write_text("\n# MIT License\n\nCopyright")
    assert licence_of(tmp_path) == "MIT License"
    assert restriction("mit") is None
    assert intended_use_of(tmp_path) is None


def _put(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_code_that_a_folder_brings_is_not_run(layouts: Path, tmp_path: Path) -> None:
    folder = _changed(layouts, tmp_path, "whole", lambda _: None)
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'run')!r}).touch()\nclass Evil: ...\n"
    )
    _put(
        folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil"
    )
    for options in ({"trust_remote_code": True}, {}):
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = options
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(BundleError):
            load_towers(f"local-dir:{folder}")
        assert not (tmp_path / "run").exists()
    _put(folder / "text_config" / "config.json", auto_map={"AutoConfig": "evil.Evil"})
    with pytest.raises(BundleError, match="code of its own"):
        load_towers(f"local-dir:{folder}")


def test_an_image_tower_that_would_be_fetched_is_not_named_by_a_folder(layouts: Path, tmp_path: Path) -> None:
    folder = _changed(layouts, tmp_path, "whole", lambda _: None)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "hf-hub:someone/something"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="image tower of the hub"):
        load_towers(f"local-dir:{folder}")


def test_nothing_outside_a_folder_is_read_or_copied(
    layouts: Path, tmp_path: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    secret = tmp_path / "secret"
    secret.write_text("{}")
    linked = _changed(layouts, tmp_path, "clip", lambda folder: (folder / "notes.txt").symlink_to(secret))
    assert "a link to a file elsewhere" in refused(medclip("model", "fetch", linked, "--out", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    folder = _changed(layouts, tmp_path, "mpnet", lambda _: None)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "../../mpnet"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BundleError, match="lies elsewhere"):
        load_towers(f"default+sentence-transformers:{folder}")


def test_a_vit_that_was_saved_of_a_classifier_gives_its_first_token_the_same_every_time(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    folder = tmp_path / "vit"
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTForImageClassification(ViTConfig(image_size=64, num_labels=3, **size)).eval()
    model.save_pretrained(folder)
    how = {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.vit(pixel_values=picture).last_hidden_state[:, 0]
        for _ in range(2):
            torch.testing.assert_close(load_image_half(f"transformers:{folder}").module(picture), expected)


@pytest.mark.parametrize(
    "change",
    [{"do_rescale": False}, {"image_std": [0, 0, 0]}, {"image_mean": [0.5]}, {"resample": 0}, {"do_pad": True},
     {"size": {"height": 448, "width": 224}}],
)  # fmt: skip
def test_preprocessing_that_is_not_reproduced_is_refused(
    layouts: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = _changed(
        layouts, tmp_path, "medsiglip", lambda folder: _put(folder / "preprocessor_config.json", **change)
    )
    with pytest.raises(BundleError, match="not reproduced here"):
        load_image_half(f"transformers:{folder}")


def test_preprocessing_that_leaves_something_to_a_library_s_defaults_is_refused(layouts: Path, tmp_path: Path) -> None:
    def drop(folder: Path) -> None:
        said = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": said["size"]}))

    with pytest.raises(BundleError, match="not reproduced here"):
        load_image_half(f"transformers:{_changed(layouts, tmp_path, 'medsiglip', drop)}")


def test_texts_are_lowered_and_windows_bounded_as_sentence_transformers_says(layouts: Path, tmp_path: Path) -> None:
    file = "sentence_bert_config.json"
    folder = _changed(
        layouts, tmp_path, "mpnet", lambda folder: _put(folder / file, max_seq_length=4096, do_lower_case=True)
    )
    towers = load_towers(f"default+sentence-transformers:{folder}")
    assert towers.reading.context_length == 512  # as many as it has places for
    assert "Lowercase" in towers.tokenizer_json
    _put(folder / file, max_seq_length=2)
    with pytest.raises(BundleError, match="too few"):
        load_towers(f"default+sentence-transformers:{folder}")


@pytest.mark.parametrize(
    ("layout", "form", "file", "held"),
    [
        ("clip", "transformers:{}", "config.json", "[]"),
        ("clip", "transformers:{}", "preprocessor_config.json", "[]"),
        ("mpnet", "default+sentence-transformers:{}", "modules.json", '{"a": 1}'),
        ("mpnet", "default+sentence-transformers:{}", "modules.json", '[{"type": "x.Transformer"}]'),
        ("mpnet", "default+sentence-transformers:{}", "sentence_bert_config.json", '{"max_seq_length": "x"}'),
        ("whole", "local-dir:{}", "open_clip_config.json", '{"model_cfg": []}'),
    ],
)
def test_files_of_another_kind_are_a_line(
    layouts: Path, tmp_path: Path, layout: str, form: str, file: str, held: str
) -> None:
    folder = _changed(layouts, tmp_path, layout, lambda folder: (folder / file).write_text(held))
    with pytest.raises(BundleError, match="fetch the model"):
        load_towers(form.format(folder))


def test_only_a_model_s_own_pickles_are_read(layouts: Path, tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    folder = _changed(layouts, tmp_path, "mpnet", lambda _: None)
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(held, folder / "pytorch_model.bin")
    (folder / "training_args.bin").write_bytes(b"what only its trainer can read")
    done = medclip("model", "fetch", folder, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == held.keys()
    assert not list((tmp_path / "out").rglob("*.bin"))
