"""`medclip cases label`: findings that the reports name → a multi-label set that says where it comes from."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medclip.cases.case import Case
from medclip.cases.manifest import read_cases, replace_cases
from medclip.errors import CaseError
from medclip.label_sets import REPORT_FAMILY
from medclip.modalities.text.assertion import Assertion, FindingReader
from medclip.modalities.text.lexicon import load_lexicon

__all__ = ["Labelled", "findings_of", "label_cases"]

_STRENGTH: dict[Assertion, int] = {"absent": 0, "uncertain": 1, "present": 2}


@dataclass(frozen=True)
class Labelled:
    """What the reports of a cases folder say of one finding; cases by what they say."""

    finding: str
    present: int
    absent: int
    uncertain: int  # these get no label, as little as cases whose report does not name the finding: they are unknown


def findings_of(reader: FindingReader, texts: Sequence[str]) -> list[dict[str, Assertion]]:
    """Finding → what each text says of it: present where any place affirms it, else uncertain where any doubts it."""
    found = []
    for mentions in reader.read(texts):
        said: dict[str, Assertion] = {}
        for mention in mentions:
            known = said.get(mention.finding, mention.assertion)
            said[mention.finding] = max(known, mention.assertion, key=_STRENGTH.__getitem__)
        found.append(said)
    return found


def _report(case: Case) -> str:
    return "\n".join(part for part in (case.report, case.outcome.impression) if part)


def label_cases(folder: Path, *, least: int = 10, progress: Callable[[str], None] = lambda _: None) -> list[Labelled]:
    """Label every case with the findings of its report, and replace the manifest as a whole.

    Labels of an earlier run are replaced; every other label stays as it is.

    Args:
        least: patients in whom a finding must be affirmed, and in whom it must be denied, to be worth a label.
        progress: called with a line about each stage.

    Returns:
        The findings that became labels, most frequent first.

    Raises:
        CaseError: the manifest cannot be read, or no finding is frequent enough.
        MissingDependencyError: the extra ``label`` is not installed.
        OutputError: the manifest cannot be replaced.
    """
    cases = read_cases(folder)
    progress("loading the lexicon")
    reader = FindingReader(load_lexicon())
    progress("reading reports")
    said = findings_of(reader, [_report(case) for case in cases])
    patients: dict[tuple[str, Assertion], set[str]] = defaultdict(set)
    counts: dict[str, Counter[Assertion]] = defaultdict(Counter)
    for case, findings in zip(cases, said, strict=True):
        for finding, assertion in findings.items():
            counts[finding][assertion] += 1
            patients[finding, assertion].add(case.patient)
    kept = {f for f in counts if min(len(patients[f, "present"]), len(patients[f, "absent"])) >= least}
    if not kept:
        raise CaseError(
            f"{folder}: no finding is affirmed in the reports of {least} patients and denied in those of {least} others; "
            f"lower --least"
        )
    labelled = []
    for case, findings in zip(cases, said, strict=True):
        own = {name: value for name, value in case.labels.items() if not name.startswith(f"{REPORT_FAMILY}/")}
        sure = {finding: said for finding, said in findings.items() if finding in kept and said != "uncertain"}
        own |= {f"{REPORT_FAMILY}/{finding}": sure[finding] for finding in sorted(sure)}
        labelled.append(case.model_copy(update={"labels": own}))
    replace_cases(folder, labelled)
    rows = [Labelled(f, counts[f]["present"], counts[f]["absent"], counts[f]["uncertain"]) for f in kept]
    return sorted(rows, key=lambda row: (-row.present, row.finding))
