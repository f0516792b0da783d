"""``medclip embed``."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["embed"]


def embed(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    model: Annotated[Path, typer.Option("--model", help="A model folder.")] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option("--out", help="The folder of embedded cases to make or to go on with.")] = ...,  # type: ignore[assignment]
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that sees the same folders: HOST:6379, auto or local.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only cases of this split: train, dev or test.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each process; all cores by default.")
    ] = None,
) -> None:
    """Embed cases into shards for  medclip index build --embedded; run again, it makes only what is missing."""
    from medclip.cases.manifest import StoredCases
    from medclip.cli import render
    from medclip.embedding.on_ray import embed_on_ray
    from medclip.embedding.shards import embed_archive

    loaded = StoredCases(cases, split)
    with render.progress() as bar:
        bar.stage("embedding cases", len(loaded))
        if ray is None:
            made = embed_archive(loaded, cases, model, out, threads=threads, progress=bar.advance)
        else:
            made = embed_on_ray(loaded, cases, model, out, address=ray, threads=threads, progress=bar.advance)
    render.say(f"{out}: {len(loaded)} cases in {len(made)} shards")
