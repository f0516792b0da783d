"""How near a text is to the archive's others: a query's text that is farther than those are was hardly understood."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclip.archive.layout import FAMILIARITY
from medclip.embedding.embedder import Array
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.index import CaseIndex

__all__ = ["Familiarity", "nearest_text", "read_familiarity", "write_familiarity"]

_KINDS = ("report", "history")
_FAR = 0.01  # share of the archived texts that lie farther from another patient's than `Familiarity.nearest`
_FEWEST = 100  # texts; of fewer, one in a hundred is none
_MOST = 10_000  # texts that are searched for: beyond, the share is known to a tenth of itself
_AT_ONCE = 64  # texts searched for at a time


class Familiarity(BaseModel):
    """What all but one in a hundred archived texts reach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int = Field(ge=0)  # that were measured
    nearest: float | None = Field(
        ge=-1.001, le=1.001
    )  # cosine to another patient's nearest text; None of too few texts


def nearest_text(index: CaseIndex, vectors: Array, patients: list[str | None] | None = None) -> list[float]:
    """The cosine of each of (n, d) unit vectors to the nearest archived report or history, but those of its patient.

    -1 where there is none.
    """
    hits = index.search(vectors, 1, kinds=_KINDS, exclude_patients=patients or [None] * len(vectors))
    return [found[0].similarity if found else -1.0 for found in hits]


def _texts(index: CaseIndex) -> Iterator[tuple[Array, str]]:
    """Vector and patient of every archived text."""
    for record in index.records():
        yield from ((view.vector, record.patient) for view in index.views_of(record.id) if view.kind in _KINDS)


def write_familiarity(index: CaseIndex, file: Path) -> None:
    """Measure it on an index's texts, at most `_MOST`, and write it with a checksum."""
    texts = islice(_texts(index), _MOST)
    found: list[float] = []
    while batch := list(islice(texts, _AT_ONCE)):
        found += nearest_text(index, np.stack([vector for vector, _ in batch]), [patient for _, patient in batch])
    nearest = float(np.quantile(found, _FAR)) if len(found) >= _FEWEST else None
    write_json(file, sealed(Familiarity(texts=len(found), nearest=nearest).model_dump()))


def read_familiarity(index: CaseIndex) -> Familiarity | None:
    """What was measured when the index was built or compacted; None in an index of an earlier medclip.

    Raises:
        ArchiveError: its file is damaged.
    """
    file = index.attachment(FAMILIARITY)
    if not file.exists():
        return None
    try:
        read = read_sealed(file)
        if read.seal != "whole":
            raise ValueError("its checksum does not fit")
        return Familiarity.model_validate(read.value)
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; medclip index compact  makes it anew") from error
    except (ValidationError, ValueError) as error:
        why = "is not what medclip writes" if isinstance(error, ValidationError) else str(error)
        raise ArchiveError(f"{file}: is damaged ({why}); medclip index compact  makes it anew") from error
