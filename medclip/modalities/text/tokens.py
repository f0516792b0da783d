"""Text → windows of token ids. A long text is never cut: it becomes several windows, pooled after the tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medclip.errors import BundleError, TextError

__all__ = ["TextReading", "TextTokenizer", "Windows", "pool_windows"]

_MOST_CHARACTERS = 1_000_000


class TextReading(BaseModel):
    """How a text becomes a tower's input; stored in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_length: int  # tokens in a window, special tokens included
    prefix: tuple[int, ...]  # ids before each window's words
    suffix: tuple[int, ...]  # ids after them
    pad: int
    fixed_length: bool  # pad every window to context_length, or only to the longest of the batch
    scripts: tuple[str, ...] | None  # first words of the Unicode names of the letters it reads; None: any


@dataclass(frozen=True)
class Windows:
    """The windows of several texts, in one batch."""

    ids: NDArray[np.int64]  # (windows, tokens), padded
    length: NDArray[
        np.int64
    ]  # (windows,) tokens the tower has to be shown of each: all but the padding it can go without
    owner: NDArray[np.int64]  # (windows,) which text each belongs to, ascending
    weight: NDArray[np.float32]  # (windows,) its share of its text's tokens; sums to 1 for each text


class TextTokenizer:
    """A ``tokenizer.json`` and the tower's way of framing windows."""

    def __init__(self, file: Path, reading: TextReading) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:
            raise BundleError(f"{file}: is not a tokenizer ({error}); train the model again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.reading = reading

    def windows(self, texts: Sequence[str]) -> Windows:
        """Cut texts into windows of at most ``context_length`` tokens.

        Raises:
            TextError: a text has no token, or over a million characters.
        """
        r = self.reading
        room = r.context_length - len(r.prefix) - len(r.suffix)
        framed: list[list[int]] = []
        owner: list[int] = []
        weight: list[float] = []
        for number, text in enumerate(texts):
            if len(text) > _MOST_CHARACTERS:
                raise TextError(f"the text has {len(text):,} characters; give at most {_MOST_CHARACTERS:,}")
            words = self._tokenizer.encode(text, add_special_tokens=False).ids
            if not words:
                raise TextError("the text is empty; give some words of the report or history")
            for start in range(0, len(words), room):
                part = words[start : start + room]
                framed.append([*r.prefix, *part, *r.suffix])
                owner.append(number)
                weight.append(len(part) / len(words))
        width = r.context_length if r.fixed_length else max(map(len, framed), default=1)
        ids = np.full((len(framed), width), r.pad, np.int64)
        for row, window in enumerate(framed):
            ids[row, : len(window)] = window
        length = [r.context_length if r.fixed_length else len(window) for window in framed]
        return Windows(ids, np.asarray(length, np.int64), np.asarray(owner, np.int64), np.asarray(weight, np.float32))


def pool_windows(features: NDArray[np.float32], windows: Windows, texts: int) -> NDArray[np.float32]:
    """Token-weighted mean over each text's windows: (windows, d) → (texts, d)."""
    pooled = np.zeros((texts, features.shape[1]), np.float32)
    np.add.at(pooled, windows.owner, features * windows.weight[:, None])
    return pooled
