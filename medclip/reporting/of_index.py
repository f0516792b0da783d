"""What an index says of its cases and answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from medclip.archive.entries import case_of
from medclip.archive.layout import PROBE, REPORT, fuser_of
from medclip.archive.verify import read_report
from medclip.cases.case import Case
from medclip.diagnosis.abstention import LEAST_PATIENTS, least_probability
from medclip.diagnosis.diagnoser import BALANCE, Diagnoser, Measured
from medclip.diagnosis.folds import FOLDS
from medclip.diagnosis.store import load_diagnosers
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable
from medclip.fusion.composition import PARTS
from medclip.index import CaseIndex
from medclip.label_sets import is_verified
from medclip.metrics.probabilities import interval
from medclip.reporting.known import Known

__all__ = ["known_of_index"]

_CASES, _PROBE, _BUILD = "INDEX, its cases", "INDEX/probe/diagnosers.json", "INDEX/build-report.json"


@dataclass
class _Counted:
    """What one pass over the cases counts."""

    patients: set[str] = field(default_factory=set)
    ages: list[float] = field(default_factory=list)  # years
    kinds: Counter[str] = field(default_factory=Counter)  # what sort of case or scan it is → how many
    without: Counter[str] = field(default_factory=Counter)  # what a case lacks → cases
    sexes: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)  # of scans
    sources: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # label set → class → cases

    def add(self, case: Case) -> None:
        self.patients.add(case.patient)
        self.kinds.update(cases=1, scans=len(case.scans), synthetic=int(case.synthetic))
        self.sources[case.source or "unknown"] += 1
        self.modalities.update(scan.modality or "unknown" for scan in case.scans)
        self.sexes[case.sex or "unknown"] += 1
        if case.age is not None:
            self.ages.append(case.age)
        there = {
            "scan": case.scans,
            "history": case.note_text("history"),
            "report": case.report,
            "measurement": case.measurements,
            "age": case.age is not None,
            "sex": case.sex,
            "diagnosis": case.outcome.diagnosis,
        }
        self.without.update({name: int(not found) for name, found in there.items()})
        for label_set, label in case.case_labels.items():
            self.labels[label_set][label] += 1


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _of_cases(counted: _Counted) -> dict[str, Known]:
    n = counted.kinds["cases"]
    made = f", {counted.kinds['synthetic']} of them synthetic" if counted.kinds["synthetic"] else ""
    ages = (
        f"age {min(counted.ages):g} to {max(counted.ages):g} years, median {median(counted.ages):g}, of {len(counted.ages)}"
        if counted.ages
        else "no age known"
    )
    labels = tuple(
        f"{name}: {_named(classes)}, unknown {n - classes.total()}" for name, classes in sorted(counted.labels.items())
    )
    missing = ", ".join(f"{what} {count} ({count / n:.0%})" for what, count in counted.without.items())
    brought = [name for name in sorted(counted.labels) if is_verified(name)]
    read = len(counted.labels) - len(brought)
    contents = (
        f"The archive: {n} cases{made}, {len(counted.patients)} patients, {counted.kinds['scans']} scans; "
        f"sources: {_named(counted.sources)}."
    )
    return {
        "contents": Known(contents, _CASES),
        "characteristics": Known(f"Cases: {ages}; sex: {_named(counted.sexes)}.", _CASES),
        "modalities": Known(f"Scans: {_named(counted.modalities)}.", _CASES),
        "missing": Known(f"Of {n} cases, so many lack a: {missing}.", _CASES),
        "labels": Known(f"{len(labels)} label sets, with their classes in cases:", _CASES, labels),
        "verified": Known(
            f"Label sets that the cases brought with them: {', '.join(brought) or 'none'}. "
            f"Read from the reports by this program, so not verified: {read} label sets.",
            _CASES,
        ),
    }


def _answer(name: str, composition: str, measured: Measured) -> str:
    if measured.patients < LEAST_PATIENTS:
        return (
            f"{name}, {composition}: not quoted, measured on {measured.patients} patients (fewer than {LEAST_PATIENTS})"
        )
    low, high = interval(measured.accuracy, measured.patients)
    return (
        f"{name}, {composition}: accuracy {measured.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}, "
        f"n {measured.patients}), calibration error {measured.calibration_error:.3f}"
    )


def _of_answers(diagnosers: list[Diagnoser]) -> dict[str, Known]:
    if not diagnosers:
        return {}
    answers = tuple(_answer(d.label_set, one, fit.measured) for d in diagnosers for one, fit in d.fits.items())
    least = ", ".join(f"{d.label_set} {least_probability(len(d.classes)):.2f}" for d in diagnosers)
    return {
        "answers": Known("Answers on patients left out, by label set and what a query shows:", _PROBE, answers),
        "fitted": Known(
            f"Answers are fitted and measured by {FOLDS}-fold cross-validation over the archive's patients, stratified by "
            f"class, no patient on both sides; the weights of the pool are chosen on other folds than they are measured on.",
            _PROBE,
        ),
        "thresholds": Known(f"An answer is withheld below this probability of its class: {least}.", _PROBE),
        "balance": Known(
            f"The linear probes weigh classes by their rarity to the power {BALANCE:g}; the pool, in which the archive's own "
            "frequencies take part, is then weighted on patients left out. Classes of a single patient are left out.",
            _PROBE,
        ),
    }


def _left_out(index: CaseIndex) -> Known | None:
    file = index.attachment(REPORT)
    try:
        build = read_report(file)
        skipped, partial = len(build["skipped"]), len(build["partial"])
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; delete it") from error
    except KeyError:
        return None  # there is none, or an earlier medclip wrote it
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{file}: is damaged; delete it ({type(error).__name__})") from error
    return Known(
        f"When the index was built, {skipped} cases were left out since nothing of them could be read, and {partial} lack "
        "a scan or text that could not; the file names each with its reason.",
        _BUILD,
    )


def known_of_index(folder: Path, fingerprint: str) -> dict[str, Known]:
    """What is known of an index, by name.

    Args:
        fingerprint: of the model that must have made its vectors.

    Raises:
        ArchiveError: it is no index, is damaged, is of another model, or its answers were fitted by an earlier medclip.
    """
    index = CaseIndex.open(folder)
    try:
        fuser = fuser_of(index)
        diagnosers = load_diagnosers(index.attachment(PROBE), {part: fuser.width_of(part) for part in PARTS})
        if diagnosers is None:
            raise ArchiveError(
                f"{folder}: its answers were fitted by an older medclip; fit them anew with  medclip index compact {folder}"
            )
        if index.fingerprint != fingerprint:
            raise ArchiveError(
                f"{folder}: was made with another model than the one named; name its own, or build it again"
            )
        counted = _Counted()
        with index.snapshot():
            for record in index.records():
                counted.add(case_of(record))
        left_out = _left_out(index)
    finally:
        index.close()
    known = {**_of_cases(counted), **_of_answers(diagnosers)}
    return known if left_out is None else {**known, "left_out": left_out}
