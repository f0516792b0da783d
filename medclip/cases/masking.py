"""`medclip cases mask`: a copy of cases whose texts do not say what they should be asked for.

A masked folder holds ``mask-report.json`` beside its manifest: by it ``medclip cases check`` knows that the folder is
masked, and looks for what says a diagnosis all the same.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medclip import __version__
from medclip.cases.case import Case
from medclip.cases.disease_words import DiseaseWords, Span, is_plain, phrase_spans, words_of_name
from medclip.cases.manifest import MARK, read_cases, write_cases
from medclip.errors import CaseError
from medclip.files.outputs import new_folder
from medclip.files.plain import copy_file, write_json
from medclip.label_sets import class_name, is_verified
from medclip.modalities.text.clean import MASK, mask_spans

__all__ = ["MASKED", "MaskReport", "MaskedWord", "is_masked", "left_standing", "mask_cases", "name_spans"]

MASKED = "mask-report.json"

_SHORTEST = 3  # letters; shorter classes (CT, MR) are masked only where they stand in capitals


@dataclass(frozen=True)
class MaskedWord:
    """How often a word was masked."""

    word: str  # in lower case; "--word 1" for all that the first of the user's expressions matched, which may be a name
    times: int
    cases: int


@dataclass(frozen=True)
class MaskReport:
    """What was masked, and what was not."""

    medclip_version: str
    cases: int
    changed: int  # cases in which something was masked
    words: list[MaskedWord]  # most frequent first
    kept_classes: list[str]  # classes that name no disease (Head, other): masked in no text
    kept_findings: list[str]  # label sets that were read from the reports: they are what a report says


def name_spans(text: str, name: str) -> Iterator[Span]:
    """Where a text says the name of a class: in any inflection, or, of one or two letters, in just these."""
    if len(name) >= _SHORTEST:
        yield from phrase_spans(text, name)
    else:
        yield from (Span(*match.span()) for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text))


@dataclass(frozen=True)
class _Words:
    """What is masked in every case."""

    classes: tuple[str, ...]
    expressions: tuple[re.Pattern[str], ...]

    def found(self, text: str) -> Iterator[tuple[Span, str | None]]:
        """Spans, and what they are counted as where it is not their words."""
        yield from ((span, None) for name in self.classes for span in name_spans(text, name))
        for number, expression in enumerate(self.expressions, start=1):
            yield from ((Span(*match.span()), f"--word {number}") for match in expression.finditer(text))


def _names(cases: Iterable[Case]) -> set[tuple[str, str]]:
    """Label set and what its class is called, of every label; of a multi-label set, the names of its members."""
    pairs = {pair for case in cases for pair in case.labels.items()}
    pairs |= {pair for case in cases for scan in case.scans for pair in scan.labels.items()}
    return {(name, class_name(name, value)) for name, value in pairs}


def _is_kept(name: str) -> bool:
    """Whether a class is one plain word, without which the texts would say nothing (Head, other, mass)."""
    words = words_of_name(name)
    return len(name) >= _SHORTEST and len(words) == 1 and is_plain(words[0])


class _Masker:
    """Masks one text after another, and counts."""

    def __init__(self, words: _Words) -> None:
        self._words = words
        self._times: Counter[str] = Counter()
        self._cases: Counter[str] = Counter()

    def case(self, case: Case) -> Case:
        """The case with its texts masked."""
        disease = DiseaseWords(case.outcome.diagnosis) if case.outcome.diagnosis else None
        counted: Counter[str] = Counter()

        def mask(text: str | None) -> str | None:
            if not text:
                return text
            found = list(self._words.found(text))
            found += [(span, None) for span in (disease.spans(text) if disease else ())]
            at: dict[tuple[int, int], str] = {}
            for span, name in found:
                at.setdefault((span.start, span.end), name or text[span.start : span.end].lower())
            counted.update(at.values())
            return mask_spans(text, at)

        masked = Case.model_validate(
            {
                **case.model_dump(),
                "scans": [{**scan.model_dump(), "caption": mask(scan.caption)} for scan in case.scans],
                "notes": [{**note.model_dump(), "text": mask(note.text)} for note in case.notes],
                "recordings": [{**r.model_dump(), "transcript": mask(r.transcript)} for r in case.recordings],
            }
        )
        self._times.update(counted)
        self._cases.update(counted.keys())
        return masked

    def counts(self) -> list[MaskedWord]:
        """Every masked word, most frequent first."""
        ordered = sorted(self._times.items(), key=lambda pair: (-pair[1], pair[0]))
        return [MaskedWord(word, times, self._cases[word]) for word, times in ordered]


def is_masked(folder: Path) -> bool:
    """Whether a cases folder was made by ``medclip cases mask``."""
    return (folder / MASKED).is_file()


def left_standing(case: Case) -> bool:
    """Whether a text of a case (history, findings, captions, transcripts) says its own diagnosis."""
    if not case.outcome.diagnosis:
        return False
    disease = DiseaseWords(case.outcome.diagnosis)
    texts = [case.note_text("history"), case.report]
    return any(disease.spans(text.replace(MASK, " ; ")) for text in texts)


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


def _expressions(words: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    compiled = []
    for word in words:
        try:
            compiled.append(re.compile(rf"(?<!\w)(?:{word})(?!\w)", re.IGNORECASE))
        except re.error as error:
            raise CaseError(f"--word {word}: is no regular expression ({error})") from error
    return tuple(compiled)


def mask_cases(
    folder: Path,
    out: Path,
    *,
    words: Sequence[str] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> MaskReport:
    """Copy a cases folder; in notes, captions and transcripts, what says a label or the diagnosis becomes ``[masked]``.

    Masked are the words that name the case's own diagnosis, in any inflection (`disease_words`), the classes of every
    label set, whichever the case has, and `words`. Not masked are classes of one plain word, and labels that were read
    from the reports; the report names both. Synonyms of a diagnosis are not known: name them in `words`.

    Args:
        words: further regular expressions, of whole words.
        progress: called with each case id.

    Raises:
        CaseError: the manifest or a file cannot be read, there is nothing to mask, or a word is no regular expression.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    cases = read_cases(folder)
    expressions = _expressions(words)
    names = _names(cases)
    verified = {name for label_set, name in names if is_verified(label_set)}
    kept = sorted(name for name in verified if _is_kept(name))
    classes = tuple(sorted(verified.difference(kept)))
    if not classes and not expressions and not any(case.outcome.diagnosis for case in cases):
        raise CaseError(
            f"{folder}: its cases have neither a diagnosis nor labels that name one; name the words to mask with --word"
        )
    masker = _Masker(_Words(classes, expressions))
    with new_folder(out, force=force, marker=MARK) as target:
        masked = []
        for case in cases:
            progress(case.id)
            masked.append(masker.case(case))
            for name in [scan.file for scan in case.scans] + [recording.file for recording in case.recordings]:
                _copy(folder / name, target / name)
        write_cases(target, masked)
        report = MaskReport(
            __version__,
            len(cases),
            sum(after != before for after, before in zip(masked, cases, strict=True)),
            masker.counts(),
            kept,
            sorted({label_set for label_set, _ in names if not is_verified(label_set)}),
        )
        write_json(target / MASKED, asdict(report))
    return report
