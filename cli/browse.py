"""``medclip index list``, ``show``, ``values`` and ``map``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from medclip.archive.browsing import FieldValues
    from medclip.archive.case_sheet import CaseLine, CaseSheet

__all__ = ["register"]

_INDEX = typer.Argument(help="An index folder.")
_JSON = typer.Option("--json", help="Print it as JSON.")


def list_(
    index: Annotated[Path, _INDEX],
    where: Annotated[
        str | None,
        typer.Option("--where", help="Only such cases:  medclip index values INDEX  says what can be asked."),
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option("--sort", help="A field, a label set or  case ; -age for descending; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many cases are listed.")] = 50,
    offset: Annotated[int, typer.Option(min=0, max=1 << 40, help="How many cases are passed over first.")] = 0,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """List archived cases, page by page: all, or those of which a filter is true."""
    from dataclasses import asdict

    from medclip.archive.browsing import list_cases, read_where
    from medclip.cli import render
    from medclip.index import CaseIndex

    opened = CaseIndex.open(index)
    try:
        with opened.snapshot():
            found = list_cases(
                opened, where=read_where(opened, where), sort=sort or [], limit=limit, offset=offset
            )  # fmt: skip
    finally:
        opened.close()
    if as_json:
        render.print_json(asdict(found))
        return
    if found.cases:
        render.out.print(_cases_table(found.cases))
    end = offset + len(found.cases)
    if not found.total:
        render.say("no case" if where is None else "no case of which the filter is true")
    elif not found.cases:
        render.say(f"no further case: there are {found.total}")
    else:
        further = f"; the next:  --offset {end}" if end < found.total else ""
        render.say(f"cases {offset + 1} to {end} of {found.total}{further}")


def _cases_table(cases: "list[CaseLine]", nearness: "list[tuple[str, str]] | None" = None) -> "Table":
    """Cases as rows; with (cosine, what matched) of each, where they are neighbours."""
    from rich import box
    from rich.table import Table

    from medclip.cli import render

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("case", no_wrap=True)
    for column in ("cosine", "matched by") if nearness else ():
        table.add_column(column, no_wrap=True)
    table.add_column("modality", no_wrap=True)
    table.add_column("age, sex", no_wrap=True)
    table.add_column("labels", overflow="fold", ratio=1)
    table.add_column("diagnosis", overflow="fold", ratio=1)
    table.add_column("scans", justify="right")
    for place, case in enumerate(cases):
        near = nearness[place] if nearness else ()
        table.add_row(
            case.case_id, *near, ", ".join(case.modality) or "-",
            render.person(case.age, case.sex) or "-", render.labels_line(case.labels),
            case.diagnosis or "-", str(case.scans),
        )  # fmt: skip
    return table


def show(
    index: Annotated[Path, _INDEX],
    case_id: Annotated[str, typer.Argument(help="A case of the index.")],
    k: Annotated[int, typer.Option("-k", min=0, max=1000, help="How many neighbours, one a patient, are named.")] = 10,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show one archived case whole: scans, texts, measurements, outcome, where it is from, and its neighbours."""
    from dataclasses import asdict

    from medclip.archive.browsing import sheet_of
    from medclip.cli import render
    from medclip.index import CaseIndex

    opened = CaseIndex.open(index)
    try:
        found = sheet_of(opened, case_id, neighbours=k)
    finally:
        opened.close()
    if as_json:
        measured = [one.model_dump(mode="json") for one in found.measurements]
        render.print_json({**asdict(found), "measurements": measured})
        return
    _print_sheet(found)


def _print_sheet(case: "CaseSheet") -> None:
    from medclip.cli import render

    say = render.say
    say(
        (case.case_id, "bold"), f"  {render.person(case.age, case.sex) or '-'}{'  synthetic' if case.synthetic else ''}"
    )
    for name, label in sorted(case.labels.items()):
        say(f"{name}: {label}")
    outcome = {
        "diagnosis": case.diagnosis,
        "confirmed by": case.confirmed_by,
        "impression (a reading, not verified)": case.impression,
        "differential": case.differential,
        "treatment": case.treatment,
        "discussion": case.discussion,
    }
    for what, text in outcome.items():
        if text:
            say((what, "bold"), f": {text}")
    for one in case.texts:
        say((one.kind + (" (dictated)" if one.dictated else ""), "bold"), f": {one.text}")
    for scan in case.scans:
        known = [scan.modality, scan.plane, scan.window, scan.licence, None if scan.thumbnail else "no thumbnail"]
        said = ", ".join(part for part in known if part)
        say((f"scan {scan.number + 1}", "bold"), f" {scan.file}{f' ({said})' if said else ''}")
        if scan.caption:
            say(f"  {scan.caption}")
    for value in case.measurements:
        say((value.name, "bold"), f": {value.value:g} {value.unit}")
    provenance = {"source": case.source, "split": case.split, "embedded": ", ".join(case.views)}
    say("; ".join(f"{what}: {text}" for what, text in provenance.items() if text))
    if case.same_patient:
        say(f"other cases of the same patient: {', '.join(case.same_patient)}")
    if case.neighbours:
        scans = [None if near.scan is None else near.scan + 1 for near in case.neighbours]
        nearness = [
            (f"{near.similarity:.3f}", render.matched_by(near.view, scan))
            for near, scan in zip(case.neighbours, scans, strict=True)
        ]
        say(("most similar cases of other patients", "bold"))
        render.out.print(_cases_table([near.case for near in case.neighbours], nearness))


def values(
    index: Annotated[Path, _INDEX],
    field: Annotated[str | None, typer.Argument(help="One field or label set; all where none is named.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Say what --where and --sort can ask for: fields, their classes with counts of cases, their ranges."""
    from dataclasses import asdict

    from medclip.archive.browsing import example_of, values_of
    from medclip.cli import render
    from medclip.index import CaseIndex

    opened = CaseIndex.open(index)
    try:
        found = values_of(opened, field)
    finally:
        opened.close()
    example = example_of(found)
    if as_json:
        render.print_json({"fields": [asdict(one) for one in found], "example": example})
        return
    for one in found:
        render.say((one.field, "bold"), f" ({one.kind}): {_said(one)}")
    render.say(
        "--where can say: = != < <= > >=, in (...), not in (...), is known, is unknown, and, or, not, brackets; texts in "
        "single quotes"
    )
    if example is not None:
        render.say(f"for example:  medclip index list {_quoted(str(index))} --where {_quoted(example)}")


def _said(found: "FieldValues") -> str:
    parts = [f"{count.value} {count.cases}" for count in found.values]
    parts += [f"and {found.others} more"] if found.others else []
    if found.lowest is not None and found.highest is not None:
        parts.append(f"{found.lowest:g} to {found.highest:g}")
    return ", ".join(parts or ["no case has it"]) + (f"; unknown in {found.unknown}" if found.unknown else "")


def _quoted(word: str) -> str:
    """A word for a shell: in double quotes where that is enough, since filters have single ones."""
    import shlex

    if shlex.quote(word) == word or any(sign in word for sign in '"$`\\!'):
        return shlex.quote(word)
    return f'"{word}"'


def map_(
    index: Annotated[Path, _INDEX],
    out: Annotated[Path | None, typer.Option("--out", help="The picture to draw (PNG, SVG or PDF).")] = None,
    colour: Annotated[str | None, typer.Option("--colour", help="A label set or field that colours the cases.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the points as JSON.")] = False,
) -> None:
    """Draw a map of all cases, similar ones near each other; it is laid out by  index build  and  index compact."""
    from dataclasses import asdict

    from medclip.archive.map_file import read_map
    from medclip.archive.map_upkeep import points_of
    from medclip.cli import render
    from medclip.cli.plot import check_picture, draw_map
    from medclip.errors import ArchiveError, OptionError
    from medclip.index import CaseIndex

    if out is None and not as_json:
        raise OptionError("nothing to do: name a picture with --out, or ask for the points with --json")
    if out is not None:
        check_picture(out)
    opened = CaseIndex.open(index)
    try:
        drawn = read_map(opened)
        if drawn is None:
            raise ArchiveError(
                f"{index}: has no map, since an earlier medclip made it;  medclip index compact {index}  draws one"
            )
        points = points_of(opened, drawn, colour)
    finally:
        opened.close()
    if out is not None:
        draw_map(points, out, colour)
    if as_json:
        render.print_json({"colour": colour, "points": [asdict(point) for point in points]})
    else:
        render.say(f"drawn: {out}, {len(points)} cases")


def register(app: typer.Typer) -> None:
    """Put the commands into ``medclip index``."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(values)
    app.command("map")(map_)
