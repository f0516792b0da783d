"""``medclip model fetch``, from a hub on this machine, and what is wrong with towers that cannot be had."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from medclip.errors import BundleError  # noqa: E402
from medclip.training.towers import load_towers, named  # noqa: E402
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
    from safetensors.torch import load_file

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
    (tmp_path / "LICENSE").write_text("\n# MIT License\n\nCopyright")
    assert licence_of(tmp_path) == "MIT License"
    assert restriction("mit") is None
    assert intended_use_of(tmp_path) is None
