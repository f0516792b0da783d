"""Scans are decoded in processes of their own (`medclip.modalities.process`): what is asked of them, and how long."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from medclip.errors import ScanError
from medclip.modalities.process import Decoders, Reply, Stopped
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.stack import Slice, Stack
from medclip.modalities.scan.window import Window

__all__ = ["ABOUT", "MEMORY", "decode", "decode_series", "decode_stack", "decode_stack_series", "start"]

T = TypeVar("T")

MEMORY = 768 << 20
"""Bytes of address space of a decoder, its libraries (270 MB) among them, so that it stays below 1 GiB together with the
program that asks. A radiograph of 20 million pixels in JPEG 2000 takes 480 MB, a dozen frames of a tomosynthesis without
a window 670 MB."""

_SECONDS = 8.0  # of computing, for one file, so that nobody waits for 10; that radiograph takes 3
_SECONDS_A_FILE = 0.02  # more for each file of a series; reading its header takes 0.002
_STACK_SECONDS = 20.0  # for all slices of a scan; 500 of 512 × 512 take 5 uncompressed
_MOST_CRASHES = 3  # files of a series that may end the decoder; more, and it is left alone

_KINDS = {"uint8": "u1", "int16": "<i2", "uint16": "<u2"}  # of a stack's values

ABOUT = ("total", "inverted", "hounsfield", "aspect", "shrunk", "notes")
"""What of a `Stack` is told beside its slices and window."""

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


def _stack(reply: Reply) -> Stack:
    words = reply.words
    kind = np.dtype(_KINDS[words["kind"]])
    slices = [
        Slice(np.frombuffer(content, kind).reshape(words["shape"]), float(slope), float(intercept))
        for content, (slope, intercept) in zip(reply.content, words["scales"], strict=True)
    ]
    about = {name: words["about"][name] for name in ABOUT}
    return Stack(tuple(slices), window=Window(**words["window"]), **{**about, "notes": tuple(about["notes"])})


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


def _ask(request: dict[str, object], name: Path, seconds: float, at: list[int], made: Callable[[Reply], T]) -> T:
    here = None if name.is_absolute() else os.getcwd()  # a decoder may be older than the caller's last change of folder
    reply = _decoders.ask({**request, "folder": here}, seconds, at.append)
    if "error" in reply.words:
        raise ScanError(reply.words["error"])
    try:
        return made(reply)
    except (KeyError, TypeError, ValueError):  # no decoder that works answers so
        raise Stopped("crash") from None


def _of_file(file: Path, request: dict[str, object], seconds: float, made: Callable[[Reply], T]) -> T:
    try:
        return _ask({"file": str(file), **request}, file, seconds, [], made)
    except Stopped as stopped:
        raise ScanError(_told(file, stopped.why, seconds)) from None


def _of_series(files: Sequence[Path], request: dict[str, object], seconds: float, made: Callable[[Reply], T]) -> T:
    folder = files[0].parent
    harmful: list[int] = []
    most = min(_MOST_CRASHES, len(files) - 1)
    while True:
        at: list[int] = []
        asked = {"files": [str(file) for file in files], "harmful": harmful, **request}
        try:
            return _ask(asked, folder, seconds, at, made)
        except Stopped as stopped:
            if stopped.why in ("time", "start") or not at or len(harmful) == most:
                raise ScanError(_told(folder, stopped.why, seconds)) from None
            harmful.append(at[-1])


def decode(file: Path) -> ScanPictures:
    """Read one file.

    Raises:
        ScanError: it is no scan, is damaged, or takes more time or memory than any scan should.
    """
    return _of_file(file, {}, _SECONDS, _pictures)


def decode_series(files: Sequence[Path]) -> ScanPictures:
    """Read the files of one DICOM series; one that crashes the decoder is left out like any other that is damaged.

    Raises:
        ScanError: as `decode`.
    """
    return _of_series(files, {}, _SECONDS + _SECONDS_A_FILE * len(files), _pictures)


def decode_stack(file: Path, most: int) -> Stack:
    """Read one file for a viewer, as many of its slices as fit into `most` bytes.

    Raises:
        ScanError: as `decode`.
    """
    return _of_file(file, {"most": most}, _STACK_SECONDS, _stack)


def decode_stack_series(files: Sequence[Path], most: int) -> Stack:
    """Read the files of one DICOM series for a viewer, as many of its slices as fit into `most` bytes.

    Raises:
        ScanError: as `decode`.
    """
    return _of_series(files, {"most": most}, _STACK_SECONDS, _stack)
