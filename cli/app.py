"""The command ``medclip``. Each command lives in a file beside this one and imports what it needs when it runs."""

import atexit
import contextlib
import errno
import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from medclip import DISCLAIMER, __version__
from medclip.cli import ask, cases, demo, embed, evaluate, explain, index, model, serve
from medclip.errors import MedclipError

__all__ = ["app", "main", "run"]

_ASKING = ("query", "similar", "explain", "serve")

app = typer.Typer(
    help=f"Similar cases from your own archive, and what they turned out to be. {DISCLAIMER}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": sys.maxsize},  # help as wide as the terminal, not 80 columns
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medclip {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand in _ASKING:
        # What a question multiplies is small: threads of BLAS would only wait for each other, milliseconds beside a busy
        # process. Numpy reads this when it is loaded.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


app.add_typer(cases.app, name="cases")
app.command("train")(model.train)
app.add_typer(model.app, name="model")
app.command("embed")(embed.embed)
app.add_typer(index.app, name="index")
app.command("query")(ask.query)
app.command("similar")(ask.similar)
app.command("explain")(explain.explain)
app.command("serve")(serve.serve)
app.command("evaluate")(evaluate.evaluate)
app.command("demo")(demo.demo)


def _fail(line: str) -> NoReturn:
    from medclip.cli.render import visible

    print(f"medclip: {' '.join(visible(line).split())}", file=sys.stderr)
    sys.exit(2)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def main() -> None:
    """Entry point: a user's mistake becomes one line on stderr and exit code 2."""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name or a text that the locale cannot show ends no command
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a full disk can still be named
    except MedclipError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except ValueError:
        if all(_is_text(argument) for argument in sys.argv):
            raise
        _fail("an argument is not UTF-8 text; write it as such")
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written is not tried again
            _fail(f"the output cannot be written ({error.strerror})")
        if error.filename is None:
            raise
        _fail(f"{os.fsdecode(error.filename)}: {error.strerror}; check the path, its permissions and the disk")
    except KeyboardInterrupt:
        print("medclip: interrupted", file=sys.stderr)
        sys.exit(130)


def run() -> None:
    """What the installed command is: `main`, and then an end at once.

    Threads are waited for and what was to be done at the end is done, but nothing that was loaded is taken apart, which takes
    a tenth of a second.
    """
    ended: list[int] = []
    atexit.register(_end, ended)  # before all others, so that it comes last
    try:
        main()
        ended.append(0)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            ended.append(error.code or 0)
        raise


def _end(ended: list[int]) -> None:
    """End as was said; where a mistake of the program ends it, Python does."""
    if ended:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ended[0])
