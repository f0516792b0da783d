"""`make bench-speech`: dictations read by two voices, what is heard of them, and what the errors cost.

Fifty histories of MedPix's dev split, spoken by flite and espeak-ng (`apt-get install flite espeak-ng`), with and without
noise, are transcribed with and without a prompt of the words of the *other* cases. Each transcript then asks the index,
and is compared with what the typed words find.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from jiwer import process_words
from rich import box
from rich.console import Console
from rich.table import Table

from medclip.assistant.assistant import Assistant
from medclip.cases.manifest import read_cases
from medclip.errors import SpeechError
from medclip.modalities.speech.transcribe import Transcriber
from medclip.modalities.text.vocabulary import words_of

COUNT, WORDS = 50, 30
NOISE = 10.0  # decibels that the voice is above white noise
VOICES = {
    "flite": lambda text, file: ["flite", "-voice", "slt", "-t", text, "-o", str(file)],
    "espeak-ng": lambda text, file: ["espeak-ng", "-s", "150", "-w", str(file), text],
}


def _spoken(text: str) -> str:
    """The first words of a text, at a sentence's end where there is one."""
    words = re.sub(r"[^\w\s.,'-]", " ", text).split()[:WORDS]
    return " ".join(words)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _noisy(source: Path, target: Path, rng: np.random.Generator) -> None:
    samples, rate = soundfile.read(source)
    power = float(np.mean(samples**2)) / 10 ** (NOISE / 10)
    soundfile.write(target, np.clip(samples + rng.normal(0, power**0.5, samples.shape), -1, 1), rate)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path, help="MedPix 2.0, imported")
    parser.add_argument("index", type=Path, help="an index of its train split")
    options = parser.parse_args()
    if missing := [name for name in VOICES if shutil.which(name) is None]:
        sys.exit(f"not installed: {', '.join(missing)} (apt-get install flite espeak-ng)")
    cases = read_cases(options.cases)
    told = [case for case in cases if case.split == "dev" and len(case.note_text("history").split()) >= 8][:COUNT]
    others = [case for case in cases if case.split == "train"]
    vocabulary = words_of(f"{case.report} {case.note_text('history')}" for case in others)
    transcriber, assistant = Transcriber(), Assistant.open(options.index)
    texts = [_spoken(case.note_text("history")) for case in told]

    def found(text: str) -> tuple[set[str], str]:
        answer = assistant.query(history=[text], label_sets=["location"]).answer
        return {case.case_id for case in answer.similar}, answer.labels[0].ranked[0].label

    typed = [found(text) for text in texts]
    right = [case.case_labels.get("location") for case in told]
    typed_right = np.mean([label == truth for (_, label), truth in zip(typed, right, strict=True)])
    table = Table(
        title=f"{len(told)} dictations; typed, the location is right for {typed_right:.2f}",
        box=box.SIMPLE_HEAD, title_justify="left",
    )  # fmt: skip
    for column in (
        "voice",
        "noise",
        "prompt",
        "word error rate",
        "not understood",
        "same of 10 cases",
        "location right",
    ):
        table.add_column(column, justify="left" if column in ("voice", "noise", "prompt") else "right")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        for voice, command in VOICES.items():
            clean, noisy = [], []
            for number, text in enumerate(texts):
                clean.append(Path(scratch) / f"{voice}-{number}.wav")
                noisy.append(Path(scratch) / f"{voice}-{number}-noisy.wav")
                subprocess.run(command(text, clean[-1]), check=True, capture_output=True)
                _noisy(clean[-1], noisy[-1], rng)
            for noise, files in (("none", clean), (f"{NOISE:g} dB", noisy)):
                for prompt in ([], vocabulary):
                    heard = []
                    for file in files:
                        try:
                            heard.append(transcriber.transcribe(file, prompt).text)
                        except SpeechError:
                            heard.append("")
                    error = process_words([_plain(t) for t in texts], [_plain(h) for h in heard]).wer
                    asked = [found(text) if text else (set(), "") for text in heard]
                    same = np.mean([len(a & b) / 10 for (a, _), (b, _) in zip(asked, typed, strict=True)])
                    correct = np.mean([label == truth for (_, label), truth in zip(asked, right, strict=True)])
                    lost = sum(not text for text in heard)
                    name = "other cases' words" if prompt else "none"
                    table.add_row(voice, noise, name, f"{error:.2f}", str(lost), f"{same:.2f}", f"{correct:.2f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
