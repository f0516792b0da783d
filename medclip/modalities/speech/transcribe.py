"""A recording → its transcript, or a clear answer why there is none."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import SpeechError
from medclip.modalities.speech.models import DEFAULT, load_whisper

__all__ = ["Transcriber", "Transcript", "checksum"]

_RATE = 16_000  # samples a second, as Whisper hears
_SHORTEST = 0.3  # seconds
_LONGEST = 4 * 3600.0
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


def checksum(file: Path) -> str:
    """SHA-256 of a recording, as hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _decode(file: Path) -> NDArray[np.float32]:
    """(samples,) mono, -1 to 1, at 16 kHz."""
    import av
    from faster_whisper.audio import decode_audio

    if not file.is_file():
        raise SpeechError(f"{file}: not found; check the path")
    if not file.stat().st_size:
        raise SpeechError(f"{file}: is empty; record or copy it again")
    try:
        with av.open(str(file)) as container:
            if not container.streams.audio:
                raise SpeechError(f"{file}: holds no sound; give a wav, flac or mp3 recording")
            stream = container.streams.audio[0]
            stated = float((stream.duration or 0) * (stream.time_base or 0))
        if stated > _LONGEST:
            raise SpeechError(f"{file}: is longer than {_LONGEST / 3600:g} hours; cut it into single dictations")
        samples: NDArray[np.float32] = decode_audio(str(file), _RATE)
    except SpeechError:
        raise
    except Exception as error:  # av and FFmpeg raise errors of many kinds
        raise SpeechError(
            f"{file}: is damaged, or no recording that can be read (wav, flac, mp3); record or copy it again"
        ) from error
    seconds = len(samples) / _RATE
    if seconds < _SHORTEST:
        raise SpeechError(f"{file}: lasts {seconds:.1f} s; that is no dictation, record it again")
    if seconds < _CUT * max(stated, _wav_seconds(file)):
        raise SpeechError(f"{file}: is cut off after {seconds:.0f} s; copy it again")
    return samples


def _wav_seconds(file: Path) -> float:
    """The length that a WAV file's header states, which FFmpeg does not hold it to; 0 for any other file."""
    import wave

    try:
        with wave.open(str(file)) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return 0.0


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
        """Transcribe a wav, flac or mp3 recording.

        Args:
            vocabulary: words that are likely to occur, most frequent first (`medclip.modalities.text.vocabulary`).

        Raises:
            SpeechError: the file is missing, empty, damaged or cut off, or nobody speaks in it.
        """
        samples = _decode(file)
        blocks = samples[: len(samples) // _RATE * _RATE].reshape(-1, _RATE) if len(samples) >= _RATE else samples[None]
        if float(np.sqrt((blocks**2).mean(1)).max()) < _SILENCE:
            raise SpeechError(f"{file}: is silent; check the microphone and record it again")
        segments, about = self._whisper.transcribe(
            samples, vad_filter=True, initial_prompt=self.prompt(vocabulary) or None, condition_on_previous_text=False
        )
        heard = [segment.text.strip() for segment in segments if _is_speech(segment)]
        text = " ".join(part for part in heard if part)
        if not any(ch.isalpha() for ch in text):
            raise SpeechError(f"{file}: no speech was understood in it (silence, music or noise?); record it again")
        return Transcript(text, str(about.language), len(samples) / _RATE, checksum(file), self.name)


def _is_speech(segment: Any) -> bool:
    return bool(segment.no_speech_prob < _NO_SPEECH or segment.avg_logprob > _LEAST_LIKELY)
