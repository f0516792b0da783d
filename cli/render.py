"""Tables and progress in the terminal."""

import json
import math
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from medclip.diagnosis.abstention import LEAST_PATIENTS, least_probability
from medclip.diagnosis.novelty import LEVEL
from medclip.diagnosis.sets import COVERAGE
from medclip.label_sets import PRESENT, family_of
from medclip.metrics.probabilities import interval

if TYPE_CHECKING:
    from medclip.assistant.answer import Answer, SimilarCase
    from medclip.assistant.asking import Capability
    from medclip.cases.check import CheckReport
    from medclip.diagnosis.label_answer import LabelAnswer
    from medclip.diagnosis.sets import Kind

__all__ = [
    "MOST_MEMBERS",
    "Bar",
    "answer",
    "check_report",
    "decided",
    "measured_table",
    "out",
    "print_json",
    "progress",
    "promise",
    "say",
    "sets_hold",
    "share",
    "visible",
    "votes",
]

MOST_MEMBERS = 8
"""Classes of a multi-label set that are shown, the most probable ones: what one looks over at once. JSON has them all."""

_KEPT = {"\n", "\t"}


def visible(text: str) -> str:
    """The text with what would steer a terminal (escape sequences, other control characters) made visible."""
    strange = (ch for ch in set(text) if ch not in _KEPT and unicodedata.category(ch) in ("Cc", "Cs"))
    return text.translate({ord(ch): ascii(ch)[1:-1] for ch in strange})


class _Plain(Console):
    """A console to which no text is markup, emoji code or escape sequence: names, classes and reports are the user's."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


out = _Plain()
err = _Plain(stderr=True)


def say(*parts: str | tuple[str, str]) -> None:
    """One line, which the terminal may wrap but a pipe gets whole.

    Args:
        parts: one after the other, each a text or (text, style).
    """
    given = [(part, "") if isinstance(part, str) else part for part in parts]
    out.print(Text.assemble(*((visible(text), style) for text, style in given)), soft_wrap=True)


def _finite(value: Any) -> Any:
    """The value with null for each NaN and infinity, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def print_json(value: Any) -> None:
    """JSON alone on stdout, in UTF-8 whatever the locale (RFC 8259).

    A number that is none becomes null; of a file name that is no UTF-8, each such byte is escaped.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


class Bar:
    """A progress bar on stderr with the time left; silent where stderr is no terminal."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._task: TaskID | None = None

    def stage(self, text: str, total: int | None = None) -> None:
        """Begin a stage."""
        if self._task is not None:
            self._shown.remove_task(self._task)
        self._task = self._shown.add_task(text, total=total)
        if not self._shown.console.is_terminal:
            self._shown.console.print(f"{text} ...", soft_wrap=True)

    def advance(self, _: object = None) -> None:
        """One more done."""
        if self._task is not None:
            self._shown.advance(self._task)

    def at(self, done: int, total: int) -> None:
        """So many done, of so many."""
        if self._task is not None:
            self._shown.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        """Say something about the stage."""
        if self._task is not None:
            self._shown.update(self._task, description=text)


@contextmanager
def progress() -> Iterator[Bar]:
    """A progress bar for the length of a block."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        yield Bar(shown)


def check_report(report: "CheckReport", folder: str) -> None:
    """What is in a cases folder and what is wrong with it."""
    synthetic = f", {report.synthetic} of them synthetic" if report.synthetic else ""
    say(f"{folder}: {report.cases} cases of {report.patients} patients{synthetic}, {report.scans} scans")
    texts = ", ".join(f"{name} in {count}" for name, count in report.with_text.items())
    say(f"texts: {texts}; splits: {', '.join(f'{k} {v}' for k, v in report.splits.items())}")
    for name, classes in report.label_sets.items():
        say("label set ", (name, "bold"), f": {', '.join(f'{label} {count}' for label, count in classes.items())}")
    if not report.problems:
        say(("no problem found", "green"))
        return
    table = Table(title="problems", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("severity", "problem", "cases", "which"):
        table.add_column(column, overflow="fold")
    for problem in report.problems:
        which = [f"{one} and {other}" for one, other in problem.pairs] or problem.case_ids
        some = ", ".join(which[:5]) + (" ..." if len(which) > 5 else "")
        severity = Text(problem.severity, "red" if problem.severity == "error" else "yellow")
        table.add_row(severity, problem.message, str(problem.count or ""), some)
    out.print(table)


def _label_table(found: "LabelAnswer") -> Table:
    verdict = (visible(found.answer), "bold") if found.answer else ("undecided", "yellow")
    title = Text.assemble(f"{visible(found.label_set)}: ", verdict)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("class")
    for column in ("probability", "vote", "probe"):
        table.add_column(column, justify="right")
    for ranked in found.ranked[:5]:
        table.add_row(ranked.label, share(ranked.probability), share(ranked.vote), share(ranked.probe))
    return table


def share(value: float | None) -> str:
    """A probability for a reader: none is certain."""
    if value is None:
        return "-"
    return ">0.99" if value > 0.99 else "<0.01" if value < 0.01 else f"{value:.2f}"


def unlike(given: "Answer") -> str | None:
    """That the archive holds nothing like the query, and what of it; None where it does, or where it cannot be told."""
    if given.novelty is None or given.novelty.verdict == "not told apart":
        return None
    parts = sorted((one for one in given.novelty.parts if one.p < LEVEL), key=lambda one: one.p)
    told = [
        f"{'the ' + one.part if one.scan is None else f'scan {one.scan}'} ({_part(one.p)} of the archive's are as unlike"
        f"{f'; it seems to be {one.lies}' if one.lies else ''})"
        for one in parts
    ]
    return (
        f"Probably nothing like this is in the archive: {', '.join(told)}; by chance one in twenty ordinary queries is called "
        "so. No label is named, since what was measured on archived patients may not hold here; the cases shown are the least "
        "unlike."
    )


def _part(p: float) -> str:
    return "less than 1 %" if p < 0.01 else f"{100 * p:.0f} %"


def caveats(found: "LabelAnswer") -> list[str]:
    """What a reader has to know about one label answer."""
    notes = [_stated(found)]
    if found.ranked[0].probe is None:
        notes.append("by the vote alone: the probes may have been fitted on this patient and are not asked")
    if not found.agree:
        notes.append("vote and probe disagree")
    if found.answer is None:
        notes.append(f"the answer is withheld: {_withheld(found)}")
    return notes


def _withheld(found: "LabelAnswer") -> str:
    said = f"no class reaches probability {least_probability(len(found.ranked)):.2f}"
    if found.set is None or found.set.empty:
        return said
    return f"{said}, and {len(found.set.labels)} of them cannot be ruled out at {_percent(found.set.coverage)}"


def _percent(coverage: float) -> str:
    return f"{100 * coverage:.6g}%"


_WHOSE: dict["Kind", str] = {
    "class-conditional": "of each class",
    "marginal": "of all classes together",
    "mixed": "of each class, the rare ones taken together",
}


def promise(found: "LabelAnswer") -> str:
    """Which labels may be right, and for how many new patients that holds."""
    given = found.set
    if given is None:
        return "no class can be ruled out for so many: too few patients could be left out"
    low, high = given.interval
    most = f"{'at least ' if low >= given.coverage else ''}{_percent(given.coverage)}"
    holds = f"{most} of new patients {_WHOSE[given.kind]} (of all together {low:.0%} to {high:.0%}, by {given.patients} left out)"
    if given.empty:
        return f"no class is as probable as the right one is for {holds}: perhaps it is none of them"
    if len(given.labels) == len(found.ranked):
        return f"no class can be ruled out so that it holds for {holds}"
    if len(given.labels) == 1:
        return f"{given.labels[0]}, all others ruled out: such a statement holds for {holds}"
    return f"one of {', '.join(given.labels)}: such a statement holds for {holds}"


def decided(member: "LabelAnswer") -> str | None:
    """Of a class of a multi-label set: the answer, or None where it is withheld or the other one cannot be ruled out."""
    return None if member.set is not None and len(member.set.labels) > 1 else member.answer


def _stated(found: "LabelAnswer") -> str:
    if found.held_out_accuracy is None or found.held_out_interval is None:
        return (
            f"how often such answers are right is not known: only {found.held_out_patients} patients could be left out"
        )
    low, high = found.held_out_interval
    said = (
        f"asked with as much, right for {found.held_out_accuracy:.0%} of {found.held_out_patients} archived patients left out "
        f"({low:.0%} to {high:.0%}; always {found.commonest_class}: {found.commonest_share:.0%})"
    )
    if (alike := found.held_out_alike) is not None:
        said += f"; where as sure as this, for {alike.right:.0%} of {alike.patients}"
    return said


def _voted(found: "LabelAnswer") -> str:
    """What each class has of the vote, and from how many; who they are, JSON and page say."""
    shares: dict[str, list[float]] = {}
    for voter in found.voters:
        shares.setdefault(voter.label, []).append(voter.share)
    classes = sorted(shares.items(), key=lambda one: -sum(one[1]))
    told = ", ".join(f"{len(own)} for {label} ({sum(own):.0%})" for label, own in classes)
    return f"voted: {told}; the archive's frequencies {found.archive_share:.0%}"


def votes(found: "LabelAnswer") -> list[tuple[str, str, float]]:
    """(who, for which class, share) of a vote; the shares sum to 1."""
    own = [(voter.case_id, voter.label, voter.share) for voter in found.voters]
    return [*own, ("the archive's frequencies", "", found.archive_share)]


def measured_table(capability: "Capability") -> Table:
    """How good the answers on a label set are, by what is asked with."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("asked with", no_wrap=True)
    for column in ("right", "95 % interval", "calibration error", "patients"):
        table.add_column(column, justify="right")
    for name, found in capability.measured.items():
        low, high = interval(found.accuracy, found.patients)
        figures = (f"{found.accuracy:.2f}", f"{low:.2f} to {high:.2f}", f"{found.calibration_error:.2f}")
        shown = figures if found.patients >= LEAST_PATIENTS else ("too few", "", "")
        table.add_row(name, *shown, str(found.patients))
    return table


def sets_hold(capability: "Capability") -> list[str]:
    """Of how many patients 90 % sets hold the right label, and by whom each class is ruled out; a line for what is alike."""
    alike: dict[str, list[str]] = {}
    for name, judged in capability.sets.items():
        told = "nothing: too few patients could be left out to rule a class out"
        if judged.interval is not None:
            low, high = judged.interval
            groups = [", ".join(f"{label} {count:.0f}" for label, count in one.items()) for one in judged.together]
            itself = [one for one, of in zip(groups, judged.together, strict=True) if len(of) == 1]
            rest = [one for one, of in zip(groups, judged.together, strict=True) if len(of) > 1]
            by = "; ".join(
                [*([f"each by itself {', '.join(itself)}"] if itself else []), *(f"together {one}" for one in rest)]
            )
            told = f"the right class of {low:.0%} to {high:.0%} of patients, judged {by}"
        alike.setdefault(told, []).append(name)
    asked = {
        told: "whatever is asked with" if len(own) == len(capability.sets) else f"asked with {', '.join(own)}"
        for told, own in alike.items()
    }
    return [f"sets of labels at {_percent(COVERAGE)} hold {told} ({by})" for told, by in asked.items()]


def families(given: "Answer") -> dict[str, list["LabelAnswer"]]:
    """Multi-label set → the answers on its classes, the most probable first."""
    found: dict[str, list[LabelAnswer]] = {}
    for one in given.labels:
        if (family := family_of(one.label_set)) is not None:
            found.setdefault(family, []).append(one)
    return {family: sorted(members, key=lambda m: (-present(m), m.label_set)) for family, members in found.items()}


def present(member: "LabelAnswer") -> float:
    """Probability that a class of a multi-label set is present."""
    return next((ranked.probability for ranked in member.ranked if ranked.label == PRESENT), 0.0)


def family_caveats(members: Sequence["LabelAnswer"]) -> list[str]:
    """What a reader has to know about the answers on a multi-label set."""
    known = [m.held_out_accuracy for m in members if m.held_out_accuracy is not None]
    patients = min(m.held_out_patients for m in members)
    notes = [f"how often such answers are right is not known: only {patients} patients could be left out"]
    if known:
        on = f"of archived patients left out ({min(m.held_out_patients for m in members if m.held_out_accuracy)} or more)"
        notes = [f"such answers were right for {min(known):.0%} to {max(known):.0%} {on}"]
    if promised := [m.set for m in members if m.set is not None]:
        each = sum(one.kind == "class-conditional" for one in promised)
        of = "of those who have a finding and of those who do not"
        notes.append(
            f"present or absent is said where the other can be ruled out, undecided where neither can: that holds for "
            f"{_percent(promised[0].coverage)} of new patients, for {each} of {len(members)} classes {of}, each by themselves"
        )
    if not all(member.verified for member in members):
        notes.append("the archive's labels were read from its reports by a program: not verified")
    return notes


def shown_labels(case: "SimilarCase") -> dict[str, str]:
    """A similar case's labels as a reader wants them: of multi-label sets, those that are present."""
    own = {name: value for name, value in case.labels.items() if family_of(name) is None}
    several: dict[str, list[str]] = {}
    for name, value in sorted(case.labels.items()):
        if value == PRESENT and (family := family_of(name)) is not None:
            several.setdefault(family, []).append(name.partition("/")[2])
    return own | {family: ", ".join(names) for family, names in several.items()}


def confirmed_and_treated(given: "Answer") -> list["SimilarCase"]:
    """The similar cases whose diagnosis was confirmed and whose treatment is told; none where they are unlike the query."""
    if unlike(given) is not None:
        return []
    return [case for case in given.similar if case.diagnosis and case.confirmed_by and case.treatment]


def _family_table(family: str, members: Sequence["LabelAnswer"]) -> Table:
    table = Table(title=family, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("class", "answer", "present", "vote", "probe"):
        table.add_column(column, justify="left" if column in ("class", "answer") else "right")
    for member in members[:MOST_MEMBERS]:
        ranked = next((r for r in member.ranked if r.label == PRESENT), member.ranked[0])
        values = (share(value) for value in (ranked.probability, ranked.vote, ranked.probe))
        table.add_row(member.label_set.partition("/")[2], decided(member) or Text("undecided", "yellow"), *values)
    return table


def answer(given: "Answer") -> None:
    """Ranked labels, then the similar cases."""
    say((given.disclaimer, "yellow"))
    if any(case.synthetic for case in given.similar):
        say(("SYNTHETIC archive: these are drawn phantoms, not patients.", "magenta"))
    strange = unlike(given)
    if strange is not None:
        say((strange, "bold red"))
    for caution in given.cautions:
        say(("caution: " + caution, "yellow"))
    for found in [] if strange is not None else given.labels:
        if family_of(found.label_set) is None:
            out.print(_label_table(found))
            for line in (promise(found), *caveats(found), _voted(found)):
                say(f"  {line}")
    for family, members in {} if strange is not None else families(given).items():
        out.print(_family_table(family, members))
        say("  " + "; ".join(family_caveats(members)))
    how = "" if given.ranked_by == "similarity" else ", ranked by cosine and by the words of their texts"
    table = Table(title=f"similar cases{how}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("#", "case", "cosine", "matched by"):
        table.add_column(column, justify="right" if column in ("#", "cosine") else "left", no_wrap=True)
    table.add_column("labels", overflow="fold", ratio=1)
    table.add_column("diagnosis", overflow="fold", ratio=1)
    table.add_column("age, sex", no_wrap=True)
    for rank, case in enumerate(given.similar, start=1):
        age = "" if case.age is None else f"{case.age:g}"
        person = " ".join(part for part in (age, (case.sex or "")[:1].upper()) if part)
        view = f"its scan {case.scan}" if case.scan else "whole" if case.view == "fused" else f"its {case.view}"
        shown = shown_labels(case)
        labels = ", ".join(shown[name] for name in sorted(shown))
        cells = (str(rank), case.case_id, f"{case.similarity:.3f}", view, labels, case.diagnosis or "-", person or "-")
        table.add_row(*cells)
    out.print(table)
    if treated := confirmed_and_treated(given):
        say("how similar cases of confirmed diagnosis were treated (quoted from the archive, not advice):")
        for case in treated[:3]:
            said = " ".join((case.treatment or "").split())
            say(f"  {case.case_id}, {case.diagnosis}: {said[:200]}{'...' if len(said) > 200 else ''}")
    for part in given.contributions:
        moved = "; ".join(
            f"{name}: {label or 'undecided'} ({part.shift[name]:.0%} of the probability moves)"
            for name, label in sorted(part.without.items())
            if family_of(name) is None
        )
        others = f"{part.new_neighbours} of the {len(given.similar)} cases above would be others"
        say(f"without the {part.part}: {others}; {moved}")
