"""One trial: a fresh copy of a subject, damaged by its seed, given to the functions that the command line uses."""

import contextlib
import importlib.util
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mutations import mutate_bytes, mutate_export, mutate_file, reseal, resign
from subjects import Subjects

__all__ = ["KINDS", "Trial", "warm_up"]

_find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else _find_spec(name, package)
"""A workstation that only asks has no torch."""


@dataclass(frozen=True)
class Trial:
    """A subject, damaged in a place of its own; everything around the place is watched."""

    kind: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.number}"

    def prepare(self, subjects: Subjects, room: Path) -> Callable[[], bool]:
        """Lay the damaged copy into ``room/place``; what is returned reads it, and says whether it found no fault.

        Args:
            room: a new folder with ``place``, and ``beside`` for what links lead to.
        """
        rng = random.Random(f"{self.seed}:{self.kind}:{self.number}")
        return _PREPARE[self.kind](subjects, room, rng)


_VIEWED = 8 << 20  # bytes of a scan's slices


def _some(folder: Path, rng: random.Random) -> Path:
    return rng.choice([file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "writer.lock"])


def _scan(subjects: Subjects, room: Path, rng: random.Random) -> Callable[[], bool]:
    from medclip.modalities.scan.header import read_header
    from medclip.modalities.scan.read import read_scan, read_stack

    file = _some(subjects.scans, rng)
    damaged = room / "place" / file.name
    content = file.read_bytes()
    if rng.random() < 0.25 and file.suffix in (".dcm", ".nii", ".tif", ".bmp"):  # a size, somewhere in the header
        at, size = rng.randrange(min(len(content), 3000)), rng.choice((2, 4, 8))
        number = rng.choice((2**31 - 1, 2**15, 65_535, 2**16 - 1, 40_000, 2**63 - 1)) % 256**size
        content = content[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + content[at + size :]
        damaged.write_bytes(content)
    elif rng.random() < 0.05:
        damaged.write_bytes(content)
        mutate_file(damaged, room / "beside", rng)
    else:
        damaged.write_bytes(mutate_bytes(content, rng))
    series = file.suffix == ".dcm" and rng.random() < 0.1
    if series:
        for number in range(3):
            shutil.copy(file, room / "place" / f"{number}.dcm")

    viewed = rng.random() < 0.3

    def read() -> bool:
        if file.suffix == ".dcm" and damaged.is_file():
            with contextlib.suppress(Exception):  # whatever pydicom makes of it
                read_header(damaged)  # in its own process, as the importer does
        whole = room / "place" if series else damaged
        if viewed:
            read_stack(whole, _VIEWED)
        else:
            read_scan(whole)
        return True

    return read


def _cases(subjects: Subjects, room: Path, rng: random.Random) -> Callable[[], bool]:
    from medclip.archive.build import build_index
    from medclip.cases.check import check_cases
    from medclip.cases.importing import import_cases
    from medclip.cases.manifest import read_cases

    place = room / "place"
    if rng.random() < 0.25:
        shutil.copytree(subjects.source, place / "source")
        mutate_file(place / "source" / "cases.csv", room / "beside", rng)
        return lambda: bool(import_cases("folder", place / "source", place / "out").cases)
    shutil.copytree(subjects.cases, place / "cases")
    mutate_file(place / "cases" / "cases.jsonl", room / "beside", rng)
    if rng.random() < 0.8:
        return lambda: check_cases(place / "cases").ok

    def build() -> bool:
        build_index(read_cases(place / "cases"), place / "cases", subjects.bundle, place / "out", threads=1)
        return True

    return build


def _index(subjects: Subjects, room: Path, rng: random.Random) -> Callable[[], bool]:
    from medclip.archive.moving import back_up, export_index
    from medclip.archive.upkeep import change_cases, compact_index, remove_cases
    from medclip.archive.verify import verify_index
    from medclip.assistant.assistant import Assistant
    from medclip.cases.manifest import read_cases

    place = room / "place"
    folder = place / "index"
    shutil.copytree(subjects.index, folder)
    # each part of an index in equal parts, though the model has most of the files
    part = rng.choice([path for path in sorted(folder.iterdir()) if path.name != "writer.lock"])
    file = _some(part, rng) if part.is_dir() else part
    if file.name == "index.json" and rng.random() < 0.2:
        file = folder / "catalogue.sqlite" if (folder / "catalogue.sqlite").is_file() else file
    mutate_file(file, room / "beside", rng)
    if rng.random() < 0.5:
        if part.name == "model":
            resign(folder / "model")
        reseal(file)

    def query() -> bool:
        opened = Assistant.open(folder, threads=1)
        try:
            opened.query([subjects.cases / "scans" / "0.png"], ["a nodule of the lung"], {"temperature": 38.0})
            opened.query([], ["no effusion"], {}, where="age > 20 and label.finding = 'nodule'")
            opened.similar("c1")
            opened.capabilities()
            opened.coverage()
        finally:
            opened.index.close()
        return True

    def verify() -> bool:
        return not verify_index(folder).faults

    def repair() -> bool:
        return not verify_index(folder, repair=True).faults

    def remove() -> bool:
        return bool(remove_cases(folder, ["c3"], "p0").removed)

    def change() -> bool:
        return not change_cases(folder, read_cases(subjects.cases), subjects.cases, update=rng.random() < 0.5).left

    def export() -> bool:
        return bool(export_index(folder, place / "out.jsonl.gz"))

    def copy() -> bool:
        back_up(folder, place / "copy")
        return True

    def compact() -> bool:
        return bool(compact_index(folder))

    done: list[Callable[[], bool]] = [query, verify, repair, remove, change, export, copy, compact]
    return rng.choices(done, weights=(6, 4, 2, 3, 2, 2, 2, 1))[0]


def _export(subjects: Subjects, room: Path, rng: random.Random) -> Callable[[], bool]:
    from medclip.archive.build import Place
    from medclip.archive.moving import import_index

    file = room / "place" / "cases.jsonl.gz"
    file.write_bytes(subjects.export.read_bytes())
    if rng.random() < 0.05:
        mutate_file(file, room / "beside", rng)
    else:
        file.write_bytes(mutate_export(file.read_bytes(), rng))
    shutil.copytree(subjects.index, room / "place" / "index")
    return lambda: bool(import_index(file, room / "place" / "index", room / "place" / "out", Place()))


def _bundle(subjects: Subjects, room: Path, rng: random.Random) -> Callable[[], bool]:
    from medclip.archive.build import build_index
    from medclip.bundle.verify import verify_bundle
    from medclip.cases.manifest import read_cases

    place = room / "place"
    folder = place / "model"
    shutil.copytree(subjects.bundle, folder)
    mutate_file(_some(folder, rng), room / "beside", rng)
    if rng.random() < 0.6:
        resign(folder / "serving")

    def verify() -> bool:
        verify_bundle(folder)
        return True

    def build() -> bool:
        build_index(read_cases(subjects.cases)[:4], subjects.cases, folder, place / "out", threads=1)
        return True

    return verify if rng.random() < 0.7 else build


_PREPARE: dict[str, Callable[[Subjects, Path, random.Random], Callable[[], bool]]] = {
    "scan": _scan,
    "cases": _cases,
    "index": _index,
    "export": _export,
    "bundle": _bundle,
}
KINDS = tuple(_PREPARE)


def warm_up(subjects: Subjects, room: Path) -> None:
    """Load what every trial needs, so that none pays for it."""
    from medclip.assistant.assistant import Assistant
    from medclip.modalities.scan.read import read_scan

    opened = Assistant.open(shutil.copytree(subjects.index, room / "index"), threads=1)
    for scan in ("grey.png", "one.nii", "0-CT_small.dcm"):
        read_scan(subjects.scans / scan)
    opened.query([subjects.cases / "scans" / "0.png"], ["a nodule"], {})
    opened.index.close()
