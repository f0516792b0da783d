"""Words burnt into the pixels of a scan, read by RapidOCR (PP-OCRv6) in a process that can be killed.

Its two models lie in its package and nothing is fetched. The process is given pixels that a decoder has read, and no file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from medclip.errors import MissingDependencyError, ScanError
from medclip.modalities.process import Decoders, Reply, Stopped
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures

__all__ = ["MEMORY", "BurntLine", "need_reader", "read_burned_in"]

MEMORY = 2 << 30
"""Bytes of address space of a reader; its libraries and models took 1.4 GiB, of which 0.5 were in use."""

_SECONDS = 60.0  # of computing, for one picture, its models loaded first; one of MedPix takes 0.7
_MOST_ANSWER = 0  # bytes of arrays: an answer is words alone

_readers = Decoders("medclip.modalities.scan.burned_in_worker", most=_MOST_ANSWER)


@dataclass(frozen=True)
class BurntLine:
    """Words on one line of a picture."""

    text: str
    place: str  # "top left", "middle", "last slice, bottom right"


def need_reader() -> None:
    """Raises:
    MissingDependencyError: the extra ``ocr`` is not installed.
    """
    if find_spec("rapidocr") is None:
        raise MissingDependencyError("reading words burnt into scans needs rapidocr", "ocr")


def _looked_at(scan: ScanPictures) -> Iterator[tuple[str, GreyPicture]]:
    """A picture; of a series or volume the first, the middle and the last slice that are read."""
    if len(scan.pictures) == 1:
        yield "", scan.pictures[0]
        return
    yield "first slice, ", scan.pictures[0]
    if len(scan.pictures) > 2:
        yield "middle slice, ", scan.middle
    yield "last slice, ", scan.pictures[-1]


def _place(across: float, down: float) -> str:
    """Which ninth of a picture a point lies in, by its shares of width and height."""
    row, column = ("top", "middle", "bottom")[min(2, int(3 * down))], ("left", "", "right")[min(2, int(3 * across))]
    return f"{row} {column}".strip()


def _ask(file: Path, picture: GreyPicture) -> Reply:
    try:
        return _readers.ask({"shape": picture.shape}, _SECONDS, arrays=[np.ascontiguousarray(picture)])
    except Stopped as stopped:
        told = {
            "time": f"takes over {_SECONDS:.0f} s to look for words in; make it smaller",
            "memory": "needs more memory to look for words in than there is; make it smaller",
            "crash": "no words could be looked for in it (it crashes the reader)",
            "start": "no words can be looked for, since no reader starts here; "
            "see why with  python -m medclip.modalities.scan.burned_in_worker",
        }
        raise ScanError(f"{file}: {told[stopped.why]}") from None


def read_burned_in(file: Path, scan: ScanPictures) -> list[BurntLine]:
    """The lines of words that stand in a scan: of a series or a volume, in the first, the middle and the last slice read.

    A line of words may be read without its spaces, or with a wrong letter.

    Args:
        file: names the scan in an error.
        scan: what was read of it (`medclip.modalities.scan.read`).

    Raises:
        ScanError: the words could not be looked for, within limits of time and memory.
    """
    found = []
    for slice_, picture in _looked_at(scan):
        words = _ask(file, picture).words
        if "error" in words:
            raise ScanError(f"{file}: no words could be looked for in it ({words['error']})")
        found += [BurntLine(text, slice_ + _place(across, down)) for text, across, down in words["lines"]]
    return found
