"""A case as it stands in an index, and back."""

from collections import defaultdict

import numpy as np
from pydantic import ValidationError

from medclip.archive.filter_fields import facts_of
from medclip.cases.case import Case
from medclip.embedding.embedder import Array, EmbeddedCase
from medclip.errors import ArchiveError, describe
from medclip.fusion import Fuser
from medclip.fusion.case_vector import unit
from medclip.index import Entry, Record, VectorView

__all__ = ["case_of", "embedded_of", "entry_of", "record_of", "view_labels"]


def _document(case: Case) -> dict[str, object]:
    """What is shown of a similar case."""
    return case.model_dump(mode="json", exclude_defaults=True)


def view_labels(case: Case, kind: str, number: int) -> dict[str, str]:
    """The labels that hold for a view: a scan's own where it is one scan's."""
    return case.scan_labels(case.scans[number]) if kind == "scan" else case.case_labels


def entry_of(embedded: EmbeddedCase, fuser: Fuser) -> Entry:
    """A case as it stands in an index."""
    case = embedded.case
    views = [VectorView(v.kind, v.number, v.vector, view_labels(case, v.kind, v.number)) for v in embedded.views(fuser)]
    return Entry(record_of(case, embedded.content), views, embedded.thumbnails)


def record_of(case: Case, content: str) -> Record:
    """What an index keeps of a case beside its vectors and thumbnails.

    Args:
        content: hash of what the case was embedded from.
    """
    text = "\n\n".join(part for part in (case.report, case.note_text("history")) if part)
    return Record(case.id, case.patient, case.case_labels, _document(case), facts_of(case), text, content)


def case_of(record: Record) -> Case:
    """The case that a record in an index is of.

    Raises:
        ArchiveError: its document is no valid case.
    """
    try:
        return Case.model_validate(record.document)
    except ValidationError as error:
        raise ArchiveError(
            f"case {record.id!r}: its record in the index is damaged ({describe(error)}); restore it from a backup"
        ) from error


def embedded_of(entry: Entry, fuser: Fuser) -> EmbeddedCase:
    """The case back from its entry: a view of one part alone is that part, scaled."""
    parts: dict[str, list[Array]] = defaultdict(list)
    for view in entry.views:
        parts[view.kind].append(view.vector)
    empty = np.empty((0, fuser.base), np.float32)

    def block(kind: str) -> Array:
        return unit(np.stack(parts[kind])[:, : fuser.base]) if parts[kind] else empty

    measured = np.zeros(fuser.measurements, np.float32)
    if parts["measurements"]:
        measured = unit(parts["measurements"][0][fuser.base : fuser.base + fuser.measurements])
    numbers = tuple(view.number for view in entry.views if view.kind == "scan")
    return EmbeddedCase(case_of(entry.record), numbers, block("scan"), block("report"), block("history"), measured)
