"""``medclip explain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclip.cli.ask import FORCE, HTML

if TYPE_CHECKING:
    from medclip.assistant.explanation import Explanation

__all__ = ["explain"]


def explain(
    index: Annotated[Path, typer.Argument(help="The index folder that was asked.")],
    record: Annotated[Path, typer.Argument(help="What --record of query or similar wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it all as JSON.")] = False,
    html: Annotated[Path | None, HTML] = None,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Answer again from a record, say what has changed since, and show how the answer comes about.

    Exit code 0: the answer is the same, to the last digit; 1: it is another; 2: the record cannot be used.
    """
    from medclip.assistant import Asked, Assistant
    from medclip.assistant.explanation import asked_at
    from medclip.assistant.explanation import explain as explained
    from medclip.assistant.record import read_record
    from medclip.cli import render
    from medclip.cli.ask import check_page

    check_page(html, force)
    given = read_record(record)
    assistant = Assistant.open_without_model(index)
    found = explained(assistant, given, str(record))
    when = asked_at(given)
    if html is not None:
        from medclip.server.page_file import write_page

        case_id = given.query.case_id
        title = f"Recorded {when}"
        write_page(html, assistant, Asked(found.answer, []), title=title, texts=[], case_id=case_id, force=force)
    if as_json:
        render.print_json(found.as_json())
    else:
        render.answer(found.answer)
        _show_opinions(found)
        verdict = (
            ("the answer is the same, to the last digit", "green") if found.same else ("the answer differs", "yellow")
        )
        render.say(f"recorded {when}: ", verdict)
        for line in (*found.since, *found.moved):
            render.say(f"  {line}")
        if html is not None:
            render.say(f"page written to {html}")
    if not found.same:
        raise typer.Exit(1)


_CLASSES = 4
"""Columns of the table, the most probable classes: a terminal of 80 characters holds no more."""


def _show_opinions(found: "Explanation") -> None:
    """The arithmetic of each label set: who voted, and how the opinions are pooled."""
    from rich import box
    from rich.table import Table

    from medclip.assistant import wording
    from medclip.cli import render
    from medclip.label_sets import family_of

    render.say("how the probabilities come about: of each class, opinion ^ weight multiplied, then scaled to the sum 1")
    singles = [one for one in found.answer.labels if family_of(one.label_set) is None]
    several = [one for members in wording.families(found.answer).values() for one in members[: wording.MOST_MEMBERS]]
    for answered in (*singles, *several):
        ranked = answered.ranked[:_CLASSES]
        table = Table(title=answered.label_set, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("opinion")
        for column in ("weight", *(one.label for one in ranked)):
            table.add_column(column, justify="right")
        for said in found.opinions[answered.label_set]:
            name = said.name if said.name in ("frequencies", "vote") else f"probe on {said.name}"
            table.add_row(name, f"{said.weight:.3f}", *(f"{said.probabilities[one.label]:.4f}" for one in ranked))
        table.add_row("pooled", "", *(f"{one.probability:.4f}" for one in ranked), style="bold")
        render.out.print(table)
        told = "; ".join(
            f"{who} {share:.1%}{f' for {label}' if label else ''}" for who, label, share in wording.votes(answered)
        )
        render.say(f"  voted: {told}")
