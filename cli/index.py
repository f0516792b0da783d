"""``medclip index``."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Build and inspect an index of cases.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def build(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    model: Annotated[Path, typer.Option("--model", help="A model folder.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", help="The index folder to make.")] = ...,  # type: ignore[assignment]
    split: Annotated[str | None, typer.Option(help="Only cases of this split: train, dev or test.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds that calibrate the answers.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing index.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed every case and build a self-contained index folder, with the model and the fitted probes inside."""
    from dataclasses import asdict

    from medclip.archive import REPORT, build_index
    from medclip.assistant import Assistant
    from medclip.cases.manifest import read_cases
    from medclip.cli import render
    from medclip.errors import CaseError
    from medclip.folders import check_free

    check_free(out, force=force, marker="index.json")
    loaded = read_cases(cases)
    if split is not None:
        loaded = [case for case in loaded if case.split == split]
        if not loaded:
            raise CaseError(f"{cases}: has no case of split {split!r}; leave --split out, or name another")
    with render.progress() as bar:
        bar.stage("embedding cases", len(loaded))
        report = build_index(loaded, cases, model, out, force=force, seed=seed, threads=threads, progress=bar.advance)
    if as_json:
        render.print_json(asdict(report))
        return
    render.say(f"{out}: {report.cases} cases, {report.views} views")
    if report.skipped or report.partial:
        render.say(
            f"[yellow]{len(report.skipped)} cases skipped, parts of {len(report.partial)} left out[/]; "
            f"{out / REPORT} says why"
        )
    _say(Assistant.open_without_model(out))


@app.command()
def info(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what an index holds and what it can answer."""
    from dataclasses import asdict

    from medclip.assistant import Assistant
    from medclip.cli import render

    assistant = Assistant.open_without_model(index)
    if as_json:
        render.print_json(
            {
                "cases": len(assistant.index),
                "views": len(assistant.index.views),
                "fingerprint": assistant.index.fingerprint,
                "label_sets": [asdict(capability) for capability in assistant.capabilities()],
                "diagnoses": asdict(assistant.coverage()),
            }
        )
        return
    render.say(f"{index}: {len(assistant.index)} cases, {len(assistant.index.views)} views")
    _say(assistant)


def _say(assistant: "Assistant") -> None:  # type: ignore[name-defined]  # noqa: F821
    from medclip.cli import render

    for capability in assistant.capabilities():
        classes = ", ".join(f"{label} {count}" for label, count in capability.patients.items())
        right = ", ".join(f"{name} {value:.0%}" for name, value in capability.held_out_accuracy.items())
        render.say(f"answers [bold]{capability.label_set}[/] (patients: {classes})")
        render.say(f"  right for patients left out, by what is asked with: {right}")
    coverage = assistant.coverage()
    if coverage.cases:
        render.say(
            f"diagnoses: {coverage.nameable} of {coverage.cases} cases share theirs with another patient's case, so at "
            f"most {coverage.nameable / coverage.cases:.0%} of new cases could be named by one: diagnoses are shown, not voted on"
        )


@app.command()
def verify(index: Annotated[Path, typer.Argument(help="An index folder.")]) -> None:
    """Check an index folder: checksums, counts, search structure, and its model; exit code 1 where a fault was found."""
    from medclip.assistant import Assistant
    from medclip.cli import render

    faults = Assistant.open(index).index.verify()
    for fault in faults:
        render.say(f"[red]fault[/] {fault}")
    if faults:
        raise typer.Exit(1)
    render.say(f"{index}: [green]verified[/]")
