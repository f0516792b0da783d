"""DICOM files and series → pictures, or stacks for a viewer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.decoder import Progress
from medclip.modalities.scan.dicom_slice import aspect_of, first_window, in_hounsfield, is_inverted, to_slice
from medclip.modalities.scan.geometry import Frame, frames_of, in_order, is_localizer
from medclip.modalities.scan.grey import to_grey, to_values
from medclip.modalities.scan.header import integer, is_dicom, opened, read_header
from medclip.modalities.scan.pictures import ScanPictures, choose_slices
from medclip.modalities.scan.stack import Slice, Stack, as_stack, kept, slices_that_fit
from medclip.modalities.scan.stored import check, stored_frames

__all__ = ["dicom_stack", "read_dicom", "read_series", "series_stack"]

T = TypeVar("T")


class _Found(Generic[T]):
    """What was made of the frames that could be decoded."""

    def __init__(self, made: list[T], header: FileDataset, damaged: int) -> None:
        self.made, self.header, self.damaged = made, header, damaged


def _decoded(
    chosen: Sequence[Frame], progress: Callable[[Path], None], make: Callable[[NDArray[Any], FileDataset, int], T]
) -> _Found[T]:
    """Make something of each frame, in their order; a damaged file of several is left out and counted.

    Args:
        progress: is told each file before it is decoded.
        make: is given a frame's stored values, its header and its number.
    """
    by_file: dict[Path, list[int]] = defaultdict(list)
    for frame in chosen:
        by_file[frame.file].append(frame.number)
    found: dict[tuple[Path, int], T] = {}
    header: FileDataset | None = None
    failed: Exception | None = None
    for file, numbers in by_file.items():
        progress(file)
        try:
            with opened(file) as (dataset, content):
                element = check(dataset, content, file)
                stored = stored_frames(dataset, content, element, sorted(numbers))
                made = {(file, n): make(frame, dataset, n) for n, frame in zip(sorted(numbers), stored, strict=True)}
            found |= made
            header = header or dataset
        except Exception as error:  # noqa: BLE001 (the others may do)
            failed = failed or error
    if header is None:
        raise failed or ScanError("no frame")
    readable = [found[frame.file, frame.number] for frame in chosen if (frame.file, frame.number) in found]
    return _Found(readable, header, len(chosen) - len(readable))


@dataclass(frozen=True)
class _Volume:
    """The frames of one volume, before they are decoded."""

    frames: list[Frame]  # in geometric order
    notes: list[str]  # what was left out of it
    unread: list[str]  # files that were
    damaged: int = 0  # files that were left out before

    def noted(self, damaged: int) -> tuple[str, ...]:
        """All that was left out."""
        count = damaged + self.damaged
        return (*self.notes, *([f"{count} left out: damaged"] if count else []), *self.unread)


def _pictures(volume: _Volume, progress: Callable[[Path], None]) -> ScanPictures:
    chosen = [volume.frames[i] for i in choose_slices(len(volume.frames))]
    found = _decoded(chosen, progress, to_values)
    pictures, how = to_grey(found.made, found.header)
    return ScanPictures(tuple(pictures), len(volume.frames), how, volume.noted(found.damaged))


def _stack(volume: _Volume, progress: Callable[[Path], None], most: int) -> Stack:
    first = volume.frames[0]
    item = 1 if integer(read_header(first.file).get("BitsAllocated"), 16) <= 8 else 2
    numbers, shrunk = slices_that_fit(len(volume.frames), first.size, item, most)

    def make(frame: NDArray[Any], dataset: FileDataset, number: int) -> Slice:
        return kept(to_slice(frame, dataset, number), shrunk)

    found = _decoded([volume.frames[i] for i in numbers], progress, make)
    return as_stack(
        found.made,
        len(volume.frames),
        first_window(found.made, found.header),
        inverted=is_inverted(found.header),
        hounsfield=in_hounsfield(found.made, found.header),
        aspect=aspect_of(found.header),
        shrunk=shrunk,
        notes=volume.noted(found.damaged),
    )


def _of_file(path: Path) -> _Volume:
    with opened(path) as (header, content):
        check(header, content, path)
    return _Volume(*in_order(list(frames_of(header, path))), [])


def read_dicom(path: Path) -> ScanPictures:
    """Read one DICOM file: one picture, or a choice of its frames.

    Raises:
        ScanError: it holds no scan, or one that cannot be decoded here.
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    return _pictures(_of_file(path), lambda _: None)


def dicom_stack(path: Path, most: int) -> Stack:
    """Read one DICOM file for a viewer: all of its frames, or as many as fit into `most` bytes.

    Raises:
        ScanError, Exception: as `read_dicom`.
    """
    return _stack(_of_file(path), lambda _: None, most)


def read_series(
    files: Sequence[Path], harmful: Collection[int] = (), progress: Progress = lambda _: None
) -> ScanPictures:
    """Read the files of one DICOM series: a choice of its slices, in geometric order.

    Files that are not DICOM images, and the localizers of a series that holds more, are left out and counted in the
    notes.

    Args:
        harmful: positions of files that are counted as damaged and not opened.
        progress: is told the position of each file before it is opened.

    Raises:
        ScanError: they hold no series or several.
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    return _pictures(_of_series(files, harmful, progress), _by_position(files, progress))


def series_stack(
    files: Sequence[Path], most: int, harmful: Collection[int] = (), progress: Progress = lambda _: None
) -> Stack:
    """Read the files of one DICOM series for a viewer: all of its slices, or as many as fit into `most` bytes.

    Args:
        harmful, progress: as of `read_series`.

    Raises:
        ScanError, Exception: as `read_series`.
    """
    return _stack(_of_series(files, harmful, progress), _by_position(files, progress), most)


def _by_position(files: Sequence[Path], progress: Progress) -> Callable[[Path], None]:
    positions = {file: position for position, file in enumerate(files)}
    return lambda file: progress(positions[file])


def _of_series(files: Sequence[Path], harmful: Collection[int], progress: Progress) -> _Volume:
    frames: list[Frame] = []
    surveys: list[Frame] = []  # of localizers
    series: Counter[str] = Counter()
    left_out = 0
    for position, file in enumerate(files):
        if position in harmful:
            continue
        progress(position)
        try:
            found = _frames(file)
        except Exception:  # noqa: BLE001 (counted; a series is more than its damaged file)
            found = None
        if found is None:
            left_out += 1
            continue
        series[found.series] += 1
        (surveys if found.localizer else frames).extend(found.frames)
    folder = files[0].parent
    frames, surveys = (frames, surveys) if frames else (surveys, [])
    if not frames:
        raise ScanError(f"{folder}: holds no DICOM image; name the folder of one series")
    if len(series) > 1:
        raise ScanError(
            f"{folder}: holds {len(series)} series; name the folder of one, or use  medclip cases import dicom"
        )
    others = ((left_out, "no DICOM image"), (len({frame.file for frame in surveys}), "localizer"))
    unread = [f"{count} left out: {what}" for count, what in others if count]
    return _Volume(*in_order(frames), unread, len(harmful))


@dataclass(frozen=True)
class _Image:
    """A file of a series."""

    series: str  # SeriesInstanceUID
    frames: list[Frame]
    localizer: bool


def _frames(file: Path) -> _Image | None:
    """A file's series and its frames; None where it holds no image."""
    with open_regular(file) as handle:
        known = is_dicom(handle.read(132), file)
    if not known:
        return None
    header = read_header(file)
    if "Rows" not in header:
        return None
    return _Image(str(header.get("SeriesInstanceUID", "")), list(frames_of(header, file)), is_localizer(header))
