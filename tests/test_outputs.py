"""Outputs appear whole or not at all, under a name that nobody else's work loses; real processes, real kills."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medclip.errors import CaseError, OutputError
from medclip.files.outputs import new_file, new_folder, replaced_file
from medclip.files.plain import copy_file, open_regular, permissions, read_regular
from medclip.files.workplaces import clear_dead, is_workplace, partial_of

MARK = "made.json"


def _make(out: Path, content: str = "new", *, force: bool = False, meanwhile: Callable[[], object] = bool) -> None:
    with new_folder(out, force=force, marker=MARK) as made:
        (made / MARK).write_text(content)
        meanwhile()


@contextmanager
def _maker(out: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of making `out`."""
    code = (
        "import sys, time; from pathlib import Path; from medclip.files.outputs import new_folder\n"
        f"with new_folder(Path({str(out)!r})) as made:\n"
        "    (made / 'half').write_text('secret'); print('working', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([*before, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "working\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def another() -> None:
        out.mkdir()
        (out / "theirs").write_text("theirs")

    with pytest.raises(OutputError, match=r"already exists|has appeared"):
        _make(out, meanwhile=another)
    assert (out / "theirs").read_text() == "theirs"
    assert _names(tmp_path) == ["out"]


def test_a_folder_that_is_exchanged_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """Also where the exchange comes between the last look and the new name."""
    out = tmp_path / "out"
    _make(out, "old")

    def another() -> None:
        shutil.rmtree(out)
        out.mkdir()
        (out / "theirs").write_text("theirs")

    with pytest.raises(OutputError, match="not replaced"):
        _make(out, force=True, meanwhile=another)
    assert _names(out) == ["theirs"]
    assert _names(tmp_path) == ["out"]


def test_what_slips_in_at_the_exchange_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    _make(out, "old")
    from medclip.files import outputs

    swap = outputs._swap

    def late(made: Path, target: Path) -> None:
        monkeypatch.setattr(outputs, "_swap", swap)
        shutil.rmtree(target)
        target.mkdir()
        (target / "theirs").write_text("theirs")
        swap(made, target)

    monkeypatch.setattr(outputs, "_swap", late)
    with pytest.raises(OutputError, match="has changed while"):
        _make(out, force=True)
    assert _names(out) == ["theirs"]


@pytest.mark.parametrize("call", ["renameat2", "none"])
def test_a_new_name_is_taken_in_one_step_on_every_file_system(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medclip.files import outputs

    if call == "none":  # as on NFS
        monkeypatch.setattr(outputs, "_renameat2", lambda *_: False)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    made = tmp_path / "made"
    made.mkdir()
    with pytest.raises(OutputError, match="has appeared"):
        outputs._name_new(made, theirs)
    (tmp_path / "single").touch()
    with pytest.raises(OutputError, match="has appeared"):
        outputs._name_new(tmp_path / "single", theirs / "file")
    _make(tmp_path / "out", "old")
    _make(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / MARK).read_text() == "new"


def test_two_processes_cannot_make_one_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with _maker(out):
        with pytest.raises(OutputError, match="another process is making it"):
            _make(out)
        assert (partial_of(out) / "new" / "half").read_text() == "secret"
        assert stat.S_IMODE(partial_of(out).stat().st_mode) == 0o700


def test_a_run_in_another_container_is_seen_to_live(tmp_path: Path) -> None:
    """Its process id means nothing here, or another process."""
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no PID namespaces for this user")
    out = tmp_path / "out"
    with _maker(out, *apart), pytest.raises(OutputError, match="another process is making it"):
        _make(out)


def test_what_a_killed_process_left_is_gone_after_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with _maker(out) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert _names(tmp_path) == [".out.partial"]
        _make(out)
    assert _names(tmp_path) == ["out"]
    assert _names(out) == [MARK]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise OutputError("half-way")

    with pytest.raises(OutputError, match="half-way"):
        _make(tmp_path / "out", meanwhile=fail)
    assert _names(tmp_path) == []


def test_only_what_the_command_made_is_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        _make(mine, force=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    with pytest.raises(OutputError, match="not replaced"):
        _make(tmp_path / "folder", force=True)
    for force in (True, False):
        with pytest.raises(OutputError, match=r"already exists|not replaced"), new_file(mine, marker=b"x", force=force):
            pass
    assert mine.read_text() == "mine"
    mine.write_text("x: theirs")
    with new_file(mine, marker=b"x", force=True) as made:
        made.write_text("x: ours")
    assert mine.read_text() == "x: ours"


def test_links_are_no_outputs(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / MARK).touch()
    for name, target in (("dangling", "nowhere"), ("link", "away")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(OutputError, match="symbolic link"):
            _make(tmp_path / name, force=True)
        with pytest.raises(OutputError, match="symbolic link"), new_file(tmp_path / name, force=True, marker=b"x"):
            pass
    planted = partial_of(tmp_path / "out")
    planted.symlink_to(tmp_path / "away")
    with pytest.raises(OutputError, match="is no folder"):
        _make(tmp_path / "out")
    assert _names(tmp_path / "away") == [MARK]


def test_a_name_that_no_file_system_takes(tmp_path: Path) -> None:
    for length in (252, 300):
        with pytest.raises(OutputError, match="takes no such name"):
            _make(tmp_path / ("x" * length))


def test_a_file_of_ours_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in ("one", "two"):
        with replaced_file(file) as made:
            made.write_text(content)
            assert not file.exists() or file.read_text() == "one"
        assert file.read_text() == content
    with pytest.raises(FileNotFoundError), replaced_file(file) as made:
        made.read_bytes()
    assert file.read_text() == "two"
    assert _names(tmp_path) == ["file"]


def test_many_processes_may_replace_one_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medclip.files.outputs import replaced_file\n"
        "for _ in range(100):\n"
        f"    with replaced_file(Path({str(tmp_path / 'file')!r})) as made: made.write_text(sys.argv[1] * 1000)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE, text=True) for name in "abc"
    ]
    for writer in writers:
        assert (writer.communicate()[1], writer.returncode) == ("", 0)
    assert (tmp_path / "file").read_text() in {name * 1000 for name in "abc"}
    assert _names(tmp_path) == ["file"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = time.monotonic()
    with pytest.raises(OSError, match="no plain file"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(CaseError, match="no plain file"):
        copy_file(tmp_path / "pipe", tmp_path / "copy")
    assert time.monotonic() - before < 30
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(OSError, match="is larger"):
        read_regular(tmp_path / "large", 10)
    assert read_regular(tmp_path / "large", 11) == bytes(11)


def test_a_copy_is_read_by_nobody_who_may_not_read_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for mode in (0o600, 0o640, 0o444):
        source.touch()
        source.chmod(mode)
        copy_file(source, tmp_path / f"copy-{mode}")
        assert not stat.S_IMODE((tmp_path / f"copy-{mode}").stat().st_mode) & ~(mode | 0o200)
        source.unlink()
    folder = tmp_path / "folder"
    folder.mkdir(0o755)
    (folder / "open").touch(0o644)
    assert permissions(folder) == 0o777
    (folder / "closed").touch(0o600)
    assert permissions(folder) == 0o700
    folder.chmod(0o700)
    assert permissions(folder) == 0o700


def test_a_folder_written_by_hand_is_not_medclip_s_to_replace(
    sample: Path, tmp_path: Path, medclip: Callable[..., object], refused: Callable[..., str]
) -> None:
    """It has the very files of one that was imported."""
    made = shutil.copytree(sample, tmp_path / "made")
    mine = shutil.copytree(sample, tmp_path / "mine", ignore=shutil.ignore_patterns(".medclip-cases"))
    assert "not replaced" in refused(medclip("cases", "import", "sample", "--out", mine, "--force"))
    assert "not replaced" in refused(medclip("cases", "sample-dicom", "--out", made, "--force"))
    assert "not replaced" in refused(medclip("demo", "--out", made, "--force"))
    with new_folder(made, force=True, marker=".medclip-cases"):
        pass
    assert _names(made) == [".medclip-cases"]


def test_a_place_that_somebody_else_prepared_is_not_worked_in(tmp_path: Path) -> None:
    place = partial_of(tmp_path / "out")
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(OutputError, match="others may write"):
        _make(tmp_path / "out")
    place.chmod(0o700)
    (place / "thesis").write_text("mine")
    with pytest.raises(OutputError, match="did not put there"):
        _make(tmp_path / "out")
    (place / "lock").write_text("mine, too")
    with pytest.raises(OutputError, match="did not put there"):
        _make(tmp_path / "out")
    assert not is_workplace(place)
    assert clear_dead(tmp_path) == []
    assert (place / "thesis").read_text() == "mine"
    if os.getuid() == 0:
        shutil.rmtree(place)
        place.mkdir(0o700)
        os.chown(place, 12345, 12345)
        with pytest.raises(OutputError, match="another user"):
            _make(tmp_path / "out")


def test_a_kill_between_the_steps_of_an_exchange_loses_nothing(tmp_path: Path) -> None:
    """Where the file system cannot exchange two names in one step, as on NFS."""
    out = tmp_path / "out"
    _make(out, "old")
    code = (
        "import os; from pathlib import Path; from medclip.files import outputs\n"
        "outputs._renameat2 = lambda *_: False\n"
        "rename = Path.rename\n"
        "Path.rename = lambda self, to: (rename(self, to), os._exit(9))\n"
        f"with outputs.new_folder(Path({str(out)!r}), force=True, marker={MARK!r}) as made: (made / {MARK!r}).touch()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not out.exists()

    def fail() -> None:
        raise OutputError("half-way")

    with pytest.raises(OutputError, match=r"half-way|already exists"):
        _make(out, force=True, meanwhile=fail)
    assert (out / MARK).read_text() == "old"


def test_an_interrupt_after_the_exchange_deletes_nothing(tmp_path: Path) -> None:
    """Neither what was there nor what came in between."""
    from medclip.files.outputs import _take_name

    out, made = tmp_path / "out", tmp_path / "made"
    _make(out, "theirs")
    made.mkdir()
    interrupts = iter((False, True))  # at the look after the exchange

    def check(_: Path) -> None:
        if next(interrupts):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _take_name(made, out, check)
    assert (out / MARK).read_text() == "theirs"


def test_who_may_read_stays_who_might(tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    _make(out, "old")
    out.chmod(0o700)
    _make(out, "new", force=True)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for mode in (0o600, 0o644):
        file.touch()
        file.chmod(mode)
        before = os.umask(0o077)
        with replaced_file(file) as made:
            made.write_text("x")
        os.umask(before)
        assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_what_another_user_could_not_tidy_up_is_not_called_unwritten(shared_place: Path) -> None:
    out = shared_place / "shared" / "out"
    out.parent.mkdir()
    _make(out, "old")
    (out / "sub").mkdir(0o555)
    (out / "sub" / "file").touch()
    for path in (out.parent, out, *out.rglob("*")):
        os.chown(path, 65534, 65534)
    code = (
        "import os; from pathlib import Path; from medclip.files.outputs import new_folder\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"with new_folder(Path({str(out)!r}), force=True, marker={MARK!r}) as made: (made / 'new').touch()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _names(out) == [MARK, "new"]
    assert _names(out.parent) == ["out"]


def test_a_name_with_a_null_byte_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no plain file"):
        open_regular(tmp_path / "a\0b")
