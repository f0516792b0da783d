"""Which altered copies of real scans ``medclip cases check`` recognises: ``make bench-copies CASES=cases``.

Of 200 scans, drawn by seed 0, each copy is held against its original as the check would; the share that is found is printed.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from medclip.cases import read_cases
from medclip.cases.lookalikes import lookalikes, thumbnail
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.read import read_scan

SCANS = 200


def _cropped(picture: GreyPicture, left: float, top: float, right: float, bottom: float) -> GreyPicture:
    high, wide = picture.shape
    return picture[int(top * high) : high - int(bottom * high), int(left * wide) : wide - int(right * wide)]


def copies(picture: GreyPicture, chance: np.random.Generator) -> Iterator[tuple[str, GreyPicture]]:
    """(what was done, the copy)."""
    image = Image.fromarray(picture)
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=50)
    yield "JPEG of quality 50", np.asarray(Image.open(stored))
    yield "half the size", np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC))
    yield "30 grey levels brighter", np.asarray(np.clip(picture.astype(int) + 30, 0, 255), np.uint8)
    yield "1.3 times as bright", np.asarray(np.clip(picture * 1.3, 0, 255), np.uint8)
    yield "gamma 0.7", np.asarray(255 * (picture / 255) ** 0.7, np.uint8)
    yield "2 % off each side", _cropped(picture, 0.02, 0.02, 0.02, 0.02)
    yield "4 % off each side", _cropped(picture, 0.04, 0.04, 0.04, 0.04)
    yield "5 % off two sides", _cropped(picture, 0.05, 0.05, 0, 0)
    yield "0 to 5 % off each side, by chance", _cropped(picture, *chance.uniform(0, 0.05, 4))


def main(folder: Path) -> None:
    chance = np.random.default_rng(0)
    files = [folder / scan.file for case in read_cases(folder) for scan in case.scans]
    found: dict[str, list[bool]] = {}
    for number in chance.choice(len(files), min(SCANS, len(files)), replace=False):
        picture = read_scan(files[number]).middle
        for name, copy in copies(picture, chance):
            pairs = list(lookalikes([thumbnail(picture), thumbnail(copy)], ["one", "other"]))
            found.setdefault(name, []).append(bool(pairs))
    for name, hits in found.items():
        print(f"{name}: {sum(hits)} of {len(hits)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
