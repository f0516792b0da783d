"""A writer that is killed at any moment leaves the state before or after."""

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from medclip.errors import ArchiveError, OutputError
from medclip.index import CaseIndex, Entry
from medclip.index.lock import writer_lock

from .conftest import make_entries, make_entry
from .crashing import act, act_and_die, build

KILLS = int(os.environ.get("MEDCLIP_KILLS", "50"))
ACTIONS = ("build", "add", "update", "remove", "compact")


@pytest.fixture(scope="module")
def forks() -> "multiprocessing.context.ForkServerContext":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medclip.index", "medclip.files.outputs", "tests.index.crashing"])
    return context


def _state(folder: Path) -> dict[str, str] | None:
    """Case id → content, after all checks; None where there is no index."""
    if not folder.exists():
        return None
    index = CaseIndex.open(folder)
    assert index.verify() == []
    contents = index.contents()
    hits = index.search(np.eye(1, 8, dtype=np.float32), 1000)[0]
    assert {hit.case_id for hit in hits} == set(contents)
    index.close()
    return contents


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_a_killed_writer_leaves_the_state_before_or_after(
    action: str, tmp_path: Path, forks: "multiprocessing.context.ForkServerContext"
) -> None:
    rng = np.random.default_rng(ACTIONS.index(action))
    base = make_entries(0, 150)
    new = {
        "build": make_entries(1, 200),
        "add": [make_entry(rng, f"new-{i}", f"q{i}") for i in range(100)],
        "update": [make_entry(rng, entry.record.id, "moved") for entry in base[:100]],
        "remove": base[20:120],
        "compact": [],
    }[action]
    fresh = tmp_path / "fresh"
    build(fresh, base)
    opened = CaseIndex.open(fresh)
    opened.remove([entry.record.id for entry in base[140:]])  # so that compacting has something to do
    opened.close()
    new = [entry for entry in new if action in ("build", "add") or entry.record.id in _state(fresh)]  # type: ignore[operator]
    before = _state(fresh)
    done = tmp_path / "done"
    shutil.copytree(fresh, done)
    start = time.perf_counter()
    act(action, done, new)
    lasts = time.perf_counter() - start
    after = _state(done)
    folder = tmp_path / "index"
    seen = set()
    for _ in range(KILLS // len(ACTIONS)):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fresh, folder)
        child = forks.Process(target=act_and_die, args=(action, folder, new, float(rng.uniform(0, 1.5 * lasts))))
        child.start()
        child.join()
        state = _state(folder)
        assert state in (before, after)
        seen.add(state == after)
        with writer_lock(folder):  # nobody holds it any more
            pass
    act(
        action if action != "add" else "compact",
        folder,
        [e for e in new if action == "build" or e.record.id in _state(folder)],
    )  # type: ignore[operator]
    _state(folder)
    assert not list(tmp_path.glob(".index.*")), "what the killed left is cleared by the next writer"


def _entries(n: int = 30) -> list[Entry]:
    return make_entries(3, n)


def test_two_writers_are_one_too_many_and_the_second_learns_who_the_first_is(tmp_path: Path) -> None:
    build(tmp_path / "i", _entries())
    index = CaseIndex.open(tmp_path / "i")
    with writer_lock(tmp_path / "i"), pytest.raises(ArchiveError, match=f"being changed by process {os.getpid()}"):
        index.remove(["case-0001"])
    index.remove(["case-0001"])
    index.close()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    import resource
    import subprocess
    import sys

    build(tmp_path / "i", _entries())
    before = _state(tmp_path / "i")
    size = max(path.stat().st_size for path in (tmp_path / "i").iterdir() if path.is_file())
    code = (
        "import resource, signal, sys, numpy as np; from pathlib import Path;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from medclip.index import CaseIndex; from tests.index.conftest import make_entry;"
        f"i = CaseIndex.open(Path({str(tmp_path / 'i')!r}));"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20000}, {size + 20000}));"
        "r = np.random.default_rng(0);\n"
        "try: i.add([make_entry(r, f'n{k}', 'p') for k in range(2000)])\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    del resource
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.startswith(OutputError.__name__), (done.stdout, done.stderr)
    assert "disk" in done.stdout
    assert _state(tmp_path / "i") == before


def _noticed(folder: Path) -> str:
    """What opening and verifying say of a damaged index."""
    try:
        index = CaseIndex.open(folder)
    except ArchiveError as error:
        return str(error)
    try:
        return "; ".join(index.verify())
    except ArchiveError as error:
        return str(error)
    finally:
        index.close()


def _files(folder: Path) -> list[Path]:
    """All but the lock and SQLite's shared memory, which nobody reads anew."""
    passing = ("writer.lock", "catalogue.sqlite-shm")
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in passing and p.stat().st_size)


@pytest.mark.slow
def test_every_damaged_file_is_named_and_structures_are_made_anew(tmp_path: Path) -> None:
    build(tmp_path / "fresh", _entries(60))
    before = _state(tmp_path / "fresh")
    damaged = tmp_path / "damaged"
    names = [path.relative_to(tmp_path / "fresh") for path in _files(tmp_path / "fresh")]
    assert len(names) > 6
    for name in names:
        for how in ("half", "missing"):
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(tmp_path / "fresh", damaged)
            file = damaged / name
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2]) if how == "half" else file.unlink()
            said = _noticed(damaged)
            assert name.name in said or str(name.parent) in said, (name, how, said)
            if name.parts[0] == "segments":
                index = CaseIndex.open_for_repair(damaged)
                assert index.repair()
                index.close()
                assert _state(damaged) == before


def test_a_flipped_bit_is_found_wherever_it_matters(tmp_path: Path) -> None:
    """In a page of SQLite that nothing uses a bit may flip unnoticed; then nothing that is read has changed."""
    build(tmp_path / "fresh", _entries(60))
    index = CaseIndex.open(tmp_path / "fresh")
    expected = [repr(entry) for entry in index.entries()]
    index.close()
    rng = np.random.default_rng(0)
    damaged = tmp_path / "damaged"
    found = 0
    for name in [path.relative_to(tmp_path / "fresh") for path in _files(tmp_path / "fresh")]:
        for _ in range(25 if name.name == "catalogue.sqlite" else 2):
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(tmp_path / "fresh", damaged)
            content = bytearray((damaged / name).read_bytes())
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            (damaged / name).write_bytes(content)
            if _noticed(damaged):
                found += 1
                continue
            assert name.name in ("catalogue.sqlite", "index.json"), name
            index = CaseIndex.open(damaged)
            assert [repr(entry) for entry in index.entries()] == expected
            index.close()
    assert found > 10


def test_nothing_of_a_removed_case_is_left_in_any_file(tmp_path: Path) -> None:
    """Withdrawal of consent: no byte of id, words, record or thumbnail; the vector is gone after compacting."""
    entries = _entries(60)
    odd = make_entry(np.random.default_rng(9), "withdrawn-case", "withdrawn-patient", views=2)
    record = odd.record
    secret = Entry(
        type(record)(record.id, record.patient, {}, {"note": "zebrafish"}, {"sex": ("xylophone",)}, "quokka seen", "c"),
        odd.views,
        {0: b"JPEG-of-the-withdrawn"},
    )
    build(tmp_path / "i", [*entries, secret])
    index = CaseIndex.open(tmp_path / "i")
    removed = index.remove(index.cases_of_patient("withdrawn-patient"))
    assert [(one.case_id, one.vectors, one.thumbnails, one.words) for one in removed] == [("withdrawn-case", 2, 1, 2)]
    traces = [b"withdrawn", b"zebrafish", b"quokka", b"JPEG-of", odd.views[0].vector.tobytes()]
    everything = b"".join(path.read_bytes() for path in _files(tmp_path / "i") if "segments" not in path.parts)
    assert [trace for trace in traces if trace in everything] == []
    assert index.stats()["deleted but in structure"] == 2
    index.compact()
    index.close()
    everything = b"".join(path.read_bytes() for path in _files(tmp_path / "i"))
    assert [trace for trace in [*traces, b"xylophone"] if trace in everything] == []


def test_a_copy_holds_what_the_index_holds_and_nothing_that_was_deleted(tmp_path: Path) -> None:
    build(tmp_path / "i", _entries(40))
    index = CaseIndex.open(tmp_path / "i")
    index.remove(["case-0003"])
    (tmp_path / "copy").mkdir()
    index.copy_to(tmp_path / "copy")
    index.close()
    assert _state(tmp_path / "copy") == _state(tmp_path / "i")


def test_a_folder_that_cannot_be_written_answers_and_refuses_changes(shared_place: Path) -> None:
    build(shared_place / "i", _entries())
    for path in (shared_place / "i").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (shared_place / "i").chmod(0o555)
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    child = context.Process(target=_as_nobody, args=(shared_place / "i", said))
    child.start()
    child.join(60)
    assert said.get(timeout=5) == (10, "OutputError")
    (shared_place / "i").chmod(0o755)


def _as_nobody(folder: Path, said: "multiprocessing.Queue[tuple[int, str]]") -> None:
    CaseIndex.open(folder).close()  # loads what nobody may not read: Python's own modules
    if os.getuid() == 0:  # whom permissions do not bind
        os.setuid(65534)
    index = CaseIndex.open(folder)
    hits = index.search(np.eye(1, 8, dtype=np.float32), 10)[0]
    try:
        index.remove(["case-0001"])
        said.put((len(hits), "changed"))
    except (OutputError, ArchiveError) as error:
        said.put((len(hits), type(error).__name__))
