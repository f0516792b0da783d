"""`medclip cases transcribe`: recordings of a cases folder → transcripts in its manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclip.cases.case import Case, Recording
from medclip.cases.manifest import read_cases, replace_cases
from medclip.errors import SpeechError
from medclip.files.plain import digest_of
from medclip.modalities.speech.models import DEFAULT
from medclip.modalities.speech.transcribe import Transcriber
from medclip.modalities.text.vocabulary import words_of

__all__ = ["Transcribed", "transcribe_cases"]


@dataclass(frozen=True)
class Transcribed:
    """What was done with the recordings of a cases folder."""

    new: int  # transcribed now
    kept: int  # had a transcript of the very same file by the same model
    failed: dict[str, str]  # case id → why a recording of it has no transcript


def transcribe_cases(
    folder: Path, *, model: str = DEFAULT, threads: int | None = None, progress: Callable[[str], None] = lambda _: None
) -> Transcribed:
    """Add a transcript to every recording that has none of this model, and replace the manifest as a whole.

    The prompt is drawn from the texts of the other cases. A recording that cannot be transcribed is counted and named,
    and never stops the rest.

    Args:
        progress: called with each case id.

    Raises:
        CaseError: the manifest cannot be read.
        MissingDependencyError, SpeechError: the speech model cannot be loaded.
        OutputError: the manifest cannot be replaced.
    """
    cases = read_cases(folder)
    transcriber = Transcriber(model, threads=threads)
    texts = {case.id: f"{case.report} {case.note_text('history')}" for case in cases}
    failed: dict[str, str] = {}
    new = kept = 0

    def heard(case: Case, recording: Recording, vocabulary: list[str]) -> Recording:
        nonlocal new, kept
        file = folder / recording.file
        if recording.transcript and recording.model == model and file.is_file() and digest_of(file) == recording.sha256:
            kept += 1
            return recording
        try:
            found = transcriber.transcribe(file, vocabulary)
        except SpeechError as error:
            failed[case.id] = str(error)
            return recording
        new += 1
        return recording.model_copy(update={"transcript": found.text, "sha256": found.sha256, "model": model})

    done = []
    for case in cases:
        progress(case.id)
        if case.recordings:
            vocabulary = words_of(text for case_id, text in texts.items() if case_id != case.id)
            recordings = tuple(heard(case, recording, vocabulary) for recording in case.recordings)
            done.append(case.model_copy(update={"recordings": recordings}))
        else:
            done.append(case)
    replace_cases(folder, done)
    return Transcribed(new, kept, failed)
