"""DICOM files and series → pictures."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileDataset

from medclip.errors import ScanError
from medclip.files.plain import open_regular
from medclip.modalities.decoder import Progress
from medclip.modalities.scan.geometry import Frame, frames_of, in_order, is_localizer
from medclip.modalities.scan.grey import Decoded, to_grey, to_values
from medclip.modalities.scan.header import is_dicom, opened, read_header
from medclip.modalities.scan.pictures import ScanPictures, choose_slices
from medclip.modalities.scan.stored import check, stored_frames

__all__ = ["read_dicom", "read_series"]


def _read(frames: Sequence[Frame], progress: Callable[[Path], None], damaged: int = 0) -> ScanPictures:
    """The pictures of a volume; a damaged file of several is left out and counted.

    Args:
        progress: is told each file before it is decoded.
        damaged: files that were left out before.
    """
    ordered, notes = in_order(frames)
    by_file: dict[Path, list[int]] = defaultdict(list)
    chosen = [ordered[i] for i in choose_slices(len(ordered))]
    for frame in chosen:
        by_file[frame.file].append(frame.number)
    found: dict[tuple[Path, int], Decoded] = {}
    header: FileDataset | None = None
    failed: Exception | None = None
    for file, numbers in by_file.items():
        progress(file)
        try:
            with opened(file) as (dataset, content):
                element = check(dataset, content, file)
                stored = stored_frames(dataset, content, element, sorted(numbers))
                decoded = {
                    (file, n): to_values(frame, dataset, n) for n, frame in zip(sorted(numbers), stored, strict=True)
                }
            found |= decoded
            header = header or dataset
        except Exception as error:  # noqa: BLE001 (the others may do)
            failed = failed or error
    if header is None:
        raise failed or ScanError("no frame")
    readable = [found[frame.file, frame.number] for frame in chosen if (frame.file, frame.number) in found]
    damaged += len(chosen) - len(readable)
    if damaged:
        notes.append(f"{damaged} left out: damaged")
    pictures, how = to_grey(readable, header)
    return ScanPictures(tuple(pictures), len(ordered), how, tuple(notes))


def read_dicom(path: Path) -> ScanPictures:
    """Read one DICOM file: one picture, or a choice of its frames.

    Raises:
        ScanError: it holds no scan, or one that cannot be decoded here.
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    with opened(path) as (header, content):
        check(header, content, path)
    return _read(list(frames_of(header, path)), lambda _: None)


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
    positions = {file: position for position, file in enumerate(files)}
    read = _read(frames, lambda file: progress(positions[file]), len(harmful))
    others = ((left_out, "no DICOM image"), (len({frame.file for frame in surveys}), "localizer"))
    notes = (*read.notes, *(f"{count} left out: {what}" for count, what in others if count))
    return ScanPictures(read.pictures, read.total, read.window, notes)


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
