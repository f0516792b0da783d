"""``python -m medclip.modalities.scan.worker``: the process that reads scans for `medclip.modalities.scan.decoding`."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from medclip.errors import ScanError
from medclip.modalities.decoder import Answer, Progress, serve
from medclip.modalities.scan.decoding import MEMORY
from medclip.modalities.scan.formats import from_file, from_series

__all__: list[str] = []


def _answer(request: dict[str, Any], progress: Progress) -> Answer:
    if request["folder"] is not None:
        os.chdir(request["folder"])
    try:
        if "file" in request:
            scan = from_file(Path(request["file"]))
        else:
            scan = from_series([Path(file) for file in request["files"]], set(request["harmful"]), progress)
    except ScanError as error:
        return {"error": str(error)}, []
    pictures = [np.ascontiguousarray(picture) for picture in scan.pictures]
    shapes = [picture.shape for picture in pictures]
    return {"shapes": shapes, "total": scan.total, "window": scan.window, "notes": scan.notes}, pictures


if __name__ == "__main__":
    serve(_answer, memory=MEMORY)
