"""Drawing the map of an index and keeping it true: who comes is placed, who goes is taken off, with nothing left of them."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from medclip.archive.filter_fields import field_named
from medclip.archive.layout import MAP
from medclip.archive.map import LANDMARKS, CaseMap, laid_out
from medclip.archive.map_file import read_map, write_map
from medclip.errors import ArchiveError, FilterError
from medclip.index import CaseIndex
from medclip.index.ordering import Order

__all__ = ["MapPoint", "draw_map", "fit_map", "forget_on_map", "keep_map", "map_faults", "map_notes", "points_of"]

_WHOLE = "fused"  # the view that stands for a case
_BATCH = 512  # cases that are placed at a time

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MapPoint:
    """A case on the map."""

    case_id: str
    x: float  # -1 to 1
    y: float
    values: tuple[str, ...] | tuple[float, ...]  # of the field that it is coloured by; none where unknown


def draw_map(index: CaseIndex, seed: int) -> None:
    """Lay out an index's cases anew and write the map into its folder.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    with index.snapshot():
        every = index.listed(Order(), len(index)).case_ids
        rng = np.random.default_rng(seed)
        chosen = {every[n] for n in rng.choice(len(every), min(len(every), LANDMARKS), replace=False).tolist()}
        vectors = dict(_vectors(index, chosen, all_of=len(every)))
        landmarks = sorted(vectors)
        whole = np.stack([vectors[case_id] for case_id in landmarks]).astype(np.float16).astype(np.float32)
        drawn = CaseMap(
            tuple(landmarks), laid_out(whole, seed), _hashes(landmarks, index.contents(landmarks)),
            np.arange(len(landmarks), dtype=np.int64), whole, index.generation(),
        )  # fmt: skip
        if len(every) > len(landmarks):
            others = (one for one in index.vectors_of_kind(_WHOLE) if one[0] not in vectors)
            drawn = _placed(index, drawn, others)
    write_map(drawn, index.folder)


def _vectors(index: CaseIndex, case_ids: Collection[str], *, all_of: int | None = None) -> Iterator[tuple[str, Array]]:
    """(case id, its whole embedding), read in one go where they are all cases."""
    if len(case_ids) == all_of:
        yield from index.vectors_of_kind(_WHOLE)
        return
    for case_id in sorted(case_ids):
        yield from ((case_id, view.vector) for view in index.views_of(case_id) if view.kind == _WHOLE)


def _hashes(case_ids: Iterable[str], contents: dict[str, str]) -> NDArray[np.uint8]:
    """(n, 8) what is kept of each case's content."""
    digests = b"".join(hashlib.sha256(contents[case_id].encode()).digest()[:8] for case_id in case_ids)
    return np.frombuffer(digests, np.uint8).reshape(-1, 8)


def _placed(index: CaseIndex, drawn: CaseMap, vectors: Iterable[tuple[str, Array]]) -> CaseMap:
    """The map with more cases, none of which is on it yet."""
    ids: list[str] = []
    points: list[Array] = []
    hashes: list[NDArray[np.uint8]] = []
    given = iter(vectors)
    while batch := list(islice(given, _BATCH)):
        some = [case_id for case_id, _ in batch]
        ids += some
        hashes.append(_hashes(some, index.contents(some)))
        points.append(drawn.place(np.stack([vector for _, vector in batch])))
    return drawn.joined(ids, np.concatenate(points), np.concatenate(hashes)) if ids else drawn


def keep_map(index: CaseIndex, known: CaseMap | None, before: int, written: Sequence[str]) -> None:
    """Bring the map up to date after a change of the index.

    Where a change before this one was killed between the index and its map, all that differs is mended.

    Args:
        known: the map before the change; nothing is done where there is none.
        before: the generation of the index before the change.
        written: the cases that the change wrote.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    now = index.generation()
    if known is None or known.generation == now:
        return
    if known.generation == before:
        _mend(index, known, set(index.contents(written)), set(written))
    else:
        _mend_all(index, known)


def fit_map(index: CaseIndex) -> None:
    """Make the map that came with an import that of the cases that came; nothing is done where there is none.

    Raises:
        ArchiveError: it is damaged.
    """
    known = read_map(index)
    if known is not None:
        _mend_all(index, known)


def _mend_all(index: CaseIndex, known: CaseMap) -> None:
    missing, gone = _differing(known, index.contents())
    _mend(index, known, missing, missing | gone)


def _mend(index: CaseIndex, known: CaseMap, missing: set[str], stale: set[str]) -> None:
    """Write the map without what is stale, and with what is missing as far as a landmark is left to place it by."""
    left = known.without(stale) if stale else known
    if len(left.landmarks):
        left = _placed(index, left, _vectors(index, missing))
    write_map(replace(left, generation=index.generation()), index.folder)


def _differing(known: CaseMap, contents: dict[str, str]) -> tuple[set[str], set[str]]:
    """(cases that are not on the map or were another when they were placed, cases on it that the index lacks)."""
    there = [case_id for case_id in known.case_ids if case_id in contents]
    gone = set(known.case_ids) - set(there)
    kept = known.without(gone)
    same = (kept.contents == _hashes(there, contents)).all(axis=1).tolist()
    true = {case_id for case_id, is_same in zip(there, same, strict=True) if is_same}
    return set(contents) - true, gone


def forget_on_map(index: CaseIndex, case_ids: Collection[str]) -> list[str]:
    """Take cases off the map before the index loses them; a map that cannot be read may name them and is deleted.

    Returns:
        What was deleted, as lines.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    file = index.attachment(MAP)
    try:
        known = read_map(index)
    except ArchiveError:
        file.unlink(missing_ok=True)
        return [f"{file}: was damaged; medclip index compact  draws it anew"]
    named = set(case_ids) & set(known.case_ids) if known is not None else set()
    if known is None or not named:
        return []
    write_map(known.without(named), index.folder)
    return [f"{file}: {len(named)} points"]


def map_faults(index: CaseIndex) -> list[str]:
    """What is wrong with the map, as lines."""
    known = read_map(index)
    if known is None:
        return []
    _, gone = _differing(known, index.contents())
    return (
        [f"{index.attachment(MAP)}: has {len(gone)} cases that the index lacks; medclip index compact"] if gone else []
    )


def map_notes(index: CaseIndex) -> list[str]:
    """What of the map is not up to date, as a killed change may leave it, as lines."""
    known = read_map(index)
    missing = 0 if known is None else len(_differing(known, index.contents())[0])
    if not missing:
        return []
    return [f"{index.attachment(MAP)}: lacks {missing} cases, or shows them as they were; medclip index compact"]


def points_of(index: CaseIndex, known: CaseMap, colour: str | None = None) -> list[MapPoint]:
    """Every case that is on the map and in the index, by case id, with its values of a field.

    Args:
        colour: a field, or a label set; none where None.

    Raises:
        FilterError: there is no such field.
    """
    with index.snapshot():
        if colour is None:
            values = dict.fromkeys(index.contents(), ())
        else:
            fields = index.fields()
            field = field_named(colour, fields)
            if field not in fields:
                raise FilterError(f"there is no field {colour!r}; there are {', '.join(sorted(fields))}")
            values = dict(index.column(field))
    placed = zip(known.case_ids, known.points.tolist(), strict=True)
    return [MapPoint(case_id, x, y, values[case_id]) for case_id, (x, y) in placed if case_id in values]
