"""Trials in processes of their own: a crash, a hang, greed, and a file that was changed elsewhere are all seen."""

import contextlib
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from subjects import Subjects
from trials import Trial, warm_up

from medclip.errors import MedclipError

__all__ = ["MEMORY", "SECONDS", "Outcome", "run"]

SECONDS, MEMORY = 10.0, 1 << 30
_START = 120.0  # seconds for a process to be there
_GRACE = 5.0  # more than a trial may take before it is ended
_CEILING = 6 << 30  # bytes of address space, so that a bomb ends its process and not the machine


@dataclass(frozen=True)
class Outcome:
    """How a trial went."""

    trial: Trial
    verdict: str  # "read", "refused", or what went wrong
    seconds: float = 0.0
    peak: int = 0  # bytes of its process and its decoders together

    @property
    def failed(self) -> bool:
        return self.verdict not in ("read", "refused")


# ---- in the process of the trials


def _family() -> list[int]:
    """This process and those that it started, which are still there."""
    own = os.getpid()
    children: list[int] = []
    for thread in Path(f"/proc/{own}/task").iterdir():
        with contextlib.suppress(OSError):
            children += map(int, (thread / "children").read_text().split())
    return [own, *children]


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def _forget_peaks() -> None:
    for pid in _family():
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _seen(room: Path) -> dict[str, str]:
    """All that is in a room but not in its place: kind and content of each."""
    found = {}
    for folder, folders, files in os.walk(room):
        if Path(folder) == room:
            folders.remove("place")
        for name in [*folders, *files]:
            path = Path(folder) / name
            mode = path.lstat().st_mode
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else ""
            found[str(path.relative_to(room))] = f"{mode:o} {content}"
    return found


def _judged(trial: Trial, subjects: Subjects, room: Path) -> Outcome:
    (room / "place").mkdir(parents=True)
    for folder in (room, room / "beside"):
        folder.mkdir(exist_ok=True)
        for name in ("index.json", "catalogue.sqlite", "cases.jsonl", "notes.txt"):
            (folder / name).write_text(f"not yours: {name}")
    done = trial.prepare(subjects, room)
    before, dead = _seen(room), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    _forget_peaks()
    started = time.perf_counter()
    try:
        verdict = "read" if done() else "refused"
    except MedclipError as error:
        lines = str(error).splitlines()
        verdict = "refused" if len(lines) == 1 else f"an error of {len(lines)} lines: {error!r:.200}"
    except BaseException as error:  # noqa: BLE001 (that is what is being looked for)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if "medclip" in f.filename or "/index/" in f.filename
        ]
        at = ours[-1] if ours else frame
        verdict = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {str(error)[:120]!r}"
    seconds = time.perf_counter() - started
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = sum(map(_peak, _family())) + (ended << 10 if ended > dead else 0)
    if verdict in ("read", "refused"):
        if seconds > SECONDS:
            verdict = f"took {seconds:.0f} s"
        elif peak > MEMORY:
            verdict = f"took {peak >> 20} MiB"
        elif changed := sorted(set(before.items()) ^ set(_seen(room).items())):
            verdict = f"changed outside of its folder: {sorted({name for name, _ in changed})}"
    return Outcome(trial, verdict, seconds, peak)


def _serve(jobs: Connection, subjects: Subjects, scratch: Path, keep: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_CEILING, resource.getrlimit(resource.RLIMIT_AS)[1]))
    os.setpgid(0, 0)
    scratch.mkdir(parents=True)
    os.chdir(scratch)  # and nothing may appear here
    room = scratch / "room"
    warm_up(subjects, room)
    remove_room(room)
    jobs.send(None)
    while True:
        trial: Trial = jobs.recv()
        outcome = _judged(trial, subjects, room)
        if strangers := [path.name for path in scratch.iterdir() if path != room]:
            outcome = Outcome(trial, f"left in the working folder: {strangers}", outcome.seconds, outcome.peak)
        if outcome.failed:
            keep_room(room, keep, trial)
        remove_room(room)
        jobs.send(outcome)


def keep_room(room: Path, keep: Path, trial: Trial) -> None:
    """Move what a trial failed on to where it can be looked at."""
    target = keep / trial.name.replace(":", "-")
    remove_room(target)
    keep.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.move(room, target)


def remove_room(room: Path) -> None:
    """Delete it, whatever it has become."""
    shutil.rmtree(room, ignore_errors=True)


# ---- beside it


class _Hand:
    """One process that does trials."""

    def __init__(self, subjects: Subjects, scratch: Path, keep: Path) -> None:
        self._made = (subjects, scratch, keep)
        self.trial: Trial | None = None
        self._start()

    def _start(self) -> None:
        subjects, scratch, keep = self._made
        remove_room(scratch)
        self.jobs, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, subjects, scratch, keep), daemon=True
        )
        self.process.start()
        theirs.close()
        self.trial, self.since, self.ready = None, time.monotonic(), False

    def give(self, trial: Trial) -> None:
        self.trial, self.since = trial, time.monotonic()
        self.jobs.send(trial)

    def overdue(self) -> bool:
        return time.monotonic() - self.since > (SECONDS + _GRACE if self.ready else _START)

    def lost(self, why: str) -> Outcome | None:
        """End it and start another; what it was doing has failed."""
        trial, seconds = self.trial, time.monotonic() - self.since
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        if not self.ready:
            raise RuntimeError(f"no process for trials starts: {why}")
        if trial is not None:
            keep_room(self._made[1] / "room", self._made[2], trial)
        code = self.process.exitcode
        self._start()
        return None if trial is None else Outcome(trial, f"{why} (exit {code})", seconds)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.join()


def run(trials: Iterator[Trial], subjects: Subjects, *, hands: int, keep: Path) -> Iterator[Outcome]:
    """Do the trials, several at once, in no order.

    Args:
        keep: where what a trial failed on is kept, in a folder named after it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        busy = [_Hand(subjects, Path(scratch) / str(number), keep) for number in range(hands)]
        try:
            while busy:
                ready = wait([hand.jobs for hand in busy], timeout=1.0)
                for hand in list(busy):
                    outcome: Outcome | None = None
                    if hand.jobs in ready:
                        try:
                            outcome = hand.jobs.recv()
                            hand.ready = True
                        except (EOFError, ConnectionResetError):
                            outcome = hand.lost("crashed")
                    elif hand.overdue():
                        outcome = hand.lost("hung")
                    else:
                        continue
                    if outcome is not None:
                        yield outcome
                    hand.trial = None
                    if not hand.ready:
                        continue
                    following = next(trials, None)
                    if following is None:
                        hand.end()
                        busy.remove(hand)
                    else:
                        hand.give(following)
        finally:
            for hand in busy:
                hand.end()
