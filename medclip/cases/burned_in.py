"""Words burnt into scans that say what the scan should be asked for, or look like an identifier."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medclip.cases.case import Case, Scan
from medclip.cases.disease_words import DiseaseWords
from medclip.cases.masking import name_spans
from medclip.cases.privacy.files import kinds_in_text
from medclip.label_sets import class_name, is_verified
from medclip.modalities.scan.burned_in import BurntLine

__all__ = ["Seen", "identifiers_seen", "labels_seen"]


@dataclass(frozen=True)
class Seen:
    """Where words of one kind stand in a scan; what they say is not kept."""

    kind: str  # a label set, "diagnosis", or a kind of identifier (`medclip.cases.privacy.folder`)
    place: str  # in the picture


def labels_seen(case: Case, scan: Scan, lines: Sequence[BurntLine]) -> Iterator[Seen]:
    """Where words say the case's own diagnosis, or the class of the case or the scan in a label set that people gave.

    The diagnosis is recognised as `medclip cases mask` does (`disease_words`), a class as in a history.
    """
    disease = DiseaseWords(case.outcome.diagnosis) if case.outcome.diagnosis else None
    labels = {**case.case_labels, **scan.labels}
    names = {name: class_name(name, value) for name, value in labels.items() if is_verified(name)}
    for line in lines:
        if disease and disease.spans(line.text):
            yield Seen("diagnosis", line.place)
        for label_set, name in names.items():
            if any(name_spans(line.text, name)):
                yield Seen(label_set, line.place)


def identifiers_seen(lines: Sequence[BurntLine]) -> Iterator[Seen]:
    """Where words look like an identifier."""
    for line in lines:
        yield from (Seen(kind, line.place) for kind in kinds_in_text(line.text))
