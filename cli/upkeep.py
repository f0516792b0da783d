"""``medclip index add``, ``update``, ``remove``, ``compact``, ``backup``, ``export`` and ``import``."""

from pathlib import Path
from typing import Annotated

import typer

from medclip.cli.place import BACKEND, FILES, LATENCY, MEMORY, RECALL, URI, place_of

__all__ = ["register"]

_INDEX = typer.Argument(help="An index folder.")
_CASES = typer.Argument(help="A cases folder.")
_JSON = typer.Option("--json", help="Print the report as JSON.")
_SPLIT = typer.Option(help="Only cases of this split: train, dev or test.")
_THREADS = typer.Option(min=1, help="CPU threads; all cores by default.")


def _change(index: Path, cases: Path, split: str | None, threads: int | None, as_json: bool, *, update: bool) -> None:
    from dataclasses import asdict

    from medclip.archive.upkeep import change_cases
    from medclip.cases.manifest import StoredCases
    from medclip.cli import render
    from medclip.index import CaseIndex

    loaded = StoredCases(cases, split)
    with render.progress() as bar:
        bar.stage("embedding cases", len(loaded))
        change = change_cases(index, loaded, cases, update=update, threads=threads, progress=bar.advance)
    if as_json:
        render.print_json(asdict(change))
        return
    verb = "updated" if update else "added"
    render.say(f"{index}: {len(change.written)} cases {verb}, {len(change.unchanged)} unchanged")
    for case_id, why in change.left.items():
        render.say(f"left {case_id}: {why}")
    for case_id, problems in change.partial.items():
        render.say(f"parts of {case_id} could not be read: {'; '.join(problems)}")
    opened = CaseIndex.open(index)
    for line in opened.advice():
        render.say(f"advice: {line}")
    opened.close()


def add(
    index: Annotated[Path, _INDEX],
    cases: Annotated[Path, _CASES],
    split: Annotated[str | None, _SPLIT] = None,
    threads: Annotated[int | None, _THREADS] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Embed the cases that the index does not hold and insert them, all or none; goes on where it was interrupted."""
    _change(index, cases, split, threads, as_json, update=False)


def update(
    index: Annotated[Path, _INDEX],
    cases: Annotated[Path, _CASES],
    split: Annotated[str | None, _SPLIT] = None,
    threads: Annotated[int | None, _THREADS] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Embed anew the cases of the index whose record or scans have changed, all or none."""
    _change(index, cases, split, threads, as_json, update=True)


def remove(
    index: Annotated[Path, _INDEX],
    case_id: Annotated[list[str] | None, typer.Argument(help="Cases to delete.")] = None,
    patient: Annotated[str | None, typer.Option(help="Delete all cases of this patient.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Delete cases with their vectors, records, words and thumbnails, and say what of them is left where."""
    from dataclasses import asdict

    from medclip.archive.upkeep import remove_cases
    from medclip.cli import render
    from medclip.errors import OptionError

    if not case_id and patient is None:
        raise OptionError("nothing to remove: name cases, or a patient with --patient")
    removal = remove_cases(index, case_id or [], patient)
    if as_json:
        render.print_json(asdict(removal))
        return
    for one in removal.removed:
        render.say(
            f"removed {one.case_id}: {one.vectors} vectors, {one.thumbnails} thumbnails, its record, "
            f"and a text of {one.words} words"
        )
    if not removal.removed:
        render.say(f"{index}: holds no such case")
    for what in removal.deleted:
        render.say(f"deleted {what}")
    for trace in removal.traces:
        render.say(f"note: {trace}")


def compact(index: Annotated[Path, _INDEX], as_json: Annotated[bool, _JSON] = False) -> None:
    """Choose the search structure anew, erase what deleted cases left in it, and fit answers and map to what there is."""
    from medclip.archive.upkeep import compact_index
    from medclip.cli import render
    from medclip.index import CaseIndex

    label_sets = compact_index(index)
    opened = CaseIndex.open(index)
    stats = opened.stats()
    opened.close()
    if as_json:
        render.print_json({**stats, "label_sets": label_sets})
        return
    render.say(
        f"{index}: {stats['cases']} cases, structure {stats['structure']}; answers {', '.join(label_sets) or 'none'}"
    )


def backup(
    index: Annotated[Path, _INDEX],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = ...,  # type: ignore[assignment]
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Copy an index that may be in use into a new folder, which is an index itself; restore by copying it back."""
    from medclip.archive.moving import back_up
    from medclip.cli import render
    from medclip.index import CaseIndex

    back_up(index, out)
    copy = CaseIndex.open(out)
    faults, stats = copy.verify(), copy.stats()
    copy.close()
    if as_json:
        render.print_json({**stats, "faults": faults})
    else:
        render.say(f"{out}: {stats['cases']} cases, {'verified' if not faults else '; '.join(faults)}")
    if faults:
        raise typer.Exit(1)


def export(
    index: Annotated[Path, _INDEX],
    out: Annotated[Path, typer.Option("--out", help="The file to write: cases.jsonl.gz")] = ...,  # type: ignore[assignment]
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Write all cases of an index into one file, each with its checksum, for  medclip index import."""
    from medclip.archive.moving import export_index
    from medclip.cli import render

    count = export_index(index, out, force=force)
    if as_json:
        render.print_json({"file": str(out), "cases": count})
        return
    render.say(f"{out}: {count} cases")


def import_(
    file: Annotated[Path, typer.Argument(help="What  medclip index export  wrote.")],
    attachments: Annotated[
        Path, typer.Option("--like", help="The index that was exported, whose model and answers go along.")
    ] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", help="The index folder to make.")] = ...,  # type: ignore[assignment]
    backend: Annotated[str, BACKEND] = "faiss",
    uri: Annotated[str | None, URI] = None,
    files: Annotated[str | None, FILES] = None,
    memory: Annotated[str | None, MEMORY] = None,
    latency: Annotated[str | None, LATENCY] = None,
    recall: Annotated[float, RECALL] = 0.98,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing index.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Make an index of an export, in this or another backend; every case is held against its checksum."""
    from medclip.archive.moving import import_index
    from medclip.cli import render
    from medclip.index import CaseIndex

    count = import_index(file, attachments, out, place_of(backend, uri, files, memory, latency, recall), force=force)
    if as_json:
        made = CaseIndex.open(out)
        stats = made.stats()
        made.close()
        render.print_json(stats)
        return
    render.say(f"{out}: {count} cases, all as exported")


def register(app: typer.Typer) -> None:
    """Put the commands into ``medclip index``."""
    for command in (add, update, remove, compact, backup, export):
        app.command()(command)
    app.command("import")(import_)
