"""What ``make setup`` shows of pip, and that it fails when pip does."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
NOISE = "WARNING: Location 'file:///opt/somewhere/wheel/' is ignored: it is neither a file nor a directory."


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("set_up", ROOT / ".ci" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


set_up = _load()


class Pip:
    """Runs a few lines of Python in pip's place."""

    def __init__(self, folder: Path) -> None:
        self.log, self.fetched, self.site = folder / "log", folder / "fetched", folder / "site"
        self.fetched.mkdir()
        self.site.mkdir()

    def run(self, code: str, packages: int = 2, total: float | None = None, every: float = 60) -> int:
        work = set_up.Work(packages, total, self.fetched, self.site)
        command = [sys.executable, "-c", f"import os, sys, time\n{code}"]
        done: int = set_up.run_pip(command, work, set_up.Screen(every), self.log)
        return done


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    return Pip(tmp_path)


def test_a_failed_install_ends_with_pip_s_last_lines_and_its_code(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    code = pip.run(f"print({NOISE!r}); print('Collecting a==1'); sys.exit('ERROR: No a==1')")
    assert code == 1
    shown = capsys.readouterr().out
    assert shown == "Collecting a==1\nERROR: No a==1\n"
    assert NOISE in pip.log.read_text()


def test_a_pip_that_is_killed_has_failed(pip: Pip) -> None:
    assert pip.run("os.kill(os.getpid(), 9)") != 0


def test_of_an_install_that_works_only_trouble_is_passed_on(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    trouble = "WARNING: Retrying (Retry(total=4)) after connection broken"
    conflict = "ERROR: pip's dependency resolver does not take that into account"
    lines = [NOISE, "Collecting a==1", trouble, conflict, "Successfully installed a-1"]
    assert pip.run(f"print(*{lines!r}, sep='\\n')") == 0
    assert capsys.readouterr().out == f"{trouble}\n{conflict}\n"


def test_without_a_terminal_progress_is_lines_with_an_estimate(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    fetching = (
        "open(os.environ['TMPDIR'] + '/a-1.whl', 'wb').write(bytes(10**7)); print('  Downloading a-1.whl (20.0 MB)')"
    )
    placing = "print('Installing collected packages: a, b'); time.sleep(1.2)"
    assert pip.run(f"{fetching}; time.sleep(1.2); {placing}", total=4e7, every=0.2) == 0
    lines = capsys.readouterr().out.splitlines()
    number = r"(a few seconds|about \d+ (s|min)) left"
    assert re.fullmatch(rf"  0:0\d  downloading: 1 of 2 packages, 0\.01 of about 0\.0 GB; {number}", lines[0]), lines
    assert re.fullmatch(rf"  0:0\d  installing: 0 of 2 packages in place, now a; {number}", lines[-1]), lines
    assert not any("\r" in line for line in lines)


def test_the_time_left_follows_what_stands_in_place(pip: Pip) -> None:
    work = set_up.Work(2, 4e8, pip.fetched, pip.site)
    for line in (
        "  Downloading a_b-1-py3-none-any.whl.metadata (3 kB)",
        "  Downloading a_b-1-py3-none-any.whl (298.5 MB)",
        "  Using cached c-1-py3-none-any.whl (98.5 MB)",
        "Installing collected packages: a-b, c",
    ):
        work.hear(line)
    (pip.site / "a_b-1.dist-info").mkdir()
    (pip.site / "a_b-1.dist-info" / "INSTALLER").touch()
    assert work.left(work._placing + 30) == pytest.approx(10)
    assert "1 of 2 packages in place, now c" in work.line(work._placing + 30)


def test_of_an_unknown_amount_no_time_is_promised(pip: Pip) -> None:
    work = set_up.Work(2, None, pip.fetched, pip.site)
    assert work.left(work._began + 100) is None
    assert work.line(work._began + 100) == "preparing"
    work.hear("  Downloading a-1.whl (20.0 MB)")
    assert work.line(work._began + 100) == "downloading: 1 of 2 packages, 0.00 GB"


def test_a_full_disk_is_named_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up.shutil, "disk_usage", lambda _: set_up.shutil._ntuple_diskusage(1, 1, int(2e9)))
    assert re.search(r"need about \d+ GB here .* 2.0 GB are free", set_up._complaint(tmp_path / ".venv", 160, True))
    assert set_up._complaint(tmp_path / ".venv", 160, False) is None


def test_the_lock_is_read_by_the_environment_s_own_pip(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(
        "# one\npytest>=8\n    # via x\nnone-such==1 ; sys_platform == 'none'\nabsent.one==1\npytest-cov==0\n"
    )
    said = subprocess.run([sys.executable, "-c", set_up._MISSING, lock], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == '{"all": 3, "missing": ["absent-one", "pytest-cov"]}'


def test_what_is_set_up_is_not_set_up_again(tmp_path: Path) -> None:
    def planned() -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        command = ["make", "-n", "demo", f"VENV={tmp_path}"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert "set_up.py" in planned()
    (tmp_path / ".ready").touch()
    assert "set_up.py" not in planned()
    assert "medclip demo" in planned()
