"""``python -m medclip.modalities.scan.burned_in_worker``: the process that reads words for `burned_in.py`."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rapidocr

from medclip.modalities.decoder import CONTENT, Answer, Progress, serve
from medclip.modalities.scan.burned_in import MEMORY

__all__: list[str] = []

_LEAST_SIDE = 544
"""Pixels to which the shorter side of a smaller picture is enlarged. Of 24 words of 12 to 28 pixels planted in MedPix, 23
were read at 544 and at the library's own 736, which takes 1.8 times as long, 22 at 480."""

_MOST_SIDE = 1600
"""Pixels to which the longer side of a larger picture is reduced."""


_THREADS = 4  # at most: each takes address space


@cache
def _reader() -> rapidocr.RapidOCR:
    """Its models named by their files, or it might fetch others."""
    models = Path(rapidocr.__file__).parent / "models"
    detection, recognition = (sorted(models.glob(f"*_{kind}_*.onnx"))[0] for kind in ("det", "rec"))
    return rapidocr.RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": min(_THREADS, os.cpu_count() or 1),
            "Global.log_level": "critical",
            "Global.max_side_len": _MOST_SIDE,
            "Global.use_cls": False,  # tells words that stand on their head
            "Det.model_path": str(detection),
            "Det.limit_side_len": _LEAST_SIDE,
            "Det.limit_type": "min",
            "Rec.model_path": str(recognition),
        }
    )


def _answer(request: dict[str, Any], _progress: Progress) -> Answer:
    high, wide = request["shape"]
    picture = np.frombuffer(request[CONTENT][0], np.uint8).reshape(high, wide)
    try:
        found = _reader()(np.repeat(picture[:, :, None], 3, axis=2))
    except MemoryError:
        return {"error": f"needs over {MEMORY >> 20} MiB of memory"}, []
    except Exception as error:  # noqa: BLE001 (OpenCV and onnxruntime raise errors of many kinds)
        return {"error": type(error).__name__}, []
    if found.boxes is None or found.txts is None:
        return {"lines": []}, []
    centres = np.asarray(found.boxes, np.float64).mean(axis=1) / (wide, high)
    return {"lines": [(text, *centre) for text, centre in zip(found.txts, centres.tolist(), strict=True)]}, []


if __name__ == "__main__":
    serve(_answer, memory=MEMORY, worn=MEMORY)
