"""What is in a cases folder, and what is wrong with it."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip.cases.case import Case
from medclip.cases.manifest import BadLine, scan_manifest
from medclip.cases.masking import is_masked, left_standing
from medclip.cases.privacy.folder import look_for_leaks
from medclip.errors import CaseError, ScanError
from medclip.files.plain import digest_of
from medclip.label_sets import family_of, is_verified
from medclip.modalities.measurements.shared_units import left_out, units_of
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.read import read_scan

__all__ = ["CheckReport", "Problem", "check_cases", "check_privacy"]

Severity = Literal["error", "warning"]

_NEAR_DISTANCE = (
    0.008  # mean absolute grey difference (0..1) of 32 × 32 thumbnails, below which two scans look the same
)
_RARE = 5  # patients; below it a class can neither be voted on nor measured


@dataclass(frozen=True)
class Problem:
    """One kind of fault and the cases that have it."""

    kind: str
    severity: Severity  # an error makes the check fail; a warning is for the user to judge
    message: str
    case_ids: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.case_ids)


@dataclass(frozen=True)
class CheckReport:
    """Counts, label sets and problems of a cases folder."""

    cases: int
    patients: int
    scans: int
    synthetic: int
    with_text: dict[str, int]
    splits: dict[str, int]
    label_sets: dict[str, dict[str, int]]  # label set → class → cases (a case counts once a class)
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


def _signature(picture: GreyPicture) -> NDArray[np.float32]:
    """(1024,) thumbnail on a 0..1 scale, stretched to its own range so that exposure does not matter."""
    small = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX), np.float32).ravel()
    spread = float(small.max() - small.min())
    return np.asarray((small - small.min()) / (spread if spread else 1.0), np.float32)


def _near_pairs(signatures: NDArray[np.float32]) -> Iterable[tuple[int, int]]:
    """Pairs i < j whose mean absolute difference is below `_NEAR_DISTANCE`, one block of rows at a time.

    A Euclidean bound (mean|a-b| ≤ rms(a-b)) would miss none but needs a looser cut; here candidates come from the
    squared distance by matrix product, and each is then measured exactly.
    """
    squares = np.einsum("ij,ij->i", signatures, signatures)
    size = signatures.shape[1]
    candidate = size * (4 * _NEAR_DISTANCE) ** 2
    for start in range(0, len(signatures), 512):
        block = signatures[start : start + 512]
        d2 = squares[start : start + 512, None] + squares[None] - 2 * block @ signatures.T
        for i, j in np.argwhere(d2 < candidate):
            a, b = start + int(i), int(j)
            if a < b and float(np.abs(signatures[a] - signatures[b]).mean()) < _NEAR_DISTANCE:
                yield a, b


@dataclass
class _Seen:
    """What reading every scan found."""

    unreadable: list[str] = field(default_factory=list)
    first_fault: str = ""
    owners: list[Case] = field(default_factory=list)  # of each scan that was read
    digests: list[str] = field(default_factory=list)
    signatures: list[NDArray[np.float32]] = field(default_factory=list)


def _read_all(cases: Sequence[Case], folder: Path, progress: Callable[[str], None]) -> _Seen:
    seen = _Seen()
    for case in cases:
        progress(case.id)
        for scan in case.scans:
            try:
                read = read_scan(folder / scan.file)
            except ScanError as error:
                seen.unreadable.append(case.id)
                seen.first_fault = seen.first_fault or str(error)
                continue
            seen.owners.append(case)
            digest = hashlib.sha256()
            for picture in read.pictures:
                digest.update(picture.tobytes() + str(picture.shape).encode())
            seen.digests.append(digest.hexdigest())
            seen.signatures.append(_signature(read.middle))
    return seen


def _ids(cases: Iterable[str]) -> list[str]:
    return sorted(set(cases))


def _duplicates(seen: _Seen) -> list[Problem]:
    exact: set[str] = set()
    near: set[str] = set()
    across: set[str] = set()  # the same picture under two patients: one of them is a leak in every split
    by_digest: dict[str, list[Case]] = defaultdict(list)
    for digest, owner in zip(seen.digests, seen.owners, strict=True):
        by_digest[digest].append(owner)
    for owners in by_digest.values():
        if len(owners) > 1:
            ids = {owner.id for owner in owners}
            exact |= ids
            if len({owner.patient for owner in owners}) > 1:
                across |= ids
    if seen.signatures:
        for a, b in _near_pairs(np.stack(seen.signatures)):
            one, other = seen.owners[a], seen.owners[b]
            if one.patient != other.patient and seen.digests[a] != seen.digests[b]:
                near |= {one.id, other.id}
    found = []
    if across:
        found.append(Problem("duplicate-across-patients", "error", "the same scan under two patients", _ids(across)))
    if exact - across:
        found.append(Problem("duplicate", "warning", "the same scan twice for one patient", _ids(exact - across)))
    if near:
        found.append(Problem("near-duplicate", "warning", "nearly the same scan under two patients", _ids(near)))
    return found


def _splits(cases: Sequence[Case]) -> list[Problem]:
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split:
            splits[case.patient].add(case.split)
    ids = _ids(case.id for case in cases if len(splits[case.patient]) > 1)
    return [Problem("patient-in-two-splits", "error", "a patient with cases in two splits", ids)] if ids else []


def _label_words(cases: Sequence[Case]) -> list[Problem]:
    """Cases whose embedded text says the class (or the diagnosis) that it should be asked for."""
    spoken: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        history = case.note_text("history").lower()
        named = {**case.case_labels, **({"diagnosis": case.outcome.diagnosis} if case.outcome.diagnosis else {})}
        for label_set, stated in named.items():
            if not is_verified(label_set):
                continue
            value = label_set.partition("/")[2] if family_of(label_set) else stated
            if len(value) > 2 and re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", history):
                spoken[label_set].append(case.id)
    return [
        Problem("label-in-text", "warning", f"the history names the case's {label_set}", _ids(ids))
        for label_set, ids in sorted(spoken.items())
    ]


def _left_standing(cases: Sequence[Case], folder: Path) -> list[Problem]:
    """Cases of a masked folder whose texts say their diagnosis all the same."""
    if not is_masked(folder):
        return []
    ids = _ids(case.id for case in cases if left_standing(case))
    message = "a text of a masked case says its diagnosis; mask the folder again with  medclip cases mask"
    return [Problem("diagnosis-in-masked-text", "error", message, ids)] if ids else []


def _recordings(cases: Sequence[Case], folder: Path) -> list[Problem]:
    """Recordings that are missing, not yet transcribed, or not those that were."""
    missing, silent, changed = [], [], []
    for case in cases:
        for recording in case.recordings:
            file = folder / recording.file
            if not file.is_file():
                missing.append(case.id)
            elif recording.transcript is None:
                silent.append(case.id)
            elif digest_of(file) != recording.sha256:
                changed.append(case.id)
    found = [
        Problem("missing-recording", "error", "a recording is not there", _ids(missing)),
        Problem("changed-recording", "error", "a recording is not the one that was transcribed", _ids(changed)),
        Problem("no-transcript", "warning", "a recording is not transcribed: medclip cases transcribe", _ids(silent)),
    ]
    return [problem for problem in found if problem.count]


def _units(cases: Sequence[Case]) -> list[Problem]:
    """Measurements whose unit cannot be converted to that of the others of their name, so that no model learns of them."""
    return [
        Problem("other-unit", "warning", str(found), _ids(found.case_ids)) for found in left_out(cases, units_of(cases))
    ]


def _classes(cases: Sequence[Case]) -> tuple[dict[str, dict[str, int]], list[Problem]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        pairs = set(case.labels.items()) | {pair for scan in case.scans for pair in scan.labels.items()}
        for label_set, value in pairs:
            counts[label_set][value] += 1
            patients[label_set, value].add(case.patient)
            holders[label_set, value].append(case.id)
    problems = []
    for label_set, classes in sorted(counts.items()):
        if len(classes) < 2:
            problems.append(Problem("one-class", "warning", f"label set {label_set} has a single class", []))
        for value in sorted(classes):
            n = len(patients[label_set, value])
            if n < _RARE:
                message = f"class {value!r} of {label_set} has {n} patient{'s' if n > 1 else ''}, too few to vote on"
                problems.append(Problem("rare-class", "warning", message, _ids(holders[label_set, value])))
    return {k: dict(c.most_common()) for k, c in sorted(counts.items())}, problems


def _read(folder: Path) -> tuple[list[Case], list[BadLine]]:
    cases: list[Case] = []
    bad: list[BadLine] = []
    for item in scan_manifest(folder):
        if isinstance(item, BadLine):
            bad.append(item)
        else:
            cases.append(item)
    if not cases and not bad:
        raise CaseError(f"{folder}: its cases.jsonl holds no case; import some with  medclip cases import")
    return cases, bad


def _report(cases: Sequence[Case], label_sets: dict[str, dict[str, int]], problems: Sequence[Problem]) -> CheckReport:
    return CheckReport(
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        scans=sum(len(case.scans) for case in cases),
        synthetic=sum(case.synthetic for case in cases),
        with_text={
            "history": sum(bool(case.note_text("history")) for case in cases),
            "findings": sum(bool(case.note_text("findings")) for case in cases),
            "captions": sum(any(scan.caption for scan in case.scans) for case in cases),
        },
        splits=dict(Counter(case.split or "none" for case in cases).most_common()),
        label_sets=label_sets,
        problems=sorted(problems, key=lambda p: p.severity),
    )


def check_privacy(folder: Path, *, progress: Callable[[str], None] = lambda _: None) -> CheckReport:
    """Look in a cases folder for what may identify a person; nothing that is found is quoted, and no label is named.

    A recorded voice is a warning, since no recording is without; all else is an error.

    Raises:
        CaseError: the manifest is missing, cannot be read, or holds no line at all.
    """
    cases, bad = _read(folder)
    problems = [
        Problem(f"privacy-{leak.kind}", "warning" if leak.kind == "voice" else "error", leak.message, leak.found_in)
        for leak in look_for_leaks(folder, cases, progress=progress)
    ]
    if bad:
        lines = [f"line {one.number}" for one in bad]
        problems.append(Problem("bad-line", "error", "no valid case, so not looked at", lines))
    return _report(cases, {}, problems)


def check_cases(folder: Path, *, progress: Callable[[str], None] = lambda _: None) -> CheckReport:
    """Read a cases folder whole, every scan too.

    Args:
        privacy: look for what may identify a person as well (`medclip.cases.privacy.folder`).

    Raises:
        CaseError: the manifest is missing, cannot be read, or holds no line at all.
    """
    cases, bad = _read(folder)
    problems = [Problem("bad-line", "error", f"line {b.number}: {b.problem}", [f"line {b.number}"]) for b in bad]
    seen = _read_all(cases, folder, progress)
    if seen.unreadable:
        problems.append(
            Problem(
                "unreadable-scan", "error", f"scan missing or unreadable: {seen.first_fault}", _ids(seen.unreadable)
            )
        )
    problems += _recordings(cases, folder)
    textless = _ids(case.id for case in cases if not case.note_text("history") and not case.report)
    if textless:
        problems.append(Problem("no-text", "warning", "no text: cannot train the alignment", textless))
    label_sets, rare = _classes(cases)
    problems += [*_duplicates(seen), *_splits(cases), *_label_words(cases), *_units(cases)]
    problems += [*_left_standing(cases, folder), *rare]
    return _report(cases, label_sets, problems)
