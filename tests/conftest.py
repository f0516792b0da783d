"""One fixture a real thing, made once a run: what is trained or built is shared by all processes of a run."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medclip.cases import Case, read_cases, write_cases
from tests.command import SCRIPT, Commands, Ran
from tests.tiny import tiny_towers

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several on these cores: more threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.quick"]

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What medclip remembers of one command in the next, apart from what the user's own do; one for all processes."""
    os.environ.setdefault("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with an index that medclip 0.1 made (`tests/archive/keep_index.py`): small, and there at once."""
    with zipfile.ZipFile(Path(__file__).parent / "archive" / "index-0.1.zip") as stored:
        stored.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def shared_place() -> Iterator[Path]:
    """A folder that other users can reach; pytest keeps its own closed, even while another session runs."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def medclip() -> Iterator[Commands]:
    """Runs a command as a user would."""
    commands = Commands()
    yield commands
    commands.close()


class Shared:
    """A folder of this run. What several tests need is made in it once, by whichever process asks first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, make: Callable[[Path], None]) -> Path:
        """``FOLDER/NAME``, made by `make` unless it is there; who comes meanwhile waits."""
        place, done = self._folder / name, self._folder / f"{name}.made"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(place)
                done.touch()
        return place


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return Shared(folder)


Making = Callable[..., None]


@pytest.fixture(scope="session")
def making(medclip: Commands) -> Making:
    """Runs a command that makes what tests need."""

    def run(*arguments: object) -> None:
        done = medclip(*arguments)
        assert done.code == 0, done.err

    return run


@pytest.fixture(scope="session")
def sample(shared: Shared, making: Making) -> Path:
    """The synthetic cohort, imported."""
    return shared("sample", lambda out: making("cases", "import", "sample", "--out", out))


@pytest.fixture(scope="session")
def sample_cases(sample: Path) -> list[Case]:
    return read_cases(sample)


@pytest.fixture(scope="session")
def pacs(shared: Shared, making: Making) -> Path:
    """A PACS export of a dozen patients of the cohort, with the texts of their studies beside it."""

    def make(out: Path) -> None:
        making("cases", "sample-dicom", "--out", out)
        for patient in sorted(out.glob("patient-*"))[12:]:
            shutil.rmtree(patient)

    return shared("pacs", make)


@pytest.fixture(scope="session")
def demo(shared: Shared) -> Path:
    """What ``medclip demo`` makes of the same cohort, and in ``demo.said`` beside it what it says."""

    def make(out: Path) -> None:
        done = subprocess.run([SCRIPT, "demo", "--out", out.name], cwd=out.parent, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        out.with_name("demo.said").write_bytes(done.stdout)

    return shared("demo", make)


@pytest.fixture(scope="session")
def model(demo: Path) -> Path:
    """A model trained on the synthetic cohort with the default towers."""
    return demo / "model"


@pytest.fixture(scope="session")
def few(sample: Path, sample_cases: list[Case], shared: Shared) -> Path:
    """Twenty of the sample's cases: quick to train on."""

    def make(out: Path) -> None:
        shutil.copytree(sample, out)
        train, dev = ([case for case in sample_cases if case.split == split] for split in ("train", "dev"))
        write_cases(out, [*train[:14], *dev[:6]])

    return shared("few", make)


@pytest.fixture(scope="session")
def joint(shared: Shared, making: Making) -> Path:
    """The cohort whose label needs all modalities, with half of the cases to learn from, which are enough."""

    def make(out: Path) -> None:
        making("cases", "import", "sample-joint", "--out", out)
        cases = read_cases(out)
        train, dev = ([case for case in cases if case.split == split] for split in ("train", "dev"))
        write_cases(out, [*train[:120], *dev])

    return shared("joint", make)


@pytest.fixture(scope="session")
def hub_layout(shared: Shared) -> Path:
    """Small towers, which nobody has trained."""
    return shared("tiny-towers", tiny_towers)


@pytest.fixture(scope="session")
def tiny_model(few: Path, hub_layout: Path, shared: Shared, making: Making) -> Path:
    """A model with small towers, for tests that open it often."""
    towers = f"local-dir:{hub_layout}"
    return shared(
        "tiny-model",
        lambda out: making("train", few, "--out", out, "--towers", towers, "--epochs", 2, "--device", "cpu"),
    )


@pytest.fixture(scope="session")
def tiny_index(few: Path, tiny_model: Path, shared: Shared, making: Making) -> Path:
    """An index of twenty cases with that model, for tests that ask what its answers do not matter for."""
    return shared("tiny-index", lambda out: making("index", "build", few, "--model", tiny_model, "--out", out))


@pytest.fixture(scope="session")
def index(demo: Path) -> Path:
    """An index of the cohort's train split."""
    return demo / "index"


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
