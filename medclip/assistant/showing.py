"""Which archived cases are shown: the most similar ones, one a patient, less those that a refined query hides."""

import io
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from PIL import Image

from medclip.archive.entries import case_of
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
    liked, hidden, distinct = {*display.applied.like}, {*display.applied.unlike}, display.applied.distinct
    want = 2 * among.k + len(liked) + len(hidden)
    while True:
        [found] = index.search(
            display.vector,
            want,
            kinds=display.kinds,
            where=among.where,
            exclude_patients=[among.exclude_patient],
            words=[words] if words else [],
        )
        hits = _first_of_patients([hit for hit in found if hit.case_id not in hidden], liked)
        copies = _copies(index, hits, liked, among.k) if distinct else []
        gone = {copy.case_id for copy in copies}
        kept = [hit for hit in hits if hit.case_id not in gone]
        if len(kept) >= among.k or len(found) < want:
            return Shown(kept[: among.k], copies)
        want *= 2


def _first_of_patients(found: Sequence[Hit], liked: AbstractSet[str]) -> list[Hit]:
    """One case a patient: the first, or the first that is liked."""
    own: dict[str, str] = {}
    for hit in (*(hit for hit in found if hit.case_id in liked), *found):
        own.setdefault(hit.patient, hit.case_id)
    return [hit for hit in found if own[hit.patient] == hit.case_id]


def _copies(index: CaseIndex, hits: Sequence[Hit], liked: AbstractSet[str], k: int) -> list[Copy]:
    """Cases, liked ones aside, that look like one above, until k others are found."""
    jpegs = [(number, jpeg) for number, hit in enumerate(hits) for jpeg in index.thumbnails(hit.case_id).values()]
    looks = [small(_decoded(jpeg, hits[number].case_id)) for number, jpeg in jpegs]
    drawn = [case_of(index.record(hit.case_id)).synthetic for hit in hits]
    alike = set()
    for pair in lookalikes(looks, [hits[number].case_id for number, _ in jpegs]):
        (one, jpeg), (other, same) = jpegs[pair.one], jpegs[pair.other]
        if jpeg == same or not (drawn[one] and drawn[other]):  # phantoms of one kind are drawn alike
            alike.add((one, other))
    kept: list[int] = []
    copies: list[Copy] = []
    for number, hit in enumerate(hits):
        above = next((one for one in kept if (one, number) in alike), None)
        if above is None or hit.case_id in liked:
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
