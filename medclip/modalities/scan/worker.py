"""``python -m medclip.modalities.scan.worker``: the process that reads scans for `medclip.modalities.scan.decoding`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medclip.errors import ScanError
from medclip.modalities.decoder import Answer, Progress, serve
from medclip.modalities.scan.decoding import ABOUT, MEMORY
from medclip.modalities.scan.formats import from_file, from_series, stack_from_file, stack_from_series

__all__: list[str] = []


def _answer(request: dict[str, Any], progress: Progress) -> Answer:
    if request["folder"] is not None:
        os.chdir(request["folder"])
    try:
        if "most" in request:
            return _stack(request, progress)
        if "file" in request:
            scan = from_file(Path(request["file"]))
        else:
            scan = from_series(_files(request), set(request["harmful"]), progress)
    except ScanError as error:
        return {"error": str(error)}, []
    pictures = [np.ascontiguousarray(picture) for picture in scan.pictures]
    shapes = [picture.shape for picture in pictures]
    return {"shapes": shapes, "total": scan.total, "window": scan.window, "notes": scan.notes}, pictures


def _files(request: dict[str, Any]) -> list[Path]:
    return [Path(file) for file in request["files"]]


def _stack(request: dict[str, Any], progress: Progress) -> Answer:
    if "file" in request:
        stack = stack_from_file(Path(request["file"]), request["most"])
    else:
        stack = stack_from_series(_files(request), request["most"], set(request["harmful"]), progress)
    words = {
        "shape": stack.pictures[0].shape,
        "kind": stack.pictures[0].dtype.name,
        "scales": [(one.slope, one.intercept) for one in stack.slices],
        "window": asdict(stack.window),
        "about": {name: getattr(stack, name) for name in ABOUT},
    }
    return words, stack.pictures


if __name__ == "__main__":
    serve(_answer, memory=MEMORY)
