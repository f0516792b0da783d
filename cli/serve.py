"""``medclip serve``."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from medclip.cli.ask import VERIFY

__all__ = ["serve"]


def serve(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine reach 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which it is called, as behind a proxy; may be repeated."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token for programs (API) and for entering; made if it is missing."),
    ] = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="Who asked what kind of thing when. Default: in ~/.local/state/medclip.")
    ] = None,
    originals: Annotated[
        Path | None,
        typer.Option(help="The cases folder that the index was built from: its scans can be looked at slice by slice."),
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="Browsers reach it by https, through a proxy.")] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Questions that are worked on at once.")] = 2,
    verify: Annotated[bool, VERIFY] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
) -> None:
    """Open an index to browsers and programs on this machine, until it is stopped by Ctrl-C."""
    gc.disable()  # while so much is loaded that stays
    from medclip.archive.layout import MODEL
    from medclip.bundle.layout import ServingLayout, ServingManifest, read_model
    from medclip.cli import render
    from medclip.server.run import Listening, serve_index

    listening = Listening(host, port, tuple(name or ()), https)

    def ready(link: str) -> None:
        gc.freeze()
        gc.enable()
        render.say(f"{index} is open. This link lets one browser in, once:")
        render.say((link, "bold"))
        model = read_model(
            ServingLayout(index / MODEL).manifest, ServingManifest, "build the index again, or restore it"
        )
        for one in model.weights:
            if one.mind:
                render.say((f"weights: {one}", "magenta"))
        render.say(f"Programs: a token in a file by --token-file. Log: {where}. Stop it with Ctrl-C.")

    where = audit_log or Path.home() / ".local" / "state" / "medclip" / "audit.jsonl"
    serve_index(
        index,
        listening,
        token_file=token_file,
        audit_log=where,
        originals=originals,
        at_once=at_once,
        threads=threads,
        verify=verify,
        ready=ready,
    )
