"""``python -m medclip.modalities.speech.worker``: the process that reads recordings for `medclip.modalities.speech.sound`."""

import contextlib
import os
import wave
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from numpy.typing import NDArray

from medclip.errors import SpeechError
from medclip.files.plain import open_regular
from medclip.modalities.decoder import Answer, Progress, serve
from medclip.modalities.speech.sound import LONGEST, MEMORY, RATE

__all__: list[str] = []

_MPEG_SYNC = 0xE0  # of an MPEG audio frame's second byte, after 0xFF


def _format(head: bytes) -> str | None:
    """FFmpeg's name of a recording's format, by its first 12 bytes; None where it is not one that is read."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return "wav"
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] and head[1] & _MPEG_SYNC == _MPEG_SYNC):
        return "mp3"
    if head[4:8] == b"ftyp":
        return "mp4"
    return {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}.get(head[:4])  # WebM is Matroska


def _too_long(path: Path) -> SpeechError:
    return SpeechError(f"{path}: is longer than an hour; cut it into single dictations")


def _samples(path: Path, handle: IO[bytes], kind: str) -> tuple[NDArray[np.int16], float]:
    """(n,) mono at `RATE`, and the seconds that the stream states."""
    parts: list[NDArray[np.int16]] = []
    count = 0
    with av.open(handle, format=kind, metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise SpeechError(f"{path}: holds no sound; give a wav, flac or mp3 recording")
        stream = container.streams.audio[0]
        stated = float((stream.duration or 0) * (stream.time_base or 0))
        if stated > LONGEST:
            raise _too_long(path)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)

        def keep(frame: Any) -> None:
            nonlocal count
            for resampled in resampler.resample(frame):
                parts.append(resampled.to_ndarray().ravel())
                count += len(parts[-1])
            if count > LONGEST * RATE:
                raise _too_long(path)

        with contextlib.suppress(av.error.InvalidDataError):  # what is there up to the damage; its length tells
            for frame in container.decode(stream):
                frame.pts = None  # gaps are not filled
                keep(frame)
        keep(None)
    return np.concatenate([np.empty(0, np.int16), *parts]), stated


def _wav_seconds(handle: IO[bytes]) -> float:
    """The length that a WAV file's header states, which FFmpeg does not hold it to; 0 where it is not plain PCM."""
    try:
        with wave.open(handle) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return 0.0


def _decoded(path: Path) -> tuple[NDArray[np.int16], float]:
    with open_regular(path) as handle:
        head = handle.read(12)
        if not head:
            raise SpeechError(f"{path}: is empty; record or copy it again")
        kind = _format(head)
        if kind is None:
            raise SpeechError(
                f"{path}: is no recording that can be read (wav, flac, mp3, ogg, webm, mp4); convert it to one"
            )
        handle.seek(0)
        samples, stated = _samples(path, handle, kind)
        handle.seek(0)
        return samples, max(stated, _wav_seconds(handle) if kind == "wav" else 0.0)


def _answer(request: dict[str, Any], _progress: Progress) -> Answer:
    if request["folder"] is not None:
        os.chdir(request["folder"])
    path = Path(request["file"])
    try:
        samples, stated = _decoded(path)
    except SpeechError as error:
        return {"error": str(error)}, []
    except MemoryError:
        return {"error": f"{path}: needs over {MEMORY >> 20} MiB of memory to decode; convert it to wav"}, []
    except Exception:  # noqa: BLE001 (av and FFmpeg raise errors of many kinds)
        return {"error": f"{path}: is damaged, or cannot be read; record or copy it again"}, []
    return {"stated": stated}, [samples]


if __name__ == "__main__":
    serve(_answer, memory=MEMORY)
