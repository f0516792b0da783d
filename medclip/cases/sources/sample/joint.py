"""A synthetic cohort whose label no two modalities give: the proof that a fuser fuses.

The scan shows a head or an abdomen, the history tells of a fall or of a fever, the temperature is normal or high. The
label ``course`` is the parity of the three, all eight combinations being equally frequent: whoever knows only two of
them knows nothing. Every case is marked synthetic, and so is every picture.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medclip.cases.case import Case, Measurement, Note, Outcome, Scan
from medclip.cases.sources.base import Draft, Options, Skipped
from medclip.cases.sources.sample.phantoms import Anatomy, Region, draw

NAME = "sample-joint"
NEEDS_PATH = False
OPTIONS = frozenset({"seed"})

COUNT = 320

_REGIONS: tuple[Region, Region] = ("head CT", "abdomen CT")
_CAPTIONS = (("Axial CT of the head.", "Unenhanced head CT."), ("Axial CT of the abdomen.", "Abdominal CT."))
_HISTORIES = (
    ("A fall from a ladder two days ago.", "Fell down the stairs yesterday.", "Slipped on ice and fell this morning."),
    ("Shivering and sweats for a week.", "Feels unwell, with chills at night.", "Chills and loss of appetite."),
)
_TEMPERATURES = (36.7, 39.3)
_COURSES = ("short", "long")


def draft(path: Path | None, options: Options) -> Iterator[Draft | Skipped]:  # noqa: ARG001
    """Yield `COUNT` cases, each a patient's own; every fourth is for dev."""
    rng = np.random.default_rng(options.seed)
    for number in range(COUNT):
        case_id = f"joint-{number + 1:03d}"
        block, dev = divmod(number, 4)  # one of four is for dev; both sides go through all eight combinations
        combination = block if dev == 3 else 3 * block + dev
        place, told, warm = (combination >> bit & 1 for bit in range(3))
        file = f"scans/{case_id}.png"
        captions, histories = _CAPTIONS[place], _HISTORIES[told]
        caption = captions[int(rng.integers(len(captions)))]
        history = histories[int(rng.integers(len(histories)))]
        value = round(_TEMPERATURES[warm] + float(rng.normal(0, 0.2)), 1)
        course = _COURSES[(place + told + warm) % 2]
        yield Draft(
            Case(
                id=case_id,
                patient=case_id,
                scans=(Scan(file=file, modality="CT", caption=caption),),
                notes=(Note(kind="history", text=history),),
                measurements=(Measurement(name="temperature", value=value, unit="Cel"),),
                labels={"course": course},
                outcome=Outcome(diagnosis=f"{course} course", confirmed_by="drawn by the program"),
                split="dev" if dev == 3 else "train",
                source=NAME,
                synthetic=True,
            ),
            {file: draw(_REGIONS[place], "none", Anatomy.of(rng), rng)},
        )
