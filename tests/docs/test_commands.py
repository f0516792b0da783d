"""Every command in README and docs: that it can be understood by the program, and that those of the tutorial work as printed."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from medclip.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
TUTORIAL = ROOT / "docs" / "tutorial.md"
Medclip = Callable  # type: ignore[type-arg]


class Written(NamedTuple):
    """A command as it stands on a page."""

    page: Path
    words: tuple[str, ...]
    whole: bool  # or only named in a sentence, without all that it is asked of

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words)}"


def _lines(block: str) -> Iterator[str]:
    yield from block.replace("\\\n", " ").splitlines()


def _written(page: Path) -> Iterator[Written]:
    """The commands in fenced blocks, and those in code within a line that name an option or a file."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    inline = re.findall(r"`(medclip [a-z-]+ [^`]*\S)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = [(line, True) for block in fenced for line in _lines(block)] + [(line, False) for line in inline]
    for line, whole in lines:
        if line.lstrip().startswith("medclip "):
            yield Written(page, tuple(shlex.split(line, comments=True)[1:]), whole)


COMMANDS = [one for page in PAGES if page.exists() for one in _written(page)]


def _fault(words: tuple[str, ...]) -> str | None:
    """What the program would say of a command before it runs it: an unknown command or option, a missing argument."""
    try:
        _parse(words)
    except Exception as error:  # noqa: BLE001 (click's, which typer brings along under another name)
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


def _parse(words: tuple[str, ...]) -> None:
    command, rest = typer.main.get_command(app), list(words)
    context = typer.Context(command, info_name="medclip")
    while hasattr(command, "commands"):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, typer.Context(found, info_name=name, parent=context)
    command.parse_args(context, rest)


def test_there_are_commands_on_every_kind_of_page() -> None:
    pages = {one.page.relative_to(ROOT).parts[0] for one in COMMANDS}
    assert {"README.md", "README.zh.md", "docs"} <= pages
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("written", COMMANDS, ids=str)
def test_a_command_is_one_of_the_program_s(written: Written) -> None:
    wrong = _fault(written.words)
    assert wrong is None or (not written.whole and wrong.startswith("MissingParameter")), f"{written}: {wrong}"


@pytest.mark.parametrize("wrong", ["query index --scna a.png", "indx build cases", "cases import", "train cases --out"])
def test_a_command_that_is_not_is_seen(wrong: str) -> None:
    assert _fault(tuple(shlex.split(wrong))) is not None


def test_every_make_target_that_is_named_is_there() -> None:
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [*PAGES, ROOT / "ARCHITECTURE.md"]:
        if page.exists():
            named = set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")))
            named |= set(re.findall(r"^make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M))
            assert named <= there, (page, named - there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_tutorial_works_as_printed(
    sample: Path, model: Path, index: Path, tmp_path: Path, medclip: Medclip
) -> None:
    """What takes minutes is there already, made by the same commands; all else is run, in order, in an empty folder."""
    made = {"cases": sample, "model": model, "index": index}
    for name, place in made.items():
        shutil.copytree(place, tmp_path / name)
    ran = []
    for written in _written(TUTORIAL):
        if written.words[:2] in {("cases", "import"), ("index", "build")} or written.words[0] == "train":
            assert _fault(written.words) is None
            continue
        done = medclip(*written.words, cwd=tmp_path)
        assert done.code == 0, (written, done.err)
        ran.append((written.words[0], done.out))
    assert [name for name, _ in ran] == ["cases", "model", "index", "query", "similar", "query"]
    assert "similar cases" in ran[3][1]
    assert (tmp_path / "answer.html").stat().st_size > 10_000
