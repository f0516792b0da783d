"""``medclip demo``: the whole way on the synthetic sample cohort."""

import csv
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medclip.cases.case import Case

__all__ = ["demo"]

_MARKER = ".medclip-demo"
_OWN = 3  # cases in the folder that shows how one's own may look


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing demo folder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
) -> None:
    """Draw a synthetic cohort, train on it, index it, ask it, and write the answer as a page."""
    from medclip.cli import render
    from medclip.files.outputs import new_folder

    started = time.monotonic()
    with new_folder(out, force=force, marker=_MARKER):
        pass
    cases, model, index = out / "cases", out / "model", out / "index"
    seeded = ["--seed", str(seed)] if seed else []
    steps = _Steps(6, partial(context.find_root().command.main, standalone_mode=False))
    # The times are those of two cores.
    steps.take("Draw a cohort of patients", 6, ["cases", "import", "sample", "--out", cases, *seeded])
    steps.take("Look at what is in it", 1, ["cases", "check", cases])
    steps.take("Train a model on it", 80, ["train", cases, "--out", model, *seeded])
    steps.take("Check that the model on the disk answers as it was trained to", 2, ["model", "verify", model])
    steps.take(
        "Build an index of the patients to compare with",
        7,
        ["index", "build", cases, "--model", model, "--split", "train", "--out", index, *seeded],
    )
    new, other = _unseen(cases)[:2]
    about = ["--text", new.note_text("history"), "--age", f"{new.age:g}", "--sex", new.sex]
    asking = ["query", index, "--scan", cases / new.scans[0].file, *about, "-k", "5", "--html", out / "page.html"]
    steps.take("Ask it about a patient whom it has never seen", 2, asking)
    _write_own(out / "own", cases)
    render.say(f"\nDone in {_spoken(time.monotonic() - started)}. Open {out / 'page.html'} in a browser.")
    following: list[tuple[str, Sequence[object]]] = [
        (
            "Another patient, by the scan alone, as a page",
            ["query", index, "--scan", cases / other.scans[0].file, "--html", out / "scan.html"],
        ),
        ("Ask and walk it in a browser", ["serve", index]),
        ("What the index can answer, and how well", ["index", "info", index]),
        (
            f"Your own cases: put yours into {out / 'own' / 'cases.csv'}, or name a folder of yours with such a file",
            ["cases", "import", "folder", out / "own", "--out", out / "own-cases"],
        ),
    ]
    render.say("What to try next:")
    for why, arguments in following:
        render.say(f"  {why}:")
        render.say((f"    {_command(arguments)}", "bold cyan"))


class _Steps:
    """The commands of the demo, each announced as it could be typed, with its time."""

    def __init__(self, total: int, run: Callable[[list[str]], Any]) -> None:
        """None taken yet.

        Args:
            total: how many there will be.
            run: runs ``medclip`` with these arguments and returns its exit code, if that is not 0.
        """
        self._total, self._run, self._taken = total, run, 0

    def take(self, what: str, seconds: float, arguments: Sequence[object]) -> None:
        """Run one command as if it had been typed.

        Args:
            what: what it does, in a line.
            seconds: that it usually takes.
            arguments: of ``medclip``.

        Raises:
            typer.Exit: the command found something wrong.
        """
        from medclip.cli import render

        self._taken += 1
        render.say((f"\n({self._taken}/{self._total}) {what}: about {_spoken(seconds)}", "bold"))
        render.say((f"$ {_command(arguments)}", "bold cyan"))
        sys.stdout.flush()
        started = time.monotonic()
        if code := self._run([str(argument) for argument in arguments]):
            raise typer.Exit(code)
        render.say((f"({self._taken}/{self._total}) took {_spoken(time.monotonic() - started)}", "dim"))


def _spoken(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def _command(arguments: Sequence[object]) -> str:
    """The line that runs ``medclip`` with these arguments when it is pasted into the shell that this one came from."""
    return shlex.join([_called(), *map(str, arguments)])


def _called() -> str:
    """How this very ``medclip`` is called from here: by name if the shell finds it by that, else by its path."""
    script = Path(sys.argv[0])
    if script.name != "medclip" or not script.is_file():
        script = Path(sys.executable).with_name("medclip")  # run by python -c or -m
    found = shutil.which("medclip")
    if found is not None and os.path.abspath(found) == os.path.abspath(script):
        return "medclip"
    path = Path(os.path.abspath(script))  # not resolved: a link in an environment belongs to it
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _unseen(cases: Path) -> "list[Case]":
    """The dev cases with a lesion: the index has never seen their patients."""
    from medclip.cases.manifest import read_cases

    return [c for c in read_cases(cases) if c.split == "dev" and c.labels["finding"] != "none"]


def _write_own(folder: Path, cases: Path) -> None:
    """A small folder as one of one's own may look: a CSV beside the pictures that it names."""
    folder.mkdir()
    rows = []
    for case in _unseen(cases)[:_OWN]:
        scan = case.scans[0]
        copy = Path(shutil.copy(cases / scan.file, folder))
        rows.append(
            {
                "case": case.id,
                "patient": case.patient,
                "scan": copy.name,
                "modality": scan.modality,
                "history": case.note_text("history"),
                "age": f"{case.age:g}",
                "sex": case.sex,
                "label.finding": case.labels["finding"],
            }
        )
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
