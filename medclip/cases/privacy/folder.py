"""What still looks like an identifier in a cases folder: counted by kind and place, never quoted."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclip.cases.burned_in import Seen, identifiers_seen
from medclip.cases.case import Case, Scan
from medclip.cases.deidentify import OLDEST
from medclip.cases.manifest import MANIFEST
from medclip.cases.privacy.files import kinds_in_file, kinds_in_text
from medclip.errors import ScanError
from medclip.modalities.scan.burned_in import need_reader, read_burned_in
from medclip.modalities.scan.pictures import MOST_PIXELS
from medclip.modalities.scan.read import read_scan

__all__ = ["PIXELS", "Leak", "look_for_leaks"]

KINDS = {
    "name": "names of people",
    "date": "dates",
    "number": "record or serial numbers",
    "contact": "phone numbers, mail or net addresses",
    "address": "postal addresses",
    "place": "names of institutions",
    "age": f"ages over {OLDEST - 1}",
    "uid": "UIDs",
    "time": "times of day",
    "phrase": "occupation, religion or the like",
    "code": "codes of people or places",
    "private": "private DICOM elements",
    "pixels": "words burnt into the pixels",
    "voice": "recorded voices",
    "comment": "comments in free words",
    "large": f"pictures of over {MOST_PIXELS // 10**6} million pixels, too large to look into,",
    "unreadable": "files that cannot be read",
}
PIXELS = "words burnt into scans"

_HASHED = re.compile(r"(?:case|patient)-[0-9a-f]{16}(?![0-9a-f])|-[0-9a-f]{8}(?=\.\w+$)")
_LONG_NUMBER = re.compile(r"\d{6,}|(?:mrn|pid|pat(?:ient)?id|acc(?:ession)?|ssn|nhs)[-_ ]?\d{4,}", re.IGNORECASE)


@dataclass(frozen=True)
class Leak:
    """One kind of identifier in one kind of place."""

    kind: str  # a key of `KINDS`
    place: str  # "texts", "labels and facts", "ids", "file names", "metadata of scans", `PIXELS`, "recordings" or "other files"
    count: int
    found_in: list[str]  # case ids; "case 12" (counted from 1) where the id itself may identify; names of other files
    places: list[str] = field(default_factory=list)  # in pixels: scan and part of its picture

    @property
    def message(self) -> str:
        return f"{KINDS[self.kind]} in {self.place}: {self.count}"

    @property
    def unsure(self) -> bool:
        """Whether it is for the user to judge: no recording is without a voice, and pixels may be read wrongly."""
        return self.kind == "voice" or (self.place == PIXELS and self.kind != "unreadable")


def _in_name(name: str) -> Iterator[str]:
    """The kinds in an id or a file's name, its hashes aside; six digits in a row, or four after a cue, are a number."""
    bare = _HASHED.sub("", name)
    kinds = list(kinds_in_text(re.sub(r"[_+]", " ", bare)))
    yield from kinds or (["number"] if _LONG_NUMBER.search(bare) else [])


def _texts(case: Case) -> Iterator[str]:
    yield from (note.text for note in case.notes)
    yield from (scan.caption for scan in case.scans if scan.caption)
    yield from (recording.transcript for recording in case.recordings if recording.transcript)
    yield from (value for value in case.outcome.model_dump().values() if value)


def _labels(case: Case) -> Iterator[str]:
    for labels in (case.labels, *(scan.labels for scan in case.scans)):
        yield from (text for label in labels.items() for text in label)
    yield from (value for scan in case.scans for value in (scan.plane, scan.window) if value)
    yield from (f"{measurement.name} {measurement.unit}" for measurement in case.measurements)


def _files(case: Case) -> list[str]:
    return [*(scan.file for scan in case.scans), *(recording.file for recording in case.recordings)]


def _in_case(case: Case, folder: Path) -> Iterator[tuple[str, str]]:
    """(kind, place) of everything in a case and its files."""
    yield from (("texts", kind) for text in _texts(case) for kind in kinds_in_text(text))
    yield from (("labels and facts", kind) for text in _labels(case) for kind in kinds_in_text(text))
    yield from (("ids", kind) for one in {case.id, case.patient} for kind in _in_name(one))
    if case.age is not None and case.age > OLDEST:
        yield "labels and facts", "age"
    for file in _files(case):
        yield from (("file names", kind) for kind in _in_name(file))
    for scan in case.scans:
        yield from (("metadata of scans", kind) for kind in _in_file(folder / scan.file))
    yield from (("recordings", "voice") for _ in case.recordings)


def _in_file(path: Path) -> Sequence[str]:
    try:
        return kinds_in_file(path)
    except Exception:  # noqa: BLE001 (whatever a library makes of a damaged file)
        return ["unreadable"]


def _burned_in(folder: Path, scan: Scan) -> Sequence[Seen]:
    """What looks like an identifier in the words that are burnt into a scan."""
    file = folder / scan.file
    try:
        return list(identifiers_seen(read_burned_in(file, read_scan(file))))
    except ScanError:
        return [Seen("unreadable", "all of it")]


def _others(folder: Path, cases: Sequence[Case]) -> Iterator[Path]:
    """The files in a folder that its manifest does not name."""
    named = {file for case in cases for file in _files(case)}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and str(path.relative_to(folder)) not in {MANIFEST, *named}:
            yield path


def _shown(name: str, instead: str) -> str:
    return instead if any(_in_name(name)) else name


def look_for_leaks(
    folder: Path,
    cases: Sequence[Case],
    *,
    burned_in: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Leak]:
    """Look at every text, label, id, file name, header and tag of a cases folder, and at files beside its manifest.

    No sound is looked at, nor a pixel without `burned_in`; a name that no title, cue or header gives away is not seen.

    Args:
        burned_in: look for words that are burnt into the scans, too, which takes about a second each.

    Raises:
        MissingDependencyError: with `burned_in`, where the extra ``ocr`` is not installed.
    """
    if burned_in:
        need_reader()
    places: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    counts: Counter[tuple[str, str]] = Counter()
    found_in: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def note(where: str, found: Iterable[tuple[str, str]]) -> None:
        for place, kind in found:
            counts[place, kind] += 1
            found_in[place, kind][where] = None

    for number, case in enumerate(cases, start=1):
        progress(_shown(case.id, f"case {number}"))
        note(_shown(case.id, f"case {number}"), _in_case(case, folder))
        for scan in case.scans if burned_in else ():
            for seen in _burned_in(folder, scan):
                note(_shown(case.id, f"case {number}"), [(PIXELS, seen.kind)])
                places[PIXELS, seen.kind][f"{_shown(scan.file, f'a scan of case {number}')}: {seen.place}"] = None
    for path in _others(folder, cases):
        name = str(path.relative_to(folder))
        note(
            _shown(name, "a file whose name identifies"),
            (("other files", kind) for kind in [*_in_name(name), *_in_file(path)]),
        )
    return [
        Leak(kind, place, counts[place, kind], list(found_in[place, kind]), list(places[place, kind]))
        for place, kind in sorted(counts)
    ]
