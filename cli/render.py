"""Tables and progress in the terminal."""

import json
import math
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medclip.assistant.wording import (
    MOST_MEMBERS,
    caveats,
    confirmed_and_treated,
    decided,
    families,
    family_caveats,
    promise,
    refined,
    share,
    shown_labels,
    unlike,
    voted,
)
from medclip.diagnosis.abstention import LEAST_PATIENTS
from medclip.label_sets import PRESENT, family_of
from medclip.metrics.probabilities import interval

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from medclip.assistant.answer import Answer
    from medclip.assistant.asking import Capability
    from medclip.cases.check import CheckReport
    from medclip.diagnosis.label_answer import LabelAnswer

__all__ = [
    "Bar",
    "answer",
    "check_report",
    "labels_line",
    "matched_by",
    "measured_table",
    "out",
    "person",
    "print_json",
    "progress",
    "say",
    "visible",
]

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

    def __init__(self, shown: "Progress") -> None:
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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

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
    else:
        out.print(_problems(report))
    if not report.burned_in:
        say("words burnt into scans were not looked for; --burned-in does, about a second a scan")


def _problems(report: "CheckReport") -> Table:
    table = Table(title="problems", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("severity", "problem", "cases", "which"):
        table.add_column(column, overflow="fold")
    for problem in report.problems:
        which = [f"{one} and {other}" for one, other in problem.pairs] or problem.places or problem.case_ids
        some = ", ".join(which[:5]) + (" ..." if len(which) > 5 else "")
        severity = Text(problem.severity, "red" if problem.severity == "error" else "yellow")
        table.add_row(severity, problem.message, str(problem.count or ""), some)
    return table


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


def _family_table(family: str, members: Sequence["LabelAnswer"]) -> Table:
    table = Table(title=family, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("class", "answer", "present", "vote", "probe"):
        table.add_column(column, justify="left" if column in ("class", "answer") else "right")
    for member in members[:MOST_MEMBERS]:
        ranked = next((r for r in member.ranked if r.label == PRESENT), member.ranked[0])
        values = (share(value) for value in (ranked.probability, ranked.vote, ranked.probe))
        table.add_row(member.label_set.partition("/")[2], decided(member) or Text("undecided", "yellow"), *values)
    return table


def person(age: float | None, sex: str | None) -> str:
    """Age and sex, as far as they are known."""
    return " ".join(part for part in ("" if age is None else f"{age:g}", (sex or "")[:1].upper()) if part)


def matched_by(view: str, scan: int | None) -> str:
    """Which view of a case is similar.

    Args:
        scan: which scan it is, from 1; None for other views.
    """
    return f"its scan {scan}" if scan else "whole" if view == "fused" else f"its {view}"


def labels_line(labels: Mapping[str, str]) -> str:
    """A case's labels, of multi-label sets those that are present."""
    shown = shown_labels(labels)
    return ", ".join(shown[name] for name in sorted(shown))


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
    if given.of is not None:
        said = "; ".join(part for part in (person(given.of.age, given.of.sex), labels_line(given.of.labels)) if part)
        say("asked about ", (given.of.case_id, "bold"), f": {given.of.diagnosis or 'no diagnosis recorded'}")
        say(f"  {said}")
    for found in [] if strange is not None else given.labels:
        if family_of(found.label_set) is None:
            out.print(_label_table(found))
            for line in (promise(found), *caveats(found), voted(found)):
                say(f"  {line}")
    for family, members in {} if strange is not None else families(given).items():
        out.print(_family_table(family, members))
        say("  " + "; ".join(family_caveats(members)))
    for line in refined(given):
        say((line, "cyan"))
    how = ", ranked by cosine and by the words of their texts" if given.ranked_by.endswith("words") else ""
    table = Table(title=f"similar cases{how}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("#", "case", "cosine", "matched by"):
        table.add_column(column, justify="right" if column in ("#", "cosine") else "left", no_wrap=True)
    table.add_column("labels", overflow="fold", ratio=1)
    table.add_column("diagnosis", overflow="fold", ratio=1)
    table.add_column("age, sex", no_wrap=True)
    for rank, case in enumerate(given.similar, start=1):
        cells = (
            str(rank),
            case.case_id,
            f"{case.similarity:.3f}",
            matched_by(case.view, case.scan),
            labels_line(case.labels),
            case.diagnosis or "-",
            person(case.age, case.sex) or "-",
        )
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
        which = (
            f"{len(given.similar)} cases above" if given.refined is None else "cases most similar to the query itself"
        )
        others = f"{part.new_neighbours} of the {which} would be others"
        say(f"without the {part.part}: {others}; {moved}")
