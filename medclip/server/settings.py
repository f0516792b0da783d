"""What a server lets be asked of it."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Of one server; what passes one is a clear page or JSON error."""

    body: int = 512 << 20  # bytes of a request
    unpacked: int = 1 << 30  # bytes of what a zip holds
    files: int = 5_000  # of a question, those in a zip counted
    scans: int = 64  # of a question; the files of one series are one
    seconds: float = 60.0  # until a question is answered, from when its turn comes
    arriving: float = 300.0  # seconds for a request to arrive
    at_once: int = 2  # questions that are worked on
    waiting: int = 32  # questions that wait for their turn
    pixels: int = 400_000_000  # of all pictures of a question, slices counted
    arriving_at_once: int = 8  # forms
    kept_each: int = 16  # questions that are kept for one browser or program
    kept: int = 128  # questions that are kept to be asked again, and ...
    kept_bytes: int = 512 << 20  # ... of their pictures and slices
    slices_bytes: int = 256 << 20  # of a question's scans, slice by slice, or of one scan of an archived case
    minutes: int = 60  # that a question is kept
    sessions: int = 256  # browsers that entered
