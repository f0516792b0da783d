"""What `make bench-peers` does with a million cases and every peer, with two thousand, ours and FAISS alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medclip.index import CaseIndex, Entry, Record, VectorView

ROOT = Path(__file__).parents[1]

# FAISS is run in the project's own environment, and one peer asks for a package that nobody has.
QUICK = """
import sys

sys.path[:0] = ["benchmarks"]
import peers.__main__ as program
from peers.engines import faiss_alone, graphs

faiss_alone.Ivf.packages = ()
graphs.Usearch.packages, graphs.Usearch.environment = ("./no-such-package.whl",), "missing"
program._TURNS, program._TRIALS, program._CROWD = 1, 1, 0.2
sys.exit(program.main())
"""


@pytest.fixture
def like(tmp_path: Path) -> Path:
    """An index whose vectors' spectrum is that of the vectors that are drawn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 256)) * np.linspace(1, 0.2, 256)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    folder = tmp_path / "like"
    folder.mkdir()
    entries = [
        Entry(Record(f"c{i}", f"p{i}", {}, {"id": f"c{i}"}, {}, "", f"c{i}"), [VectorView("scan", 0, x[i], {})], {})
        for i in range(300)
    ]
    CaseIndex.create(folder, entries, fingerprint="test")
    return folder


def run(tmp_path: Path, like: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    places = ["--envs", str(tmp_path / "envs"), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "found.json")]
    command = [sys.executable, "-P", "-c", QUICK, "--cases", "2000", "--like", str(like), *places, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_peers_stand_in_one_table_and_what_does_not_install_is_named(tmp_path: Path, like: Path) -> None:
    only = ["--only", "ours", "faiss-ivf", "usearch", "--steps", "ask", "crowd", "change", "kill"]
    done = run(tmp_path, like, *only)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["peers"]

    ours, faiss = found["ours"], found["faiss-ivf"]
    assert ours["failed"] == faiss["failed"] == {}
    assert ours["ask"]["default"]["recall"] >= 0.98
    assert [one["recall"] >= 0.98 for one in ours["ask"]["filters"]["0.98"].values()] == [True] * 4
    assert (ours["change"]["found"], ours["change"]["gone"]) == (1, 1)
    assert ours["kill"]["opened"] == ours["kill"]["trials"] == 1
    assert ours["kill"]["lost"] == ours["kill"]["half"] == ours["kill"]["old lost"] == 0
    assert min(ours["crowd"]["each second"], ours["build"]["peak"]) > 0
    assert ours["build"]["bytes"] > 2000 * 1024

    line = faiss["ask"]["line"]
    assert line[0]["recall"] < line[-1]["recall"]  # more lists find more
    assert faiss["ask"]["0.98"]["recall"] >= 0.98

    assert "no-such-package" in found["usearch"]["failed"]["install"]
    assert "no-such-package" in done.stdout  # the table names it
    assert "medclip" in done.stdout
    assert "FAISS IVFFlat (numbers alone)" in done.stdout

    # What is measured is not measured again, and the table and the picture are made of the results alone.
    before = (tmp_path / "found.json").read_text()
    again = run(tmp_path, like, "--only", "ours", "faiss-ivf", "--picture", str(tmp_path / "picture.png"))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "found.json").read_text() == before
    assert run(tmp_path, like, "--table").stdout == again.stdout
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
