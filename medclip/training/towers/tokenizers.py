"""A text tower's tokenizer as ``tokenizer.json``, and how it frames words; held against the library that it was trained with."""

import string
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from medclip.errors import BundleError
from medclip.modalities.text.tokens import TextReading, TextTokenizer
from medclip.modalities.text.use import sentence_pieces

__all__ = ["SAMPLES", "clip_tokenizer", "hugging_face_tokenizer", "sentencepiece_tokenizer"]

SAMPLES = (
    "Axial CT of the chest shows a 2.3 x 1.8 cm nodule; no effusion.",
    "57-year-old woman's MRI: T2-weighted FLAIR, no restricted diffusion (DWI).",
)

Cleaning = Literal["none", "lower", "unmarked", "canonical"]
"""Nothing; lower case; that and no punctuation, as SigLIP's tokenizer; the same with spaces for underscores, as open_clip."""

_WORD = "nodule"  # by which the signs around a text are told from its own

Ids = Callable[[str], Sequence[int]]
"""Text → its ids as the library gives them, framed, padded or not."""


def _compared(tokenizer_json: str, reading: TextReading, expected: Ids) -> None:
    """Hold ours against the library's.

    Raises:
        BundleError: the two give different ids, so that serving would read texts differently than training.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(tokenizer_json, encoding="utf-8")
        ours = TextTokenizer(file, reading)
        for sample in SAMPLES:
            wanted, windows = [int(one) for one in expected(sample)], ours.windows([sample]).ids
            got = windows[0].tolist()
            if len(windows) > 1:  # of a text too long for one window, the words of the first
                end = len(got) - len(reading.suffix)
                wanted, got = wanted[:end], got[:end]
            padded = [ids + [reading.pad] * (max(len(wanted), len(got)) - len(ids)) for ids in (wanted, got)]
            if padded[0] != padded[1]:
                raise BundleError("the text tower's tokenizer cannot be exported faithfully; choose another model")


def _cleaning(clean: Cleaning) -> list[Any]:
    """The normalisers that do what a library does to a text before its tokenizer sees it."""
    from tokenizers import Regex, normalizers

    if clean == "none":
        return []
    if clean == "lower":
        return [normalizers.Lowercase()]
    marks = Regex("[" + "".join(f"\\{mark}" for mark in string.punctuation) + "]")
    spaces = [normalizers.Replace("_", " ")] if clean == "canonical" else []
    tidy = [normalizers.Replace(marks, ""), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return [normalizers.Lowercase(), *spaces, *tidy]


def hugging_face_tokenizer(
    tokenizer: Any,
    *,
    context: int,
    fixed: bool,
    clean: Cleaning = "none",
    prompt: str = "",
    expected: Ids | None = None,
) -> tuple[str, TextReading]:
    """Of a fast tokenizer of transformers.

    Args:
        context: tokens in a window, special ones included.
        fixed: pad every window to that; for towers that attend to their padding, or find their end by its place.
        clean: what the model wants done to its texts, and leaves to the caller.
        prompt: what the model wants before every text.
        expected: the library's ids, where they are not the tokenizer's own of the prompt and the text.

    Raises:
        BundleError: ours gives other ids.
    """
    from tokenizers import Tokenizer, normalizers

    plain, framed = tokenizer(_WORD, add_special_tokens=False).input_ids, tokenizer(_WORD).input_ids
    start = next((i for i in range(len(framed)) if framed[i : i + len(plain)] == plain), None)
    if start is None or tokenizer.pad_token_id is None:
        raise BundleError(
            "the text tower's tokenizer has no padding, or frames words in its own way; choose another model"
        )
    before = tokenizer(prompt, add_special_tokens=False).input_ids if prompt else []
    ours = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    if cleaning := _cleaning(clean):
        ours.normalizer = normalizers.Sequence([*cleaning, *([] if ours.normalizer is None else [ours.normalizer])])
    reading = TextReading(
        context_length=context,
        prefix=(*framed[:start], *before),
        suffix=tuple(framed[start + len(plain) :]),
        pad=tokenizer.pad_token_id,
        fixed_length=fixed,
        scripts=None,
    )
    text = ours.to_str()
    _compared(text, reading, expected or (lambda sample: tokenizer(prompt + sample).input_ids))
    return text, reading


def clip_tokenizer(tokenizer: Any, *, context: int) -> tuple[str, TextReading]:
    """Of open_clip's own byte-pair tokenizer.

    Raises:
        BundleError: ours gives other ids.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    merges = [pair for pair, _ in sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1]) if len(pair) == 2]
    built = Tokenizer(BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    built.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    reading = TextReading(
        context_length=context,
        prefix=(tokenizer.sot_token_id,),
        suffix=(tokenizer.eot_token_id,),
        pad=0,
        fixed_length=True,
        scripts=None,
    )
    text = built.to_str()
    _compared(text, reading, lambda sample: tokenizer([sample])[0].tolist())
    return text, reading


def sentencepiece_tokenizer(tokenizer: Any, *, context: int) -> tuple[str, TextReading]:
    """Of SigLIP's tokenizer, which transformers runs by sentencepiece: punctuation is left out, letters are lowered.

    Raises:
        BundleError: ours gives other ids.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import Unigram

    published = sentence_pieces(Path(tokenizer.vocab_file))
    built = Tokenizer(
        Unigram([(piece.piece, piece.score) for piece in published.pieces], published.trainer_spec.unk_id, False)
    )
    steps = _cleaning("unmarked")[0 if tokenizer.do_lower_case else 1 :]
    if published.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(published.normalizer_spec.precompiled_charsmap))
    built.normalizer = normalizers.Sequence(steps)
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    built.decoder = decoders.Metaspace(prepend_scheme="always")
    reading = TextReading(
        context_length=context,
        prefix=(),
        suffix=(tokenizer.eos_token_id,),
        pad=tokenizer.pad_token_id,
        fixed_length=True,
        scripts=None,
    )
    text = built.to_str()
    _compared(text, reading, lambda sample: tokenizer(sample).input_ids)
    return text, reading
