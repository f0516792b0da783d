"""Scans of a question, slice by slice: read beside the answer, kept with it, and told to a viewer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from medclip.errors import ScanError
from medclip.modalities.scan.read import read_stack
from medclip.modalities.scan.stack import Stack
from medclip.modalities.scan.window import CT_PRESETS

__all__ = ["LET_GO", "Reading", "told", "values"]

LET_GO = "8-bit pictures: the values were let go for newer questions; ask again to have them"
_LATE = "8-bit pictures: the values took too long to decode"
_UNREAD = "8-bit pictures: the values need more time or memory to decode than a scan may take"
_PATIENCE = 20.0  # seconds that an answer waits for the slices when all else is done


class Reading:
    """Stacks of a question's scans, while they are read."""

    def __init__(self, scans: Sequence[Path], most: int) -> None:
        """Begin to read them, in a thread.

        Args:
            most: bytes of all of them.
        """
        self._found: list[Stack | str] = [_LATE] * len(scans)
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="stacks")
        self._running = self._workers.submit(self._read, scans, most)
        self._workers.shutdown(wait=False)

    def _read(self, scans: Sequence[Path], most: int) -> None:
        """The small ones first, so that what they leave of their share goes to the large ones."""
        order = sorted(range(len(scans)), key=lambda number: _size(scans[number]))
        for done, number in enumerate(order):
            try:
                found = read_stack(scans[number], most // (len(scans) - done))
            except ScanError:
                self._found[number] = _UNREAD
                continue
            self._found[number] = found
            most -= found.nbytes

    def stacks(self) -> list[Stack | str]:
        """All stacks that are read within a while; of another, why it is none."""
        wait([self._running], _PATIENCE)
        return list(self._found)


def _size(path: Path) -> int:
    """Bytes on the disk."""
    try:
        return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
    except OSError:
        return 0


def told(stack: Stack, source: str) -> dict[str, Any]:
    """What a viewer has to know of a stack before it asks for values.

    Args:
        source: where it is from, for people.
    """
    height, width = stack.pictures[0].shape
    window = stack.window
    notes = list(stack.notes)
    if len(stack.slices) < stack.total:
        notes.append(f"{len(stack.slices)} of {stack.total} slices, evenly chosen: more do not fit here")
    if stack.shrunk > 1:
        notes.append(f"shrunk: each pixel is the mean of {stack.shrunk} × {stack.shrunk}")
    if window.function == "SIGMOID":
        notes.append("the file asks for a curved window (SIGMOID), shown straight")
    return {
        "source": source,
        "slices": len(stack.slices),
        "width": width,
        "height": height,
        "kind": stack.pictures[0].dtype.name,
        "scales": [[one.slope, one.intercept] for one in stack.slices],
        "window": {"centre": window.centre, "width": window.width, "origin": window.origin},
        "exact": window.function == "LINEAR_EXACT",
        "inverted": stack.inverted,
        "hounsfield": stack.hounsfield,
        "presets": [
            {"name": name, "centre": centre, "width": wide} for name, (centre, wide) in CT_PRESETS.items()
        ] if stack.hounsfield else [],
        "aspect": stack.aspect,
        "notes": notes,
    }  # fmt: skip


def values(stack: Stack, first: int, last: int) -> Iterator[bytes]:
    """The stored values of some slices one after another, little-endian: those from `first` up to, without, `last`."""
    for one in stack.slices[max(0, first) : max(0, last)]:
        yield one.stored.tobytes()
