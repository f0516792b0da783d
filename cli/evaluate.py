"""``medclip evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Patient-disjoint cross-validation; without it, train and dev split.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Measure this index on the cases, which it must never have seen.")
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Every fuser on every subset of the modalities, in one table.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --ablate: the table as a picture (PNG, SVG or PDF).")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Fields as in --where, parted by commas (sex,age,modality): the answers for each group."),
    ] = None,
    towers: Annotated[str, typer.Option(help="As for train.")] = "default",
    image_tower: Annotated[str | None, typer.Option(help="As for train.")] = None,
    text_tower: Annotated[str | None, typer.Option(help="As for train.")] = None,
    crops: Annotated[bool, typer.Option("--crops", help="As for train.")] = False,
    distil: Annotated[str | None, typer.Option(help="As for train; on the train and dev split alone.")] = None,
    fuser: Annotated[str, typer.Option(help="As for train.")] = "sum",
    loss_weights: Annotated[str, typer.Option(help="As for train.")] = "1,1,0.3",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
    epochs: Annotated[
        int, typer.Option(min=1, help="Epochs of the projection: all of them, no dev set chooses one.")
    ] = 30,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a figure.")] = False,
) -> None:
    """Measure retrieval and diagnosis on cases that chose nothing: by split, by folds, or with an index."""
    from dataclasses import asdict

    from medclip.cases.manifest import read_cases
    from medclip.cli import figure_tables, render
    from medclip.errors import CaseError
    from medclip.evaluation.subgroups import read_fields

    if index is not None and ablate:
        raise CaseError("--ablate trains anew and --index measures what is there; give one of them")
    if picture is not None and not ablate:
        raise CaseError("--picture draws what --ablate measures; give both")
    if folds is not None and index is not None:
        raise CaseError("--folds trains anew and --index measures what is there; give one of them")
    if distil is not None and index is not None:
        raise CaseError("--distil trains anew and --index measures what is there; give one of them")
    if by is not None and ablate:
        raise CaseError("--by measures the answers and --ablate what fusers show; give one of them")
    if picture is not None:
        from medclip.cli.plot import check_picture

        check_picture(picture)
    loaded = read_cases(cases)
    fields = read_fields(by, loaded)
    note = None
    with render.progress() as bar:
        if index is not None:
            from medclip.evaluation.held_out import measure_index

            bar.stage("embedding held-out cases", len(loaded))
            measured = measure_index(index, loaded, cases, by=fields, threads=threads, progress=bar.advance)
        else:
            from medclip.cli.model import choose_device, choose_towers

            device = choose_device(device)
            from medclip.evaluation.crossval import cross_validate, training_note
            from medclip.training.run import Reporter
            from medclip.training.settings import FuserSettings, Settings, parse_weights
            from medclip.training.trainer import Epoch

            def show(epoch: Epoch, total: int) -> None:
                bar.at(epoch.number, total)

            chosen = Settings(seed=seed, epochs=epochs)
            note = training_note(chosen)
            measured = cross_validate(
                loaded,
                cases,
                folds=folds,
                towers_name=choose_towers(towers, image_tower, text_tower),
                crops=crops,
                settings=chosen,
                ablate=ablate,
                by=fields,
                distil=distil,
                fuser=FuserSettings(fuser, parse_weights(loss_weights)),
                device=device,
                threads=threads,
                report=Reporter(stage=bar.stage, features=bar.at, epoch=show),
            )
    if picture is not None:
        from medclip.cli.plot import draw_ablation

        draw_ablation(measured, picture)
    if as_json:
        if note is not None:  # stdout is the figures alone
            render.err.print(note, soft_wrap=True)
        render.print_json([asdict(figure) for figure in measured])
        return
    if any(case.synthetic for case in loaded):
        render.say(("SYNTHETIC cases: these figures say nothing about real scans.", "magenta"))
    if note is not None:
        render.say(note)
    if ablate:
        figure_tables.ablation(measured)
    else:
        figure_tables.figures(measured)
