"""Compressed pixel data of DICOM files → stored values, in a process of its own.

The decoders are C libraries that a damaged file can crash, hang or make greedy; none of that may reach the program that
reads a whole archive. `python -m medclip.modalities.scan.decoding` is that process: a JSON request a line on standard
input, a JSON answer a line on standard output, each followed by its array's bytes. It ends with its standard input.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import UID

from medclip.errors import ScanError
from medclip.modalities.scan.header import read_header

__all__ = ["decode"]

_SECONDS = 20  # for the chosen frames of one file; a radiograph takes one
_MEMORY = 2 << 30  # bytes of address space

_own = threading.local()  # each thread's process


def _start() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", __name__]  # -P: nothing is imported from where the user happens to be
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )


def decode(path: Path, numbers: Sequence[int]) -> list[NDArray[Any]]:
    """The stored values of some frames of a compressed file.

    Raises:
        ScanError: no decoder manages, or one crashes, or it takes too long.
    """
    process = getattr(_own, "process", None)
    if process is None or process.poll() is not None:
        process = _own.process = _start()
    requests, answers = process.stdin, process.stdout
    assert requests is not None
    assert answers is not None
    late = threading.Timer(_SECONDS, process.kill)
    late.start()
    try:
        requests.write(json.dumps({"file": str(path.resolve()), "frames": list(numbers)}).encode() + b"\n")
        requests.flush()
        answer = json.loads(answers.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return [_receive(answers, frame["dtype"], frame["shape"]) for frame in answer["frames"]]
    except (OSError, json.JSONDecodeError, EOFError):
        process.kill()
        process.wait()
        raise ScanError(f"{path}: its compressed image is damaged; copy or export it again") from None
    finally:
        late.cancel()


def _receive(source: IO[bytes], dtype: str, shape: list[int]) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return np.frombuffer(content, dtype).reshape(shape)


def _stored(path: Path, numbers: Sequence[int]) -> list[NDArray[Any]]:
    """By the first decoder that manages; GDCM last, which damaged files can crash."""
    dataset = read_header(path, pixels=True)
    failed: Exception | None = None
    plugins = get_decoder(UID(dataset.file_meta.TransferSyntaxUID)).available_plugins
    for plugin in sorted(plugins, key=lambda name: (name == "gdcm", name)):
        try:
            return list(iter_pixels(dataset, indices=list(numbers), decoding_plugin=plugin))
        except Exception as error:  # noqa: BLE001 (another decoder may manage)
            failed = failed or error
    raise failed or ValueError("it has no decoder")


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    _limit_memory()
    warnings.simplefilter("ignore")
    if find_spec("gdcm") is not None:  # it has its own say about damaged files, at length
        import gdcm

        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            frames = [np.ascontiguousarray(f) for f in _stored(Path(request["file"]), request["frames"])]
            answer: dict[str, object] = {"frames": [{"dtype": f.dtype.str, "shape": f.shape} for f in frames]}
        except Exception as error:  # noqa: BLE001 (the other side names the file)
            frames, answer = [], {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        for frame in frames:
            answers.write(frame.tobytes())
        answers.flush()


if __name__ == "__main__":
    _serve()
