"""``medclip index``."""

from pathlib import Path
from typing import Annotated

import typer

from medclip.cli import browse, upkeep
from medclip.cli.place import BACKEND, FILES, LATENCY, MEMORY, RECALL, URI, place_of

__all__ = ["app"]

app = typer.Typer(help="Build and inspect an index of cases.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def build(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    model: Annotated[Path, typer.Option("--model", help="A model folder.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", help="The index folder to make.")] = ...,  # type: ignore[assignment]
    split: Annotated[str | None, typer.Option(help="Only cases of this split: train, dev or test.")] = None,
    embedded: Annotated[
        Path | None, typer.Option("--embedded", help="What  medclip embed  wrote of these cases with this model.")
    ] = None,
    backend: Annotated[str, BACKEND] = "faiss",
    uri: Annotated[str | None, URI] = None,
    files: Annotated[str | None, FILES] = None,
    memory: Annotated[str | None, MEMORY] = None,
    latency: Annotated[str | None, LATENCY] = None,
    recall: Annotated[float, RECALL] = 0.98,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds that calibrate the answers.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing index.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed every case and build a self-contained index folder, with the model and the fitted probes inside.

    A build that was interrupted goes on where it stopped when it is run again.
    """
    from dataclasses import asdict

    from medclip.archive.build import build_index
    from medclip.archive.layout import REPORT
    from medclip.assistant.assistant import Assistant
    from medclip.cases.manifest import StoredCases
    from medclip.cli import render
    from medclip.files.outputs import check_free

    check_free(out, force=force, marker="index.json")
    place = place_of(backend, uri, files, memory, latency, recall)
    loaded = StoredCases(cases, split)
    with render.progress() as bar:
        bar.stage("embedding cases", len(loaded))
        report = build_index(
            loaded, cases, model, out,
            force=force, seed=seed, threads=threads, place=place, shards=embedded, progress=bar.advance,
        )  # fmt: skip
    if as_json:
        render.print_json(asdict(report))
        return
    render.say(f"{out}: {report.cases} cases, {report.views} views")
    if report.skipped or report.partial:
        render.say(
            (f"{len(report.skipped)} cases skipped, parts of {len(report.partial)} left out", "yellow"),
            f"; {out / REPORT} says why",
        )
    _say(Assistant.open_without_model(out))


@app.command()
def info(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw how far stated probabilities come true (PNG, SVG or PDF).")
    ] = None,
) -> None:
    """Say what an index can answer, and how well."""
    from medclip.archive.layout import manifest_of
    from medclip.assistant.account import account_of
    from medclip.assistant.assistant import Assistant
    from medclip.cli import render

    assistant = Assistant.open_without_model(index)
    if picture is not None:
        from medclip.cli.plot import check_picture, draw_reliability

        check_picture(picture)
        draw_reliability(assistant.capabilities(), picture)
        if not as_json:
            render.say(f"drawn: {picture}")
    account = account_of(assistant)
    if as_json:
        render.print_json(account)
        return
    judging = account["novelty"]
    render.say(f"{index}: {account['cases']} cases, {account['views']} views")
    _say(assistant)
    for one in manifest_of(assistant.index).weights:
        render.say(f"weights: {one}")
    able = [f"{kind} ({one['patients']} patients)" for kind, one in (judging or {}).items() if one["can_tell"]]
    if judging is None:
        render.say(
            "what the archive holds nothing like is not told: train its model anew, and build or compact it with that"
        )
    elif not able:
        render.say("what the archive holds nothing like is not told: too few patients to tell it by")
    else:
        render.say(f"tells what the archive holds nothing like, of {', '.join(able)}")


@app.command()
def stats(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how much an index holds, in which search structure, and whether another would serve better."""
    from medclip.cli import render
    from medclip.index import CaseIndex

    opened = CaseIndex.open(index)
    found = opened.stats()
    opened.close()
    if as_json:
        render.print_json(found)
        return
    for name, value in found.items():
        if name == "advice":
            continue
        by_kind = isinstance(value, dict) and any(isinstance(one, dict) for one in value.values())
        for kind, one in value.items() if by_kind else [("", value)]:
            said = ", ".join(f"{k} {v}" for k, v in one.items()) if isinstance(one, dict) else one
            render.say(f"{name}{f' of {kind}' if kind else ''}: {said}")
    for line in found["advice"]:
        render.say(f"advice: {line}")


def _say(assistant: "Assistant") -> None:  # type: ignore[name-defined]  # noqa: F821
    from medclip.assistant import wording
    from medclip.assistant.cautions import OUTDATED, not_fitted_among
    from medclip.cli import render

    if (odd := OUTDATED if assistant.outdated else not_fitted_among(assistant.index)) is not None:
        render.say((odd, "yellow"))
    for capability in assistant.capabilities():
        classes = ", ".join(f"{label} {count}" for label, count in capability.patients.items())
        render.say("answers ", (capability.label_set, "bold"), f" (patients: {classes})")
        render.out.print(render.measured_table(capability))
        for line in wording.sets_hold(capability):
            render.say(line)
    render.say(f"measurements that a query may have: {', '.join(assistant.measurements) or 'none'}")
    coverage = assistant.coverage()
    if coverage.cases:
        render.say(
            f"diagnoses: {coverage.nameable} of {coverage.cases} cases share theirs with another patient's case, so at "
            f"most {coverage.nameable / coverage.cases:.0%} of new cases could be named by one: diagnoses are shown, not voted on"
        )


@app.command()
def verify(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Make damaged search structures anew from the stored vectors.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check every file of an index folder by checksums and counts, search it, and run its model; exit code 1 at a fault."""
    from dataclasses import asdict

    from medclip.archive.verify import verify_index
    from medclip.cli import render

    found = verify_index(index, repair=repair)
    if as_json:
        render.print_json(asdict(found))
    else:
        for line in found.mended:
            render.say(("mended", "yellow"), f" {line}")
        for fault in found.faults:
            render.say(("fault", "red"), f" {fault}")
        for note in found.notes:
            render.say(("note", "yellow"), f" {note}")
        if not found.faults:
            render.say(f"{index}: ", ("verified", "green"))
    if found.faults:
        raise typer.Exit(1)


browse.register(app)
upkeep.register(app)
