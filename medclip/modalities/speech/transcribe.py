"""A recording → its transcript, or a clear answer why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import SpeechError
from medclip.files.plain import digest_of
from medclip.modalities.speech.models import DEFAULT, load_whisper
from medclip.modalities.speech.sound import RATE, decode_sound

__all__ = ["Transcriber", "Transcript"]

_SHORTEST = 0.3  # seconds
_SILENCE = 1e-3  # root mean square of the loudest second, of 1
_CUT = 0.95  # share of the stated length that must be there
_LEAST_LIKELY = -1.0  # mean log-probability of a segment's words, and
_NO_SPEECH = 0.6  # probability of its being none: Whisper's own bounds for a failed decoding
_PROMPT_TOKENS = 200  # Whisper takes at most 223


@dataclass(frozen=True)
class Transcript:
    """What was heard."""

    text: str
    language: str  # ISO 639-1
    seconds: float  # of the recording
    sha256: str  # of its file
    model: str


def _decode(file: Path) -> NDArray[np.float32]:
    """(samples,) mono, -1 to 1, at 16 kHz; whole, and long enough to be a dictation."""
    sound = decode_sound(file)
    seconds = len(sound.samples) / RATE
    if seconds < _SHORTEST:
        raise SpeechError(f"{file}: lasts {seconds:.1f} s; that is no dictation, record it again")
    if seconds < _CUT * sound.stated:
        raise SpeechError(f"{file}: is cut off after {seconds:.0f} s; copy it again")
    return sound.samples


class Transcriber:
    """A loaded speech model."""

    def __init__(self, model: str = DEFAULT, *, threads: int | None = None) -> None:
        """Load a model by the name that `load_whisper` knows.

        Raises:
            MissingDependencyError, SpeechError: as `load_whisper`.
        """
        self.name = model
        self._whisper = load_whisper(model, threads=threads)

    def prompt(self, vocabulary: Sequence[str]) -> str:
        """A prompt of the words that the model is least likely to know, most frequent first; empty where there are none.

        A word that its tokenizer has to spell out of several pieces was rare where it was trained.
        """
        tokenizer = self._whisper.hf_tokenizer
        chosen: list[str] = []
        used = 0
        for word in vocabulary:
            pieces = len(tokenizer.encode(f" {word}", add_special_tokens=False).ids)
            if pieces < 2:
                continue
            used += pieces + 1  # the comma
            if used > _PROMPT_TOKENS:
                break
            chosen.append(word)
        return f"{', '.join(chosen)}." if chosen else ""

    def transcribe(self, file: Path, vocabulary: Sequence[str] = ()) -> Transcript:
        """Transcribe a recording of a kind that `decode_sound` reads.

        Args:
            vocabulary: words that are likely to occur, most frequent first (`medclip.modalities.text.vocabulary`).

        Raises:
            SpeechError: the file is missing, empty, damaged or cut off, or nobody speaks in it.
        """
        samples = _decode(file)
        blocks = samples[: len(samples) // RATE * RATE].reshape(-1, RATE) if len(samples) >= RATE else samples[None]
        if float(np.sqrt((blocks**2).mean(1)).max()) < _SILENCE:
            raise SpeechError(f"{file}: is silent; check the microphone and record it again")
        segments, about = self._whisper.transcribe(
            samples, vad_filter=True, initial_prompt=self.prompt(vocabulary) or None, condition_on_previous_text=False
        )
        heard = [segment.text.strip() for segment in segments if _is_speech(segment)]
        text = " ".join(part for part in heard if part)
        if not any(ch.isalpha() for ch in text):
            raise SpeechError(f"{file}: no speech was understood in it (silence, music or noise?); record it again")
        return Transcript(text, str(about.language), len(samples) / RATE, digest_of(file), self.name)


def _is_speech(segment: Any) -> bool:
    return bool(segment.no_speech_prob < _NO_SPEECH or segment.avg_logprob > _LEAST_LIKELY)
