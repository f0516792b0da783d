"""Every command in README and docs: that the program understands it, and that what the README and the tutorial print works.

All are parsed; run are those of the README, of the tutorial and, upon an index, of the how-to pages (`ONLY_PARSED` names the
others, with the reason).
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from medclip.cases import Case
from medclip.cases.table import CASE_COLUMNS, NOTE_KINDS
from medclip.cli.app import app
from tests.server.browser.served import serving
from tests.tiny_hub import as_biomedclip

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
Medclip = Callable  # type: ignore[type-arg]


class Written(NamedTuple):
    """A command as it stands on a page."""

    page: Path
    words: tuple[str, ...]
    whole: bool  # or only named in a sentence, without all that it is asked of

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words)}"


README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))

ONLY_PARSED = {
    "http://milvus:19530": "asks a Milvus cluster and an object store",
    "--ray": "asks a Ray cluster",
    "--embedded": "takes what the Ray cluster made",
    "MPX1009": "is a case of MedPix",
    "evaluate": "trains or needs another hospital's cases: minutes",
    "train": "is run for the README and the tutorial; here it stands with towers that take minutes",
    "build": "is run for the README and the tutorial",
    "verify model": "is run for the tutorial",
    "transcribe": "loads Whisper; tests/modalities/test_speech.py runs it",
    "--audio": "the same",
    "label": "loads the lexicon; tests/cases/test_labelling.py runs it",
    "import dicom": "is run for the README",
}
"""Words of commands on the how-to pages that are parsed and not run, and why."""

CHEAPER = {"train": ["--towers", "local-dir:{towers}", "--epochs", "1", "--device", "cpu"]}
"""What is added to a command so that it takes seconds: small towers for one epoch. The last of an option counts."""


def _lines(block: str) -> Iterator[str]:
    yield from block.replace("\\\n", " ").splitlines()


def _written(page: Path) -> Iterator[Written]:
    """The commands in fenced blocks, and those in code within a line that name an option or a file."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    for line in (line for block in fenced for line in _lines(block)):
        if line.lstrip().startswith("medclip "):
            yield Written(page, tuple(shlex.split(line, comments=True)[1:]), True)
    for code in _inline(text):
        words = shlex.split(code.removeprefix("medclip "))
        if len(words) > 1 and (code.startswith("medclip ") or words[0] in PROGRAM.commands):  # type: ignore[attr-defined]
            yield Written(page, tuple(words), False)


def _inline(text: str) -> list[str]:
    """Code within lines."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


PROGRAM = typer.main.get_command(app)
COMMANDS = [one for page in PAGES if page.exists() for one in _written(page)]


def _fault(words: tuple[str, ...]) -> str | None:
    """What the program would say of a command before it runs it: an unknown command or option, a missing argument."""
    try:
        _parse(words)
    except Exception as error:  # noqa: BLE001 (click's, which typer brings along under another name)
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


def _parse(words: tuple[str, ...]) -> None:
    command, rest = PROGRAM, list(words)
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


def _options(command: object) -> Iterator[str]:
    for sub in getattr(command, "commands", {}).values():
        yield from _options(sub)
    for one in command.params:  # type: ignore[attr-defined]
        yield from (*one.opts, *one.secondary_opts)


def test_every_option_named_in_a_sentence_is_one_of_the_program_s() -> None:
    known = set(_options(PROGRAM)) | {"--help"}
    named = {(page.name, code.split()[0]) for page in PAGES if page.exists()
             for code in _inline(page.read_text(encoding="utf-8")) if code.startswith("--")}  # fmt: skip
    assert len(named) > 10
    assert [one for one in sorted(named) if one[1] not in known] == []


def test_every_message_that_is_explained_is_one_of_the_program_s() -> None:
    sources = [file for top in ("medclip", "index", "cli") for file in sorted((ROOT / top).rglob("*.py"))]
    said = " ".join(" ".join(file.read_text(encoding="utf-8") for file in sources).split())
    page = (ROOT / "docs" / "how-to" / "trouble.md").read_text(encoding="utf-8")
    messages = [code for row in re.findall(r"^\|([^|]+)\|", page, re.M) for code in _inline(row)]
    assert len(messages) > 5
    assert [one for one in messages if one not in said] == []


def test_every_column_of_a_csv_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "own-cases.md").read_text(encoding="utf-8")
    columns = {"case", "scan", "modality", "plane", "caption", *CASE_COLUMNS, *(f"{kind}.audio" for kind in NOTE_KINDS)}
    assert {one for one in columns if f"`{one}`" not in page} == set()


def test_only_what_is_on_a_page_is_left_out_of_the_run() -> None:
    written = [" ".join(one.words) for page in HOW_TO for one in _written(page) if one.whole]
    assert [word for word in ONLY_PARSED if not any(_is_in(word, one) for one in written)] == []


def _is_in(words: str, written: str) -> bool:
    return f" {words} " in f" {written} "


class Desk:
    """A folder with the things that a page takes for granted, in which its commands are run in order."""

    def __init__(self, folder: Path, medclip: Medclip, towers: Path) -> None:
        self.folder, self._medclip, self._towers = folder, medclip, towers
        self.stands_for: dict[str, str] = {}  # a word on the pages → the real thing's

    def put(self, name: str, thing: Path) -> None:
        """A copy of a real thing, under the name that the page uses; replaces what is there."""
        place = self.folder / name
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if thing.is_dir() else shutil.copy)(thing, place)

    def run(self, written: Written) -> str:
        """What a command says; it must do well."""
        added = [word.format(towers=self._towers) for word in CHEAPER.get(written.words[0], [])]
        words = [self.stands_for.get(word, word) for word in written.words]
        if words[0] == "serve":
            return self._opened(words)
        done = self._medclip(*words, *added, cwd=self.folder)
        assert done.code == 0, (str(written), done.err)
        return str(done.out)

    def _opened(self, words: Sequence[str]) -> str:
        """What a server says when it is open; it is stopped then."""
        scratch = self.folder / "served"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        options = [word for word in words[2:] if word not in ("--token-file", "token")]  # it is given one of its own
        with serving(self.folder / words[1], scratch, *options) as site:
            return f"open at {site.link}"


@pytest.fixture
def desk(tmp_path: Path, medclip: Medclip, hub_layout: Path) -> Desk:
    return Desk(tmp_path, medclip, hub_layout)


def _run(desk: Desk, page: Path, after: dict[tuple[str, ...], dict[str, Path]]) -> list[tuple[str, str]]:
    """Run the commands of a page; returns each one's first words and what it said.

    Args:
        desk: where.
        page: whose commands.
        after: first words of a command → what then takes the place of what it made, so that what follows is quick,
            or answers as well as what the page's own command would have made in minutes.
    """
    ran = []
    for written in (one for one in _written(page) if one.whole):
        name = tuple(word for word in written.words[:2] if word in ("import", "build", "info", "check", "verify"))
        name = (written.words[0], *name)
        ran.append((" ".join(name), desk.run(written)))
        for made, thing in after.get(name, {}).items():
            assert (desk.folder / made).is_dir(), f"{written} made no {made}"
            desk.put(made, thing)
    return ran


def test_the_readme_works_as_printed(desk: Desk, pacs: Path, few: Path, index: Path) -> None:
    series = next(place for place in sorted(pacs.rglob("series-1")) if len(list(place.iterdir())) > 1)
    for name, thing in {"path/to/PACS-export": pacs, "reports.csv": pacs / "reports.csv", "ct-series": series}.items():
        desk.put(name, thing)
    ran = _run(desk, README, {("cases", "import"): {"cases": few}, ("index", "build"): {"index": index}})
    assert [name for name, _ in ran] == ["cases import", "cases check", "train", "index build", "query", "serve"]
    assert " cases of 12 patients" in ran[0][1]
    assert "page written to answer.html" in ran[-2][1]
    assert "/enter?key=" in ran[-1][1]


def test_the_tutorial_works_as_printed(desk: Desk, few: Path, index: Path) -> None:
    ran = _run(desk, TUTORIAL, {("cases", "import"): {"cases": few}, ("index", "build"): {"index": index}})
    assert [name for name, _ in ran] == [
        "cases import", "cases check", "train", "model verify", "index build", "index info", "query", "similar", "query",
    ]  # fmt: skip
    said = dict(ran[:7])
    assert all(word in said["query"] for word in ("similar cases", "without the scan", "without the history"))
    assert "interval" in said["index info"]
    assert "dev caption-to-scan recall@10" in said["train"]
    assert (desk.folder / "answer.html").stat().st_size > 10_000


def test_what_the_how_to_pages_do_with_cases_and_an_index_works(
    desk: Desk, few: Path, sample: Path, model: Path, index: Path, sample_cases: list[Case], tmp_path: Path
) -> None:
    left_out = []
    desk.put("model", model)
    desk.stands_for["p17"] = next(case.patient for case in sample_cases if case.split == "train")
    towers, hub_name = tmp_path / "towers", "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    as_biomedclip(towers)
    desk.stands_for[hub_name] = str(towers)
    own = {"cases": few, "new-cases": few, "index": index, "a.png": sample / "scans" / "sample-005-0.png"}
    for page in HOW_TO:
        for name, thing in own.items():
            desk.put(name, thing)
        for written in (one for one in _written(page) if one.whole):
            if any(_is_in(word, " ".join(written.words)) for word in ONLY_PARSED):
                left_out.append(written)
                continue
            (desk.folder / "answer.html").unlink(missing_ok=True)
            desk.run(written)
    assert len(left_out) < 25
    kept = [json.loads(line) for line in (desk.folder / "masked" / "cases.jsonl").read_text("utf-8").splitlines()]
    assert len(kept) == 20
    assert {case["id"] for case in kept} <= {case.id for case in sample_cases}
