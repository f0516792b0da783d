"""A dictation (our own sentence in the voice of flite, ``dictation.flac``) and what is none."""

import json
import os
import re
import shutil
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest

from medclip.errors import SpeechError
from medclip.files.plain import digest_of
from medclip.modalities.speech.sound import decode_sound
from medclip.modalities.speech.transcribe import Transcriber
from medclip.modalities.text.vocabulary import words_of

DICTATION = Path(__file__).with_name("dictation.flac")
SAID = "year old man with cough and fever the chest radiograph shows a right pleural effusion"
MOST_WRONG = 0.4
"""Word error rate: Whisper's arithmetic differs by instruction set, so on some processors it mishears a word or two."""

Medclip = Callable  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber(threads=2)


def _wav(file: Path, samples: np.ndarray, rate: int = 16_000) -> Path:  # type: ignore[type-arg]
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file


def _as_mp3(file: Path) -> Path:
    with av.open(str(DICTATION)) as source, av.open(str(file), "w") as target:
        stream = target.add_stream("mp3", rate=16_000)
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file


def _wrong(heard: str) -> float:
    """Word error rate, whatever the case and the punctuation."""
    return float(jiwer.wer(SAID, " ".join(re.findall(r"[a-z]+", heard.lower()))))


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_a_dictation_is_written_down(kind: str, transcriber: Transcriber, tmp_path: Path) -> None:
    file = DICTATION if kind == "flac" else _as_mp3(tmp_path / "d.mp3")
    heard = transcriber.transcribe(file)
    assert _wrong(heard.text) <= MOST_WRONG
    assert heard.language == "en"
    assert heard.sha256 == digest_of(file)


def test_the_prompt_holds_the_words_that_whisper_knows_least(transcriber: Transcriber) -> None:
    words = words_of(["The patient has hydronephrosis", "hydronephrosis of the patient", "once"])
    assert words == ["hydronephrosis", "patient"]
    assert transcriber.prompt(words) == "hydronephrosis."
    assert transcriber.prompt([]) == ""


def test_what_is_no_dictation_is_told_apart(transcriber: Transcriber, tmp_path: Path) -> None:
    seconds = np.arange(6 * 16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * pitch * seconds) for pitch in (261.6, 329.6, 392.0)) / 4
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a sound")
    whole = _wav(tmp_path / "whole.wav", chord).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    flac = DICTATION.read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    found = {
        "silent": _wav(tmp_path / "silence.wav", np.zeros(32_000)),
        "no speech": _wav(tmp_path / "music.wav", chord),
        "no dictation": _wav(tmp_path / "click.wav", chord[:800]),
        "is empty": tmp_path / "empty.wav",
        "no recording": tmp_path / "text.wav",
        "cut off": tmp_path / "cut.wav",
        "cut": tmp_path / "cut.flac",
        "not found": tmp_path / "nowhere.wav",
    }
    for words, file in found.items():
        with pytest.raises(SpeechError, match=words) as caught:
            transcriber.transcribe(file)
        assert str(file) in str(caught.value)


def test_what_only_pretends_to_be_a_recording_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    shutil.copy(DICTATION, tmp_path / "a.flac")
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile a.flac\n")
    (tmp_path / "list.mp3").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/a.flac\n")
    for name, words in (("pipe.wav", "no plain file"), ("list.wav", "no recording"), ("list.mp3", "no recording")):
        with pytest.raises(SpeechError, match=words):
            decode_sound(tmp_path / name)
    with pytest.raises(OSError, match="no plain file"):
        digest_of(tmp_path / "pipe.wav")


@pytest.mark.parametrize("rate", [1, 8000])
def test_a_recording_that_goes_on_for_hours_is_refused(rate: int, tmp_path: Path) -> None:
    content = bytearray(_wav(tmp_path / "a.wav", np.zeros(rate * 3700), rate).read_bytes())
    with pytest.raises(SpeechError, match="longer than an hour"):
        decode_sound(tmp_path / "a.wav")
    content[40:44] = struct.pack("<L", 0)  # it states none
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SpeechError, match=r"longer than an hour|damaged"):
        decode_sound(tmp_path / "a.wav")


def test_a_folder_that_is_no_speech_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match=r"lacks model\.bin"):
        Transcriber(str(tmp_path))


def test_a_spoken_query_is_shown_and_searched_like_text(index: Path, medclip: Medclip) -> None:
    spoken = medclip("query", index, "--audio", DICTATION, "--json")
    assert spoken.code == 0, spoken.err
    answer = json.loads(spoken.out)
    [heard] = answer["transcripts"]
    assert heard["sha256"] == digest_of(DICTATION)
    typed = json.loads(medclip("query", index, "--text", heard["text"], "--json").out)
    assert [case["case_id"] for case in typed["similar"]] == [case["case_id"] for case in answer["similar"]]
    assert heard["text"] in " ".join(medclip("query", index, "--audio", DICTATION).out.split())


@pytest.mark.slow
def test_recordings_of_cases_are_transcribed_once(tmp_path: Path, medclip: Medclip) -> None:
    source, cases = tmp_path / "source", tmp_path / "cases"
    source.mkdir()
    shutil.copy(DICTATION, source / "a.flac")
    (source / "b.flac").write_bytes(b"")
    (source / "cases.csv").write_text("case,findings.audio\nc1,a.flac\nc2,b.flac\n")
    assert medclip("cases", "import", "folder", source, "--out", cases).code == 0
    assert "not transcribed" in " ".join(medclip("cases", "check", cases).out.split())
    done = medclip("cases", "transcribe", cases)
    assert done.code == 1  # one of them is empty
    assert "1 recordings transcribed" in done.out
    assert "c2: " in done.out
    first = json.loads((cases / "cases.jsonl").read_text().splitlines()[0])
    [recording] = first["recordings"]
    assert _wrong(recording["transcript"]) <= MOST_WRONG
    assert recording["sha256"] == digest_of(DICTATION)
    assert "0 recordings transcribed, 1 already were" in medclip("cases", "transcribe", cases).out


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libopus"), ("mp4", "aac"), ("mp4", "libopus")])
def test_what_browsers_record_is_heard(suffix: str, codec: str, tmp_path: Path) -> None:
    """MediaRecorder streams: a WebM without its length, an MP4 in fragments."""
    file = tmp_path / f"d.{suffix}"
    options = {"live": "1"} if suffix == "webm" else {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(DICTATION)) as source, av.open(str(file), "w", options=options) as target:
        stream = target.add_stream(codec, rate=48_000)
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    heard, real = decode_sound(file), decode_sound(DICTATION)
    assert abs(len(heard.samples) - len(real.samples)) < 0.2 * 16_000
    loud = [np.abs(one.samples[:88_000].reshape(-1, 8_000)).mean(1) for one in (heard, real)]
    assert np.corrcoef(*loud)[0, 1] > 0.9
