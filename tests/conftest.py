"""One fixture a real thing, made once a session."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medclip.cases import Case, read_cases, write_cases
from tests.tiny import tiny_towers

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


def run_medclip(*arguments: object, cwd: Path | None = None) -> Ran:
    """Run the installed command as a user would."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("medclip")), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shared_place() -> Iterator[Path]:
    """A folder that other users can reach; pytest keeps its own closed, even while another session runs."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def medclip() -> Callable[..., Ran]:
    return run_medclip


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic cohort, imported."""
    out = tmp_path_factory.mktemp("sample") / "cases"
    assert run_medclip("cases", "import", "sample", "--out", out).code == 0
    return out


@pytest.fixture(scope="session")
def sample_cases(sample: Path) -> list[Case]:
    return read_cases(sample)


@pytest.fixture(scope="session")
def model(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on the synthetic cohort with the default towers."""
    out = tmp_path_factory.mktemp("model") / "model"
    done = run_medclip("train", sample, "--out", out, "--epochs", 12, "--device", "cpu")
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="session")
def few(sample: Path, sample_cases: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty of the sample's cases: quick to train on."""
    out = tmp_path_factory.mktemp("few") / "cases"
    shutil.copytree(sample, out)
    chosen = [c for c in sample_cases if c.split == "train"][:14] + [c for c in sample_cases if c.split == "dev"][:6]
    write_cases(out, chosen)
    return out


@pytest.fixture(scope="session")
def hub_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small towers, which nobody has trained."""
    return tiny_towers(tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture(scope="session")
def tiny_model(few: Path, hub_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with small towers, for tests that open it often."""
    out = tmp_path_factory.mktemp("tiny") / "model"
    towers = f"local-dir:{hub_layout}"
    done = run_medclip("train", few, "--out", out, "--towers", towers, "--epochs", 2, "--device", "cpu")
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="session")
def index(sample: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the cohort's train split."""
    out = tmp_path_factory.mktemp("index") / "index"
    done = run_medclip("index", "build", sample, "--model", model, "--split", "train", "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="session")
def unseen(sample_cases: list[Case]) -> Case:
    """A case whose patient the index has never seen."""
    return next(case for case in sample_cases if case.split == "dev" and case.labels["finding"] == "collection")


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the real data set {name} is not beside this clone (../shared/data/{name})")
    return folder


@pytest.fixture(scope="session")
def medpix() -> Path:
    return _shared("medpix-2.0")


@pytest.fixture(scope="session")
def covid() -> Path:
    return _shared("covid-chestxray")


def one_line_error(ran: Ran) -> str:
    """Assert that a command failed as a user's mistake should, and return the line."""
    assert ran.code == 2, (ran.code, ran.out, ran.err)
    lines = [line for line in ran.err.splitlines() if line.startswith("medclip:")]
    assert len(lines) == 1, ran.err
    assert "Traceback" not in ran.err
    return lines[0]


@pytest.fixture(scope="session")
def refused() -> Callable[[Ran], str]:
    return one_line_error
