"""A recording → its samples, in a process that can be killed (`medclip.modalities.process`), within limits.

Only wav, flac, mp3, ogg, webm and mp4 are read, known by their first bytes: FFmpeg knows some 300 formats, play lists that
fetch other files among them. The last two are what browsers record.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclip.errors import SpeechError
from medclip.modalities.process import Decoders, Stopped

__all__ = ["LONGEST", "MEMORY", "RATE", "Sound", "decode_sound"]

RATE = 16_000
"""Samples a second, as Whisper hears."""

LONGEST = 3600.0
"""Seconds of a recording; a dictation has minutes."""

MEMORY = 768 << 20
"""Bytes of address space of a decoder, its libraries (200 MB) among them; the longest recording takes 230 MB."""

_SECONDS = 30.0  # for one file; an hour of mp3 takes 6

_decoders = Decoders("medclip.modalities.speech.worker", most=MEMORY)


@dataclass(frozen=True)
class Sound:
    """What a recording holds."""

    samples: NDArray[np.float32]  # (n,) mono, -1 to 1, at `RATE`
    stated: float  # seconds that its header states; 0 where it states none


def decode_sound(file: Path) -> Sound:
    """Decode a recording.

    Raises:
        SpeechError: it is missing, no plain file, empty, damaged, too long, or of another format.
    """
    if not file.exists():
        raise SpeechError(f"{file}: not found; check the path")
    if not file.is_file():
        raise SpeechError(f"{file}: is no plain file (a pipe or device?); give the recording itself")
    request = {"file": str(file), "folder": None if file.is_absolute() else os.getcwd()}
    try:
        reply = _decoders.ask(request, _SECONDS)
    except Stopped as stopped:
        told = {
            "time": f"takes over {_SECONDS:.0f} s to decode; convert it to wav",
            "memory": "needs more memory to decode than there is; convert it to wav",
            "crash": "is damaged (it crashes its decoder); record or copy it again",
            "start": "cannot be decoded, since no decoder starts here; "
            "see why with  python -m medclip.modalities.speech.worker",
        }
        raise SpeechError(f"{file}: {told[stopped.why]}") from None
    if "error" in reply.words:
        raise SpeechError(reply.words["error"])
    samples = np.frombuffer(reply.content[0], np.int16).astype(np.float32)
    samples /= 32768
    return Sound(samples, float(reply.words["stated"]))
