"""What is in a cases folder, and what is wrong with it."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclip.cases.burned_in import labels_seen
from medclip.cases.case import Case, Scan
from medclip.cases.check_report import CheckReport, Problem
from medclip.cases.lookalikes import lookalikes, thumbnail
from medclip.cases.manifest import BadLine, scan_manifest
from medclip.cases.masking import is_masked, left_standing, name_spans
from medclip.cases.privacy.folder import look_for_leaks
from medclip.errors import CaseError, ScanError
from medclip.files.plain import digest_of
from medclip.label_sets import class_name, is_verified
from medclip.modalities.measurements.shared_units import left_out, units_of
from medclip.modalities.scan.burned_in import need_reader, read_burned_in
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.read import read_scan

__all__ = ["CheckReport", "Problem", "check_cases", "check_privacy"]

_ONE_PATIENT = "give the cases one patient if it is one, or leave one out"
_MASK = "medclip cases mask  takes it out (a class of one plain word with --word)"
_RARE = 5  # patients; below it a class can neither be voted on nor measured


@dataclass
class _Seen:
    """What reading every scan found."""

    unreadable: list[str] = field(default_factory=list)
    first_fault: str = ""
    owners: list[Case] = field(default_factory=list)  # of each scan that was read
    digests: list[str] = field(default_factory=list)
    thumbnails: list[GreyPicture] = field(default_factory=list)
    unsearched: list[str] = field(default_factory=list)  # cases with a scan in which they could not be
    first_unsearched: str = ""
    burned_in: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Label set, or "diagnosis" → (case id, place) of each line of words that says it."""

    def look_into(self, case: Case, scan: Scan, read: ScanPictures) -> None:
        """Look for words that are burnt into a scan."""
        try:
            lines = read_burned_in(Path(scan.file), read)
        except ScanError as error:
            self.unsearched.append(case.id)
            self.first_unsearched = self.first_unsearched or str(error)
            return
        for said in labels_seen(case, scan, lines):
            self.burned_in[said.kind].append((case.id, f"{scan.file}: {said.place}"))


def _read_all(cases: Sequence[Case], folder: Path, progress: Callable[[str], None], burned_in: bool) -> _Seen:
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
            seen.thumbnails.append(thumbnail(read.middle))
            if burned_in:
                seen.look_into(case, scan, read)
    return seen


def _ids(cases: Iterable[str]) -> list[str]:
    return sorted(set(cases))


def _duplicates(seen: _Seen) -> list[Problem]:
    exact: set[str] = set()
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
    found = []
    if across:
        found.append(
            Problem(
                "duplicate-across-patients", "error", f"the same scan under two patients: {_ONE_PATIENT}", _ids(across)
            )
        )
    if exact - across:
        found.append(Problem("duplicate", "warning", "the same scan twice for one patient", _ids(exact - across)))
    return [*found, *_near(seen)]


def _split_of(case: Case) -> str:
    """The split that a case counts to: one that names none is learnt from (`medclip.cases.splits`)."""
    return case.split or "train"


def _near(seen: _Seen) -> list[Problem]:
    """Scans of two patients that are no exact copies and look the same: between two splits, and otherwise.

    A program's phantoms, which all look alike, are not held against each other.
    """
    between: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for pair in lookalikes(seen.thumbnails, [owner.patient for owner in seen.owners]):
        one, other = sorted((seen.owners[pair.one], seen.owners[pair.other]), key=lambda case: case.id)
        if seen.digests[pair.one] != seen.digests[pair.other] and not (one.synthetic and other.synthetic):
            between[_split_of(one) != _split_of(other)].add((one.id, other.id))
    named = {True: ("near-duplicate-across-splits", " in two splits"), False: ("near-duplicate", "")}
    return [
        Problem(
            kind,
            "warning",
            f"nearly the same scan under two patients{where}: look at each pair, and {_ONE_PATIENT}",
            _ids(case_id for pair in between[splits] for case_id in pair),
            sorted(between[splits]),
        )
        for splits, (kind, where) in named.items()
        if between[splits]
    ]


def _splits(cases: Sequence[Case]) -> list[Problem]:
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split:
            splits[case.patient].add(case.split)
    ids = _ids(case.id for case in cases if len(splits[case.patient]) > 1)
    return (
        [Problem("patient-in-two-splits", "error", "a patient with cases in two splits: give all of them one", ids)]
        if ids
        else []
    )


def _label_words(cases: Sequence[Case]) -> list[Problem]:
    """Cases whose embedded text says the class (or the diagnosis) that it should be asked for."""
    spoken: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        history = case.note_text("history")
        named = {**case.case_labels, **({"diagnosis": case.outcome.diagnosis} if case.outcome.diagnosis else {})}
        for label_set, stated in named.items():
            if not is_verified(label_set):
                continue
            if any(name_spans(history, class_name(label_set, stated))):
                spoken[label_set].append(case.id)
    return [
        Problem("label-in-text", "warning", f"the history names the case's {label_set}: {_MASK}", _ids(ids))
        for label_set, ids in sorted(spoken.items())
    ]


def _burned_in(seen: _Seen) -> list[Problem]:
    """Scans that say the class (or the diagnosis) that they should be asked for."""
    found = [
        Problem(
            "label-in-pixels",
            "warning",
            f"words burnt into a scan name its {label_set}: look at each, and blacken them or leave the scan out",
            _ids(case_id for case_id, _ in where),
            places=list(dict.fromkeys(place for _, place in where)),
        )
        for label_set, where in sorted(seen.burned_in.items())
    ]
    if seen.unsearched:
        message = f"burnt-in words could not be looked for: {seen.first_unsearched}"
        found.append(Problem("unsearched-scan", "error", message, _ids(seen.unsearched)))
    return found


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


def _report(
    cases: Sequence[Case],
    label_sets: dict[str, dict[str, int]],
    problems: Sequence[Problem],
    burned_in: bool,
) -> CheckReport:
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
        burned_in=burned_in,
    )


def check_privacy(
    folder: Path, *, burned_in: bool = False, progress: Callable[[str], None] = lambda _: None
) -> CheckReport:
    """Look in a cases folder for what may identify a person; nothing that is found is quoted, and no label is named.

    A recorded voice is a warning, since no recording is without, and so are words read from pixels, which may be read
    wrongly; all else is an error.

    Args:
        burned_in: look for words that are burnt into the scans, too.

    Raises:
        CaseError: the manifest is missing, cannot be read, or holds no line at all.
        MissingDependencyError: words are to be looked for, and the extra ``ocr`` is not installed.
    """
    cases, bad = _read(folder)
    problems = [
        Problem(
            f"privacy-{leak.kind}",
            "warning" if leak.unsure else "error",
            leak.message,
            leak.found_in,
            places=leak.places,
        )
        for leak in look_for_leaks(folder, cases, burned_in=burned_in, progress=progress)
    ]
    if bad:
        lines = [f"line {one.number}" for one in bad]
        problems.append(Problem("bad-line", "error", "no valid case, so not looked at", lines))
    return _report(cases, {}, problems, burned_in)


def check_cases(
    folder: Path, *, burned_in: bool = False, progress: Callable[[str], None] = lambda _: None
) -> CheckReport:
    """Read a cases folder whole, every scan too.

    Args:
        burned_in: look for words that are burnt into the scans, which takes about a second each.

    Raises:
        CaseError: the manifest is missing, cannot be read, or holds no line at all.
        MissingDependencyError: words are to be looked for, and the extra ``ocr`` is not installed.
    """
    if burned_in:
        need_reader()
    cases, bad = _read(folder)
    problems = [Problem("bad-line", "error", f"line {b.number}: {b.problem}", [f"line {b.number}"]) for b in bad]
    seen = _read_all(cases, folder, progress, burned_in)
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
    problems += [*_burned_in(seen), *_left_standing(cases, folder), *rare]
    return _report(cases, label_sets, problems, burned_in)
