"""Which archived cases are shown: the most similar ones, one a patient, less those that a refined query hides."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from medclip.assistant.answer import Copy
from medclip.assistant.asking import Among
from medclip.assistant.refining import Display
from medclip.cases.lookalikes import lookalikes
from medclip.cases.lookalikes import thumbnail as small
from medclip.errors import ArchiveError
from medclip.index import CaseIndex, Hit
from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["Shown", "show"]

_MOST_PIXELS = 1 << 20  # of a thumbnail; those that are stored have 65,536


@dataclass(frozen=True)
class Shown:
    """The cases that are shown, in their order."""

    hits: list[Hit]
    copies: list[Copy]  # hidden, since a scan of theirs looks the same as one of a case that is shown above


def show(index: CaseIndex, display: Display, among: Among, words: str = "") -> Shown:
    """The first k cases, one a patient, that a refined query shows.

    Raises:
        ArchiveError: a thumbnail that is to be compared is damaged.
    """
    hidden, distinct = {*display.applied.unlike}, display.applied.distinct
    want = 2 * among.k + len(hidden)
    while True:
        [found] = index.search(
            display.vector,
            want,
            kinds=display.kinds,
            where=among.where,
            exclude_patients=[among.exclude_patient],
            words=[words] if words else [],
        )
        patients: dict[str, Hit] = {}
        for hit in found:
            if hit.case_id not in hidden:
                patients.setdefault(hit.patient, hit)
        hits = list(patients.values())
        copies = _copies(index, hits, among.k) if distinct else []
        gone = {copy.case_id for copy in copies}
        kept = [hit for hit in hits if hit.case_id not in gone]
        if len(kept) >= among.k or len(found) < want:
            return Shown(kept[: among.k], copies)
        want *= 2


def _copies(index: CaseIndex, hits: Sequence[Hit], k: int) -> list[Copy]:
    """Cases that look like one above, until k others are found."""
    looks, owners = [], []
    for number, hit in enumerate(hits):
        for jpeg in index.thumbnails(hit.case_id).values():
            looks.append(small(_decoded(jpeg, hit.case_id)))
            owners.append(number)
    alike = {(owners[pair.one], owners[pair.other]) for pair in lookalikes(looks, [str(one) for one in owners])}
    kept: list[int] = []
    copies: list[Copy] = []
    for number, hit in enumerate(hits):
        above = next((one for one in kept if (one, number) in alike), None)
        if above is None:
            kept.append(number)
        else:
            copies.append(Copy(case_id=hit.case_id, of=hits[above].case_id))
        if len(kept) == k:
            break
    return copies


def _decoded(jpeg: bytes, case_id: str) -> GreyPicture:
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError("too large")
            return np.asarray(image.convert("L"))
    except Exception as error:  # Pillow's are of many kinds
        raise ArchiveError(
            f"case {case_id}: a thumbnail of it is damaged; medclip index verify  says what else is"
        ) from error
