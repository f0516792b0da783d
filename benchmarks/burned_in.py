"""How many diagnosis words burnt into real scans ``medclip cases check --burned-in`` finds: ``make bench-burned-in CASES=cases``.

Into each of 160 scans, drawn by seed 0, a word that names its diagnosis is written: 12 to 28 pixels, white and grey, in a
corner and over the middle, where the anatomy is. Pillow's own font. The share that is found is printed, then what is said
of 160 others as they are, to be looked at, and the seconds that a scan takes.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medclip.cases import Case, read_cases
from medclip.cases.burned_in import identifiers_seen, labels_seen
from medclip.cases.case import Scan
from medclip.cases.disease_words import DiseaseWords, words_of_name
from medclip.modalities.scan.burned_in import read_burned_in
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.read import read_scan

SCANS = 160
SIZES = (12, 16, 20, 28)  # pixels of the font
GREYS = {"white": 255, "grey": 160}
PLACES = ("in a corner", "over the middle")


def _written(
    picture: GreyPicture, word: str, size: int, grey: int, corner: bool, chance: np.random.Generator
) -> GreyPicture | None:
    """The picture with a word on it; None where it has no room."""
    image, font = Image.fromarray(picture), ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    room = np.array([image.width - (right - left) - 8, image.height - (bottom - top) - 8])
    if room.min() < 0:
        return None
    share = chance.integers(0, 2, 2) if corner else chance.uniform(0.35, 0.65, 2)
    x, y = 4 + share * room
    draw.text((float(x) - left, float(y) - top), word, fill=grey, font=font)
    return np.asarray(image)


def _names_itself(case: Case, scan: Scan, pictures: ScanPictures) -> bool:
    lines = read_burned_in(Path(scan.file), pictures)
    return any(seen.kind == "diagnosis" for seen in labels_seen(case, scan, lines))


def planted(rows: Iterator[tuple[Case, Scan]], folder: Path, chance: np.random.Generator) -> None:
    """Print which words are found."""
    found: dict[str, list[bool]] = defaultdict(list)
    for size, (colour, grey), place in list(product(SIZES, GREYS.items(), PLACES)) * (SCANS // 16):
        for case, scan in rows:
            disease = DiseaseWords(case.outcome.diagnosis or "")
            word = next((one for one in words_of_name(case.outcome.diagnosis or "") if disease.names(one)), None)
            picture = read_scan(folder / scan.file).middle
            if word is None:
                continue
            cased = word.upper() if chance.random() < 0.5 else word
            altered = _written(picture, cased, size, grey, place == PLACES[0], chance)
            if altered is None:
                continue
            hit = _names_itself(case, scan, ScanPictures((altered,), 1))
            for name in ("all", f"{size} pixels", colour, place, f"{size} pixels, {place}"):
                found[name].append(hit)
            break
    for name, hits in sorted(found.items()):
        print(f"planted, {name}: found {sum(hits)} of {len(hits)}")


def untouched(rows: Iterator[tuple[Case, Scan]], folder: Path) -> None:
    """Print what is said of scans as they are."""
    kinds: Counter[str] = Counter()
    scans, seconds = 0, 0.0
    for case, scan in rows:
        pictures = read_scan(folder / scan.file)
        began = time.monotonic()
        lines = read_burned_in(Path(scan.file), pictures)
        seconds += time.monotonic() - began
        scans += 1
        labels = list(labels_seen(case, scan, lines))
        kinds.update({f"label: {seen.kind}" for seen in labels})
        kinds.update({f"identifier: {seen.kind}" for seen in identifiers_seen(lines)})
        for seen in labels:
            print(f"as it is: {case.id}, {scan.file}, {seen.place}: its {seen.kind}")
    print(f"as they are: {scans} scans, {seconds / max(scans, 1):.2f} s each to look for words")
    for kind, count in kinds.most_common():
        print(f"as they are, {kind}: {count} scans")


def main(folder: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [(case, scan) for case in read_cases(folder) for scan in case.scans]
    order = chance.permutation(len(rows))
    planted((rows[at] for at in order), folder, chance)
    untouched((rows[at] for at in order[::-1][:SCANS]), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
