"""Scans are decoded in processes of their own (`medclip.modalities.process`): what is asked of them, and how long."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medclip.errors import ScanError
from medclip.modalities.process import Decoders, Reply, Stopped
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures

__all__ = ["MEMORY", "decode", "decode_series", "start"]

MEMORY = 768 << 20
"""Bytes of address space of a decoder, its libraries (270 MB) among them, so that it stays below 1 GiB together with the
program that asks. A radiograph of 20 million pixels in JPEG 2000 takes 480 MB, a dozen frames of a tomosynthesis without
a window 670 MB."""

_SECONDS = 8.0  # of computing, for one file, so that nobody waits for 10; that radiograph takes 3
_SECONDS_A_FILE = 0.02  # more for each file of a series; reading its header takes 0.002
_MOST_CRASHES = 3  # files of a series that may end the decoder; more, and it is left alone

_decoders = Decoders("medclip.modalities.scan.worker", most=MEMORY)


def start() -> None:
    """Have a decoder ready for the scan that will be read next: it starts while the caller has other things to do."""
    _decoders.start()


def _pictures(reply: Reply) -> ScanPictures:
    pictures: list[GreyPicture] = [
        np.frombuffer(content, np.uint8).reshape(shape)
        for content, shape in zip(reply.content, reply.words["shapes"], strict=True)
    ]
    return ScanPictures(tuple(pictures), reply.words["total"], reply.words["window"], tuple(reply.words["notes"]))


def _told(name: Path, why: str, seconds: float) -> str:
    return {
        "time": f"{name}: takes over {seconds:.0f} s to decode; export it smaller or uncompressed",
        "memory": f"{name}: {needs_memory()}",
        "crash": f"{name}: is damaged or truncated; copy or export it again (it crashes its decoder)",
        "start": f"{name}: cannot be decoded, since no decoder starts here; "
        "see why with  python -m medclip.modalities.scan.worker",
    }[why]


def needs_memory() -> str:
    """What is said of a file that does not fit into a decoder."""
    return f"needs over {MEMORY >> 20} MiB of memory to decode; export it smaller or uncompressed"


def _ask(request: dict[str, object], name: Path, seconds: float, at: list[int]) -> ScanPictures:
    here = None if name.is_absolute() else os.getcwd()  # a decoder may be older than the caller's last change of folder
    reply = _decoders.ask({**request, "folder": here}, seconds, at.append)
    if "error" in reply.words:
        raise ScanError(reply.words["error"])
    try:
        return _pictures(reply)
    except (KeyError, TypeError, ValueError):  # no decoder that works answers so
        raise Stopped("crash") from None


def decode(file: Path) -> ScanPictures:
    """Read one file.

    Raises:
        ScanError: it is no scan, is damaged, or takes more time or memory than any scan should.
    """
    try:
        return _ask({"file": str(file)}, file, _SECONDS, [])
    except Stopped as stopped:
        raise ScanError(_told(file, stopped.why, _SECONDS)) from None


def decode_series(files: Sequence[Path]) -> ScanPictures:
    """Read the files of one DICOM series; one that crashes the decoder is left out like any other that is damaged.

    Raises:
        ScanError: as `decode`.
    """
    folder, seconds = files[0].parent, _SECONDS + _SECONDS_A_FILE * len(files)
    harmful: list[int] = []
    most = min(_MOST_CRASHES, len(files) - 1)
    while True:
        at: list[int] = []
        try:
            return _ask({"files": [str(file) for file in files], "harmful": harmful}, folder, seconds, at)
        except Stopped as stopped:
            if stopped.why in ("time", "start") or not at or len(harmful) == most:
                raise ScanError(_told(folder, stopped.why, seconds)) from None
            harmful.append(at[-1])
