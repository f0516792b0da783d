"""The command ``medclip``. Each command lives in a file beside this one and imports what it needs when it runs."""

import sys
from typing import Annotated

import typer

from medclip import DISCLAIMER, __version__
from medclip.cli import ask, cases, demo, embed, evaluate, index, model
from medclip.errors import MedclipError

__all__ = ["app", "main"]

app = typer.Typer(
    help=f"Similar cases from your own archive, and what they turned out to be. {DISCLAIMER}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medclip {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.add_typer(cases.app, name="cases")
app.command("train")(model.train)
app.add_typer(model.app, name="model")
app.command("embed")(embed.embed)
app.add_typer(index.app, name="index")
app.command("query")(ask.query)
app.command("similar")(ask.similar)
app.command("evaluate")(evaluate.evaluate)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point: a user's mistake becomes one line on stderr and exit code 2."""
    try:
        app()
    except MedclipError as error:
        print(f"medclip: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("medclip: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
