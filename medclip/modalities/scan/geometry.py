"""The frames of a DICOM series in geometric order (PS3.3 C.7.6.2.1.1)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medclip.errors import ScanError
from medclip.modalities.scan.header import functional, integer, numbers

__all__ = ["Frame", "frames_of", "in_order", "is_localizer", "plane_of"]

_MOST_FRAMES = 65_536
_VIEWS = {
    *("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LATERAL", "LAT", "OBLIQUE"),
    *("CC", "ML", "LM", "MLO", "LMO", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO"),
}
"""Terms of View Position (PS3.3 C.8.7.1.1.1, C.8.11.7 and CID 4014); anything else is free text, which may name someone."""

_GAP = 1.5  # of the usual distance; more means that a slice is missing


@dataclass(frozen=True)
class Frame:
    """One picture of a series, before it is decoded."""

    file: Path
    number: int  # frame within the file, from 0
    turn: tuple[float, ...] | None  # orientation, rounded; None where it is not known
    along: float | None  # mm along the normal of the slices
    instance: int
    size: tuple[int, int]


def _geometry(dataset: Dataset, frame: int) -> tuple[tuple[float, ...] | None, float | None]:
    """(orientation, position along the normal in mm) of a frame, as far as they are there and make sense."""
    plane = functional(dataset, frame, "PlaneOrientationSequence") or dataset
    place = functional(dataset, frame, "PlanePositionSequence") or dataset
    turn = numbers(plane.get("ImageOrientationPatient"), 6)
    position = numbers(place.get("ImagePositionPatient"), 3)
    if turn is None or position is None:
        return None, None
    normal = np.cross(turn[:3], turn[3:])
    length = float(np.linalg.norm(normal))
    if abs(length - 1) > 0.1:
        return None, None
    return tuple(np.round(turn, 2).tolist()), float(position @ normal / length)


def plane_of(header: Dataset) -> str | None:
    """The anatomical plane of a file's first frame by its orientation, else its radiographic view; None if unknown."""
    turn, _ = _geometry(header, 0)
    if turn is None:
        view = str(header.get("ViewPosition") or "").strip().upper()
        return view if view in _VIEWS else None
    normal = np.abs(np.cross(turn[:3], turn[3:]))
    return ("Sagittal", "Coronal", "Axial")[int(normal.argmax())]


def is_localizer(header: Dataset) -> bool:
    """Whether a file is a survey on which slices are planned, by the third value of its Image Type (PS3.3 C.8.2.1.1.1)."""
    said = header.get("ImageType") or []
    return "LOCALIZER" in [str(value).strip().upper() for value in ([said] if isinstance(said, str) else said)]


def frames_of(dataset: Dataset, file: Path) -> Iterator[Frame]:
    """The frames that a header speaks of.

    Raises:
        ScanError: they are more than any scan has.
    """
    count = max(1, integer(dataset.get("NumberOfFrames"), 1))
    if count > _MOST_FRAMES:
        raise ScanError(f"{file}: has over {_MOST_FRAMES} frames; export a part of it")
    size = (integer(dataset.get("Rows"), 0), integer(dataset.get("Columns"), 0))
    instance = integer(dataset.get("InstanceNumber"), 0)
    for number in range(count):
        turn, along = _geometry(dataset, number)
        yield Frame(file, number, turn, along, instance, size)


def in_order(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """The frames of one volume in geometric order, and what was left out of it."""
    notes = []
    groups = Counter((frame.turn, frame.size) for frame in frames)
    kept_group, most = groups.most_common(1)[0]
    kept = [frame for frame in frames if (frame.turn, frame.size) == kept_group]
    if most < len(frames):
        notes.append(f"{len(frames) - most} left out: another orientation or size")
    by_number = sorted(kept, key=lambda f: (f.instance, f.file.name, f.number))
    if any(frame.along is None for frame in kept):
        return by_number, notes
    places: dict[float, Frame] = {}
    for frame in by_number:
        assert frame.along is not None
        places.setdefault(round(frame.along, 2), frame)
    if len(places) == 1:  # a cine loop: one place, many times
        return by_number, notes
    if len(places) < len(kept):
        notes.append(f"{len(kept) - len(places)} left out: a place already taken")
    order = sorted(places)
    steps = np.diff(order)
    gaps = int((steps > _GAP * np.median(steps)).sum())
    if gaps:
        notes.append(f"slices missing at {gaps} place{'s' if gaps > 1 else ''}")
    return [places[place] for place in order], notes
