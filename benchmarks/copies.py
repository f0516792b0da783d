"""Which altered copies of real scans ``medclip cases check`` recognises: ``make bench-copies CASES=cases``.

Of 200 scans, drawn by seed 0, each copy is held against its original as the check would, and as ``query --distinct`` does, which
knows of archived scans their thumbnails alone; the shares that are found are printed. So is which pairs of two patients' scans
look the same by their thumbnails.
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
from medclip.modalities.scan.read import thumbnail as stored_thumbnail

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


def _stored(picture: GreyPicture) -> GreyPicture:
    """As an index gives it back."""
    with Image.open(io.BytesIO(stored_thumbnail(picture))) as jpeg:
        return thumbnail(np.asarray(jpeg.convert("L")))


def main(folder: Path) -> None:
    chance = np.random.default_rng(0)
    scans = [(case.patient, folder / scan.file) for case in read_cases(folder) for scan in case.scans]
    files = [file for _, file in scans]
    found: dict[str, list[tuple[bool, bool]]] = {}
    for number in chance.choice(len(files), min(SCANS, len(files)), replace=False):
        picture = read_scan(files[number]).middle
        for name, copy in copies(picture, chance):
            whole, kept = (
                bool(list(lookalikes([look(picture), look(copy)], ["one", "other"]))) for look in (thumbnail, _stored)
            )
            found.setdefault(name, []).append((whole, kept))
    for name, hits in found.items():
        checked, distinct = (sum(side) for side in zip(*hits, strict=True))
        print(f"{name}: {checked} of {len(hits)}, by thumbnails {distinct}")
    pairs = lookalikes([_stored(read_scan(file).middle) for file in files], [patient for patient, _ in scans])
    told = [f"{files[one].name} and {files[other].name}" for one, other in pairs]
    print(f"of two patients, by thumbnails: {', '.join(told) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
