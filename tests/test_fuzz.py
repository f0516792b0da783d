"""What `make fuzz` does 20,000 times, a hundred times."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = "scan,cases,index,export,bundle"


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/fuzz", "--count", "100", "--kinds", KINDS, "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = KINDS.split(",")
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[-len(kinds) :]}
    assert list(table) == kinds
    for tried, read, refused, *_ in table.values():
        assert int(tried) == int(read) + int(refused) == 100 // len(kinds)
        assert int(refused) > 0


BROKEN = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, "benchmarks/fuzz")
import running, trials

def raising():
    raise KeyError("no MedclipError")

kinds = {
    "touches": lambda room: lambda: (room / "beside" / "new").touch() is None,
    "grabs": lambda room: lambda: bool(b"x" * running.MEMORY),
    "crashes": lambda room: lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "raises": lambda room: raising,
    "hangs": lambda room: lambda: time.sleep(60),
    "reads": lambda room: lambda: True,
}
for kind, prepare in kinds.items():
    trials._PREPARE[kind] = lambda subjects, room, rng, prepare=prepare: prepare(room)
running.warm_up = lambda subjects, room: None
running.SECONDS, running._GRACE, running.MEMORY = 3.0, 1.0, 600 << 20
todo = iter([trials.Trial(kind, 0, 0) for kind in kinds])
for outcome in running.run(todo, None, hands=2, keep=Path(sys.argv[1])):
    print(outcome.trial.kind, outcome.verdict)
"""


@pytest.mark.slow
def test_what_fails_is_seen_and_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BROKEN, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    verdicts = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    expected = {
        "touches": "changed outside of its folder: ['beside/new']",
        "grabs": "took 6",
        "crashes": "crashed (exit -11)",
        "raises": "KeyError at",
        "hangs": "hung",
        "reads": "read",
    }
    assert verdicts.keys() == expected.keys(), done.stdout + done.stderr
    for kind, start in expected.items():
        assert verdicts[kind].startswith(start), (kind, verdicts[kind])
    assert {path.name for path in tmp_path.iterdir()} == {f"{kind}-0" for kind in expected if kind != "reads"}
