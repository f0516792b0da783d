"""The demo says what it does, for how long, and what to try next; whatever it prints can be pasted."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import typer

from medclip.cases import Case, write_cases
from medclip.cli import demo as demo_module
from medclip.cli.app import app
from tests.server.browser.served import serving

Medclip = Callable[..., object]


def test_the_demo_counts_its_steps_and_its_commands_work_as_printed(
    demo: Path, medclip: Medclip, tmp_path_factory: pytest.TempPathFactory
) -> None:
    said, out = demo.with_name("demo.said").read_text(encoding="utf-8"), demo.name
    announced = re.findall(r"^\((\d)/(\d)\) .+: about (?:\d+ min )?\d+ s$", said, re.M)
    done = re.findall(r"^\((\d)/(\d)\) took (?:\d+ min )?\d+ s$", said, re.M)
    assert announced == done == [(str(n), "6") for n in range(1, 7)]
    assert (demo / "page.html").is_file()
    for line in re.findall(r"^\$ (.+)$", said, re.M):
        assert Path(shlex.split(line)[0]).name == "medclip"
    following = said.split("What to try next:")[1]
    commands = re.findall(r"^ {4}(\S.+)$", following, re.M)
    assert len(commands) == 4
    opened = shlex.split(commands.pop(1))
    assert opened[1:] == ["serve", f"{out}/index"]
    program = str(demo.parent / opened[0]) if "/" in opened[0] else opened[0]
    with serving(demo / "index", tmp_path_factory.mktemp("served"), medclip=program) as site:
        assert "/enter?key=" in site.link
    told = [subprocess.run(line, shell=True, cwd=demo.parent, capture_output=True, text=True) for line in commands]
    assert [(one.returncode, one.stderr.count("Traceback")) for one in told] == [(0, 0)] * 3, told
    assert "</html>" in (demo / "scan.html").read_text()
    assert f"{out}/index: 112 cases" in told[1].stdout
    assert f"{out}/own-cases: 3 cases of 3 patients, 3 scans" in told[2].stdout
    again = medclip("demo", "--out", out, cwd=demo.parent)
    assert (again.code, "--force" in again.err) == (2, True)


def _installed(folder: Path) -> Path:
    script = folder / ".venv" / "bin" / "medclip"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    return script


def test_an_environment_below_is_called_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _installed(tmp_path)
    monkeypatch.chdir(tmp_path)
    for called in (script, ".venv/bin/medclip"):
        monkeypatch.setattr(sys, "argv", [str(called)])
        assert demo_module._command(["index", "info", Path("a b")]) == ".venv/bin/medclip index info 'a b'"


def test_an_environment_elsewhere_is_called_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _installed(tmp_path / "there")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert demo_module._command(["demo"]) == f"{script} demo"


def test_what_the_shell_finds_is_called_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _installed(tmp_path)
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert demo_module._command(["demo"]) == "medclip demo"


def test_a_step_that_finds_something_wrong_ends_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = {"id": "a", "patient": "p", "source": "folder", "scans": [{"file": "scans/gone.png"}]}
    write_cases(tmp_path, [Case.model_validate(case)])
    with pytest.raises(typer.Exit) as ended:
        demo_module._Steps(2, partial(app, standalone_mode=False)).take(
            "Check a case whose scan is gone", 1, ["cases", "check", tmp_path]
        )
    assert ended.value.exit_code == 1
    assert "took" not in capsys.readouterr().out
