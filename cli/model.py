"""``medclip train`` and ``medclip model``."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "train"]

app = typer.Typer(help="Look after trained models.", no_args_is_help=True, rich_markup_mode=None)


def choose_device(wanted: str) -> str:
    """The torch device to use; ``auto`` takes a GPU where there is one.

    Raises:
        MissingDependencyError: torch is not installed.
        BundleError: the device is not there.
    """
    from medclip.errors import BundleError, MissingDependencyError

    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("training needs torch", "train") from error
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and not (wanted.startswith("cuda") and torch.cuda.is_available()):
        raise BundleError(f"device {wanted!r} is not available here; use --device auto or --device cpu")
    return wanted


def choose_towers(towers: str, image_tower: str | None, text_tower: str | None) -> str:
    """One name of what the three options ask for.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    from medclip.errors import MissingDependencyError

    try:
        from medclip.training.towers import named
    except ImportError as error:
        raise MissingDependencyError("training needs torch", "train") from error
    return named(towers, image_tower, text_tower)


def train(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    compared: Annotated[
        list[str] | None,
        typer.Argument(help="With --compare: towers, as for --towers, or IMAGE+TEXT.", metavar="[towers]..."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The model folder to make.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Measure several towers on these cases, in one table; no model is made.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option(min=2, help="With --compare: patient-disjoint folds; without it, train and dev split.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --compare: print one object for each towers.")] = False,
    towers: Annotated[
        str,
        typer.Option(
            help="default, hf-hub:ORG/REPO, local-dir:FOLDER, an open_clip NAME:TAG, or transformers:FOLDER or ORG/NAME."
        ),
    ] = "default",
    image_tower: Annotated[
        str | None, typer.Option(help="Another image tower: as --towers, lite2, or one that reads scans alone.")
    ] = None,
    text_tower: Annotated[
        str | None,
        typer.Option(
            help="Another text tower: english (MiniLM), multilingual (16 languages), mpnet, as --towers, or a "
            "sentence-transformers FOLDER or ORG/NAME."
        ),
    ] = None,
    crops: Annotated[
        bool, typer.Option("--crops", help="Read overlapping crops of every picture too (ten times the work).")
    ] = False,
    baseline: Annotated[
        str | None, typer.Option(help="Train this reference design instead, to compare with: cnn-lstm.")
    ] = None,
    fuser: Annotated[str, typer.Option(help="sum, concat, gated or attention.")] = "sum",
    loss_weights: Annotated[
        str, typer.Option(help="Of alignment, labels and similarity in the fuser's joint loss.")
    ] = "1,1,0.3",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the projection, at most.")] = 30,
    unfreeze: Annotated[bool, typer.Option("--unfreeze", help="Tune the towers too (slow without a GPU).")] = False,
    unfreeze_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the towers, with --unfreeze.")] = 5,
    distil: Annotated[
        str | None,
        typer.Option(
            help="Towers whose image features the image tower learns first, on these scans (slow without a GPU)."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped training was.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing model, or an unfinished training.")
    ] = False,
) -> None:
    """Train a model on a cases folder: minutes on two cores, by default with frozen towers."""
    import time

    from medclip.cli import render
    from medclip.files.outputs import check_free

    _check_options(compared, out, compare=compare, folds=folds, as_json=as_json, baseline=baseline, unfreeze=unfreeze,
                   distil=distil, resume=resume, force=force, named=(towers, image_tower, text_tower))  # fmt: skip
    device = choose_device(device)
    if compare:
        _compare(cases, compared or [], folds, crops=crops, seed=seed, epochs=epochs, device=device, threads=threads,
                 as_json=as_json)  # fmt: skip
        return
    assert out is not None, "it was asked for above"
    if baseline is not None:
        _train_baseline(cases, out, baseline, seed=seed, force=force, threads=threads)
        return
    check_free(out, force=force, marker="bundle.json")
    from medclip.cases.manifest import read_cases
    from medclip.training.run import Reporter, train_model
    from medclip.training.settings import FuserSettings, Settings, TuneSettings, parse_weights
    from medclip.training.trainer import Epoch

    weights = parse_weights(loss_weights)
    loaded = read_cases(cases)
    started = time.monotonic()
    with render.progress() as bar:

        def show(epoch: Epoch, total: int) -> None:
            bar.at(epoch.number, total)
            recall = "" if epoch.recall is None else f", dev recall@10 {epoch.recall:.3f}"
            bar.note(f"epoch {epoch.number}: loss {epoch.loss:.3f}{recall}")

        report = train_model(
            loaded,
            cases,
            out,
            towers_name=choose_towers(towers, image_tower, text_tower),
            crops=crops,
            settings=Settings(seed=seed, epochs=epochs),
            fuser=FuserSettings(fuser, weights),
            tune=TuneSettings(seed=seed, epochs=unfreeze_epochs) if unfreeze else None,
            distil=distil,
            device=device,
            resume=resume,
            force=force,
            threads=threads,
            report=Reporter(stage=bar.stage, features=bar.at, epoch=show),
        )
    spent = time.monotonic() - started
    held = "chosen on" if report.choice.possible else "held out"
    why = f" (since {report.choice.reason})" if report.choice.reason else ""
    render.say(
        f"{out}: trained on {report.train_cases} cases ({report.train_scans} scans), {held} {report.dev_cases}; "
        f"epoch {report.best_epoch} of {report.epochs} kept, chosen by {report.choice.by}{why}; {spent:.0f} s on {device}"
    )
    if (taught := report.distilled) is not None and taught.before is not None and taught.after is not None:
        kept = f"epoch {taught.best} kept" if taught.best else "no epoch was better, so the tower is as it was"
        render.say(
            f"  learnt from {taught.teacher.whose}: cosine on the dev scans {taught.before:.3f} by a linear map alone, "
            f"{taught.after:.3f} now ({kept})"
        )
    for name, value in report.figures.items():
        render.say(f"  dev {name}: {value:.3f}" if value < 1 else f"  dev {name}: {value:g}")
    for heading, parts in (("seconds", report.seconds), ("reading, over all threads", report.work)):
        if parts:
            render.say(f"  {heading}: {', '.join(f'{name} {seconds:.1f}' for name, seconds in parts.items())}")


def _check_options(
    compared: list[str] | None,
    out: Path | None,
    *,
    compare: bool,
    folds: int | None,
    as_json: bool,
    baseline: str | None,
    unfreeze: bool,
    distil: str | None,
    resume: bool,
    force: bool,
    named: tuple[str, str | None, str | None],
) -> None:
    """Refuse options that do not go together.

    Raises:
        OptionError: those of --compare and of making a model are mixed, or --out is missing.
    """
    from medclip.errors import OptionError

    if not compare:
        for said, option in ((compared, "towers after the cases"), (folds, "--folds"), (as_json, "--json")):
            if said:
                raise OptionError(f"{option} are for --compare alone; name towers by --towers")
        if distil is not None and unfreeze:
            raise OptionError("--distil and --unfreeze both train the image tower; give one of them")
        if out is None:
            raise OptionError("--out is missing; name the model folder to make, or compare towers with --compare")
        return
    making = {"--out": out, "--baseline": baseline, "--unfreeze": unfreeze, "--distil": distil, "--resume": resume,
              "--force": force, "--towers": named[0] != "default", "--image-tower": named[1],
              "--text-tower": named[2]}  # fmt: skip
    if wrong := next((option for option, said in making.items() if said), None):
        raise OptionError(f"{wrong} is for making a model, and --compare makes none; name the towers after the cases")


def _compare(
    cases: Path,
    names: list[str],
    folds: int | None,
    *,
    crops: bool,
    seed: int,
    epochs: int,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from medclip.cases.manifest import read_cases
    from medclip.cli import comparison_table, render
    from medclip.evaluation.comparison import compare_towers
    from medclip.evaluation.crossval import training_note
    from medclip.training.run import Reporter
    from medclip.training.settings import Settings

    settings = Settings(seed=seed, epochs=epochs)
    with render.progress() as bar:

        def report(name: str) -> Reporter:
            return Reporter(
                stage=lambda stage: bar.stage(f"{name}: {stage}"),
                features=bar.at,
                epoch=lambda epoch, total: bar.at(epoch.number, total),
            )

        loaded = read_cases(cases)
        found = compare_towers(
            names,
            loaded,
            cases,
            folds=folds,
            crops=crops,
            settings=settings,
            device=device,
            threads=threads,
            report=report,
        )
    if as_json:
        render.err.print(training_note(settings), soft_wrap=True)
        render.print_json([asdict(one) for one in found])
        return
    if any(case.synthetic for case in loaded):
        render.say(("SYNTHETIC cases: these figures say nothing about real scans.", "magenta"))
    render.say(training_note(settings))
    comparison_table.show(found)


def _train_baseline(cases: Path, out: Path, name: str, *, seed: int, force: bool, threads: int | None) -> None:
    import torch

    from medclip.cli import figure_tables, render
    from medclip.errors import BundleError
    from medclip.evaluation.baseline import train_baseline
    from medclip.training.baseline import BASELINE
    from medclip.training.settings import BaselineSettings

    if name != BASELINE:
        raise BundleError(f"baseline {name!r} is not known; there is {BASELINE}")
    if threads:
        torch.set_num_threads(threads)
    with render.progress() as bar:
        figures = train_baseline(cases, out, BaselineSettings(seed=seed), force=force, stage=bar.stage, progress=bar.at)
    render.say(f"{out}: the {BASELINE} baseline, measured on the dev cases")
    figure_tables.figures(figures)


@app.command()
def verify(model: Annotated[Path, typer.Argument(help="A model folder.")]) -> None:
    """Check that a model folder is what training wrote, and gives the embeddings that training saw."""
    from importlib.util import find_spec

    from medclip.bundle.verify import verify_bundle
    from medclip.cli import render

    found = verify_bundle(model)
    by_torch = "not checked with torch (not installed)"
    if find_spec("torch") and find_spec("open_clip"):
        from medclip.training.verify import verify_torch

        by_torch = f"torch {verify_torch(model):.6f}"
    render.say(f"{model}: ", ("verified", "green"), f"; {found.files} files, {found.tensors} tensors")
    render.say(f"reference outputs recomputed: onnxruntime {found.onnx_cosine:.6f}, {by_torch} (least cosine)")
    for one in found.weights:
        render.say(f"weights: {one}")
    render.say(f"fingerprint {found.fingerprint[:16]}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ORG/NAME of the hub, a folder, or either with the prefix of --towers.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that was fetched before.")] = False,
) -> None:
    """Copy published towers into one folder, complete and loaded once, for machines without a connection."""
    from medclip.cli import render
    from medclip.errors import MissingDependencyError

    try:
        from medclip.training.towers.fetch import fetch as fetched
    except ImportError as error:
        raise MissingDependencyError("towers are loaded by torch", "train") from error
    with render.progress() as bar:
        found = fetched(name, out, force=force, stage=bar.stage)
    render.say(f"{out}: reads {found.reads}; {found.bytes / 1e6:.0f} MB")
    render.say(f"licence: {found.licence}", (f"; mind: {found.restriction}" if found.restriction else "", "magenta"))
    if found.intended_use:
        render.say(f"intended use, in its own words: {found.intended_use}")
    texts, scans = found.reads.startswith("texts"), "texts" not in found.reads
    option = "--text-tower" if texts else "--image-tower" if scans else "--towers"
    render.say(f"train with it:  medclip train CASES --out MODEL {option} {found.name}")


@app.command()
def report(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    index: Annotated[Path | None, typer.Option(help="An index that was built with it.")] = None,
    figures: Annotated[Path | None, typer.Option(help="What evaluate --json printed, as a file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The Markdown file to make; without it, print it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
) -> None:
    """Fill in a reporting checklist (TRIPOD+AI, CLAIM 2024) with what is known, and say what is left to people."""
    from medclip.cli import render
    from medclip.files.outputs import check_free_file, new_file
    from medclip.reporting.checklist import MARK, as_dict, as_markdown, make_report

    if out is not None:
        check_free_file(out, force=force, marker=MARK)
    made = make_report(model, index, figures)
    if out is not None:
        with new_file(out, force=force, marker=MARK) as partial:
            partial.write_text(as_markdown(made), encoding="utf-8")
    if as_json:
        render.print_json(as_dict(made))
    elif out is None:
        render.say(as_markdown(made))
    else:
        for one in made.checklists:
            render.say(
                f"{out}: {one.name}: of {len(one.items)} items {one.count('filled')} filled, {one.count('begun')} begun, "
                f"{one.count('yours')} left to you"
            )
