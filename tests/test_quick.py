"""Which tests ``make check`` runs, and that one which takes too long for it fails."""

import os
import subprocess
import sys
from pathlib import Path

from tests.quick import SLOW_FIXTURES

ROOT = Path(__file__).parents[1]

TESTS = """
import time
import pytest

@pytest.fixture(scope="session")
def sample(): pass

@pytest.fixture
def trained(sample): pass

@pytest.fixture(params=["faiss", "milvus"])
def backend(request): return request.param

@pytest.fixture
def long(): time.sleep(0.3)

def test_quick(): pass
def test_through_a_fixture(trained): pass
def test_over_backends(backend): pass
@pytest.mark.slow
def test_marked(): time.sleep(0.3)
def test_long(): time.sleep(0.3)
def test_with_a_long_fixture(long): pass
"""


def _run(folder: Path, *options: str) -> dict[str, str]:
    """The outcome of each test that ran."""
    (folder / "test_some.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.quick",
        "-p",
        "no:cacheprovider",
        "-rA",
        "--tb=line",
        *options,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "test_some.py"], cwd=folder, env=environment, capture_output=True, text=True)
    said = [line.split() for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    assert said, done.stdout + done.stderr
    assert (done.returncode == 0) == all(line[0] == "PASSED" for line in said), done.stdout
    return {line[1].partition("::")[2]: line[0] for line in said}


def test_what_is_slow_or_needs_what_is_slow_is_left_out(tmp_path: Path) -> None:
    ran = _run(tmp_path, "-m", "not slow")
    assert set(ran) == {"test_quick", "test_over_backends[faiss]", "test_long", "test_with_a_long_fixture"}
    assert set(ran.values()) == {"PASSED"}


def test_what_takes_too_long_and_does_not_say_so_fails(tmp_path: Path) -> None:
    ran = _run(tmp_path, "--quick-limit", "0.2")
    assert {name: outcome for name, outcome in ran.items() if outcome != "PASSED"} == {
        "test_long": "FAILED",
        "test_with_a_long_fixture": "ERROR",
    }
    assert ran["test_marked"] == "PASSED"


def test_a_fixture_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    (tmp_path / "test_one.py").write_text("def test_one(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.quick", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert f"names fixtures that no test uses: {', '.join(sorted(SLOW_FIXTURES))}" in done.stderr
