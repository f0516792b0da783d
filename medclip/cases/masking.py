"""`medclip cases mask`: a copy of cases whose texts do not say what they should be asked for."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medclip.cases.case import Case
from medclip.cases.manifest import MARK, read_cases, write_cases
from medclip.errors import CaseError
from medclip.files.outputs import new_folder
from medclip.files.plain import copy_file
from medclip.label_sets import family_of
from medclip.modalities.text.clean import mask_words

__all__ = ["mask_cases"]

_SHORTEST = 3  # letters; shorter classes (CT, MR) are masked only where they stand in capitals


def _class_words(cases: Sequence[Case]) -> list[str]:
    """Every class of every label set as a pattern; of a multi-label set, the names of its members."""
    pairs = {pair for case in cases for pair in case.labels.items()}
    pairs |= {pair for case in cases for scan in case.scans for pair in scan.labels.items()}
    names = {label_set.partition("/")[2] if family_of(label_set) else value for label_set, value in pairs}
    return [_pattern(name) for name in sorted(names)]


def _pattern(name: str) -> str:
    """The name as a whole word, its plural too."""
    return rf"{re.escape(name)}(?:e?s)?" if len(name) >= _SHORTEST else rf"(?-i:{re.escape(name)})"


def _masked(case: Case, words: Sequence[str]) -> Case:
    diagnosis = case.outcome.diagnosis
    patterns = [*words, *([_pattern(diagnosis)] if diagnosis else [])]

    def mask(text: str | None) -> str | None:
        return mask_words(text, patterns) if text else text

    return Case.model_validate(
        {
            **case.model_dump(),
            "scans": [{**scan.model_dump(), "caption": mask(scan.caption)} for scan in case.scans],
            "notes": [{**note.model_dump(), "text": mask(note.text)} for note in case.notes],
            "recordings": [{**r.model_dump(), "transcript": mask(r.transcript)} for r in case.recordings],
        }
    )


def _copy(source: Path, target: Path) -> None:
    """Copy a scan or recording, or the folder of a series."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_dir():
        copy_file(source, target)
        return
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file():
            copy_file(file, target / file.name)


def mask_cases(
    folder: Path,
    out: Path,
    *,
    words: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Copy a cases folder; in notes, captions and transcripts, label words become ``[masked]``.

    Masked are the classes of every label set, whichever the case has, the case's own diagnosis, and `words`.

    Args:
        words: further regular expressions, of whole words.
        progress: called with each case id.

    Returns:
        The number of cases in which something was masked.

    Raises:
        CaseError: the manifest or a file cannot be read, there is nothing to mask, or a word is no regular expression.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    cases = read_cases(folder)
    for word in words:
        try:
            re.compile(word)
        except re.error as error:
            raise CaseError(f"--word {word}: is no regular expression ({error})") from error
    patterns = [*_class_words(cases), *words]
    if not patterns:
        raise CaseError(f"{folder}: its cases have no labels; name the words to mask with --word")
    with new_folder(out, force=force, marker=MARK) as target:
        masked = []
        for case in cases:
            progress(case.id)
            masked.append(_masked(case, patterns))
            for name in [scan.file for scan in case.scans] + [recording.file for recording in case.recordings]:
                _copy(folder / name, target / name)
        write_cases(target, masked)
    return sum(after != before for after, before in zip(masked, cases, strict=True))
