"""Decoders in processes of their own, which can be killed: the process's side (`medclip.modalities.process`).

It may not write a file, nor dump its memory (which holds a patient's pictures) when it crashes; memory and open files
are limited, and the kernel ends it when a request takes too long, even in the middle of C code and when whoever asked
is gone. It ends with its standard input.
"""

import contextlib
import json
import os
import resource
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["CONTENT", "PATIENCE", "Answer", "Buffer", "Progress", "serve"]

PATIENCE = 4
"""How many seconds may pass for each that a request may compute: a machine that has other work to do, or a share that is
slow, makes no scan a bad one."""

CONTENT = "content"
"""Of a request: the arrays that came with it, as bytes."""

_FILES = 64  # open at once: the interpreter's, a library's and the scan's
_WORN = 400 << 20  # bytes of address space after an answer; then a process ends, for what one file left behind


class Buffer(Protocol):
    """Anything whose bytes can be written: an array of one piece."""

    @property
    def nbytes(self) -> int: ...
    @property
    def data(self) -> memoryview: ...


Progress = Callable[[int], None]
Answer = tuple[dict[str, Any], Sequence[Buffer]]
"""What is answered as JSON, and the arrays beside it."""


def _limit(memory: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # not every system limits everything
            resource.setrlimit(what, (least, least))


def _allow(seconds: float) -> None:
    """Have the kernel end this process after so many seconds of computing, or `PATIENCE` times as many; 0 for neither."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)


def _size() -> int:
    """Bytes of address space that are in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as state:
            return int(state.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _write(handle: int, content: Any) -> None:
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[os.write(handle, rest) :]


def _say(handle: int, words: dict[str, Any]) -> None:
    content = json.dumps(words).encode()
    _write(handle, struct.pack("<I", len(content)) + content)


def serve(answer: Callable[[dict[str, Any], Progress], Answer], *, memory: int, worn: int = _WORN) -> None:
    """Answer requests until standard input ends.

    Args:
        answer: is given a request and a function to report a number with while it works.
        memory: bytes of address space that the process may use.
        worn: bytes of it after an answer, from which on the process ends, to be started anew.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for who asks, and may not end in an answer
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")  # once, and before anything else runs
    _limit(memory)
    _say(answers, {})
    requests = sys.stdin.buffer
    while len(head := requests.read(4)) == 4:
        request = json.loads(requests.read(*struct.unpack("<I", head)))
        request[CONTENT] = [requests.read(size) for size in request.pop("sizes")]
        _allow(request["seconds"])
        words, arrays = answer(request, lambda number: _say(answers, {"at": number}))
        last = _size() > worn + sum(array.nbytes for array in arrays)
        _say(answers, {**words, "sizes": [array.nbytes for array in arrays], "last": last})
        for array in arrays:
            _write(answers, array.data)
        _allow(0)
        if last:
            break
        del request, words, arrays
