"""One peer through all its steps, each in a process of its own, within a time."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from peers.base import Peer, peers
from peers.step import BEGIN, END, family

__all__ = ["STUCK", "Run", "StepError"]

HERE = Path(__file__).parents[1]
SYNCS = re.compile(r"\b(fsync|fdatasync|msync|sync_file_range|syncfs|sync)\(")
STUCK = 300.0  # seconds after which changing some thousand cases, or opening after a kill, is said not to end
BATCH, BATCHES = 100, 100  # cases that are added in one go while a process waits to be killed


class StepError(Exception):
    """A step failed or ran out of time; `reached` is what it had said until then."""

    def __init__(self, why: str, reached: dict[str, Any]) -> None:
        super().__init__(why)
        self.reached = reached


class Run:
    """What is the same for all steps of one peer."""

    def __init__(self, name: str, python: str, data: Path, work: Path, *, limit: float, cores: list[int]) -> None:
        self.name, self.python, self.data = name, python, data
        self.peer: type[Peer] = peers()[name]
        self.folder = work / name
        self.limit, self.end = limit, time.monotonic() + limit
        self.cores = cores  # to build with
        self.pair = sorted(os.sched_getaffinity(0))[-2:]  # two ask here, one on the last

    def left(self) -> float:
        return max(1.0, self.end - time.monotonic())

    def _command(self, step: str, arguments: dict[str, Any], folder: Path | None = None) -> list[str]:
        given = {"cores": self.pair[-1:], **arguments}
        where = [str(self.data), str(folder or self.folder)]
        return [self.python, "-P", "-W", "ignore", "-m", "peers.step", step, self.name, *where, json.dumps(given)]

    def _start(self, step: str, arguments: dict[str, Any], *, folder: Path | None = None, before: tuple[str, ...] = (),
               stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":  # fmt: skip
        threads = str(len(arguments.get("cores", [0])))
        # Others size their pools by the cores that they may use; told to have one thread, LanceDB waits for itself.
        limits = {f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        paths = [str(HERE), os.environ.get("PYTHONPATH", "")] if not self.peer.packages else [str(HERE)]
        environment = {**os.environ, **limits, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return subprocess.Popen(
            [*before, *self._command(step, arguments, folder)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=(self.folder.parent / f"{self.name}.log").open("a"),
            text=True, env=environment, cwd=self.folder.parent, start_new_session=True,
        )  # fmt: skip

    def step(self, step: str, *, folder: Path | None = None, before: tuple[str, ...] = (), within: float = 1e9,
             keep: Callable[[dict[str, Any]], None] = lambda _: None, **arguments: Any) -> dict[str, Any]:  # fmt: skip
        """Run one step to its end.

        Args:
            folder: another one than the peer's.
            before: a command that runs it.
            within: seconds that it may take, if there are so many left.
            keep: told what is reached, as it comes.

        Raises:
            StepError: it failed, or there was no time left.
        """
        if time.monotonic() >= self.end:
            raise StepError(f"not begun: the {self.limit / 60:g} minutes were over", {})
        process = self._start(step, arguments, folder=folder, before=before)
        reached: dict[str, Any] = {}
        stopped = threading.Event()
        late = threading.Timer(min(within, self.left()), lambda: (stopped.set(), self._end(process)))
        late.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("="):
                reached = json.loads(line[1:])
                keep(reached)
        code = process.wait()
        late.cancel()
        if code:
            self._end(process)
            raise StepError(self._late(within) if stopped.is_set() else self._why(code), reached)
        return reached

    def _late(self, within: float) -> str:
        over = time.monotonic() >= self.end
        return f"the {self.limit / 60:g} minutes were over" if over else f"did not end within {within:.0f} s"

    def _why(self, code: int) -> str:
        """The last line of what the step wrote to its errors."""
        lines = (self.folder.parent / f"{self.name}.log").read_text(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip() and not line.startswith(("=", " "))]
        return f"exit {code}: {said[-1][:250] if said else 'it said nothing'}"

    def _end(self, process: "subprocess.Popen[str]") -> None:
        """Kill a step, and what of it runs on: servers that stand by their folder's lock file."""
        for pid in [*self._servers(), *family(process.pid)][::-1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _servers(self) -> list[int]:
        made = self.peer(self.folder)
        return [one for pid in made.servers() for one in family(pid)]

    # ---- the steps

    def build(self) -> dict[str, Any]:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder.parent / f"{self.name}.log").unlink(missing_ok=True)
        return self.step("build", cores=self.cores)

    def variant(self, given: dict[str, Any]) -> dict[str, Any]:
        folder = self.folder.with_name(f"{self.name}-variant")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            return self.step("variant", folder=folder, cores=self.cores, variant=given)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def crowd(self, effort: Any, seconds: float) -> dict[str, Any]:
        """Questions a second that two cores answer together: two processes, or two threads of one."""
        two = self.pair
        arguments = {"effort": effort, "seconds": seconds, "server cores": two}
        if self.peer.crowd == "threads":
            many = [{**arguments, "threads": len(two), "cores": two}]
        else:
            many = [{**arguments, "threads": 1, "cores": [core]} for core in two]
        workers = []
        try:
            for one in many:
                worker = self._start("answering", one, stdin=subprocess.PIPE)
                workers.append(worker)
                self._wait_for(worker, "ready")
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            lines = [self._wait_for(worker, "=") for worker in workers]
            for worker in workers:
                worker.wait(60)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    self._end(worker)
        rate = sum(json.loads(line[1:])["each second"] for line in lines)
        return {"each second": rate, "by": f"{len(two)} {self.peer.crowd}"}

    def _wait_for(self, worker: "subprocess.Popen[str]", start: str) -> str:
        late = threading.Timer(self.left(), lambda: self._end(worker))
        late.start()
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                if line.startswith(start):
                    return line
        finally:
            late.cancel()
        code = worker.wait()
        raise StepError(self._late(0) if time.monotonic() >= self.end else self._why(code), {})

    def syncs(self) -> dict[str, Any]:
        """How often adding 1,000 cases waits for the disk, as strace counts."""
        if shutil.which("strace") is None:
            return {"cannot": "strace is not installed"}
        trace = self.folder.parent / f"{self.name}.strace"
        calls = "fsync,fdatasync,msync,sync_file_range,syncfs,sync,stat,newfstatat,access,faccessat,faccessat2"
        before = ("strace", "-f", "-qq", "-o", str(trace), "-e", f"trace=?{calls.replace(',', ',?')}")
        reached = self.step("once", before=before, within=STUCK, start=900_000)
        if "cannot" in reached:
            return reached
        text = trace.read_text(errors="replace")
        trace.unlink()
        if BEGIN not in text or END not in text:
            return {"cannot": "strace showed no mark"}
        within = text[text.index(BEGIN) : text.index(END)]
        counts: dict[str, int] = {}
        for name in SYNCS.findall(within):
            counts[name] = counts.get(name, 0) + 1
        return counts

    def kills(self, trials: int, effort: Any, seed: int = 0) -> dict[str, Any]:
        """Kill a process that adds, at random moments, and look at what is there afterwards."""
        rng = random.Random(seed)
        out: dict[str, Any] = {
            "trials": 0,
            "opened": 0,
            "lost": 0,
            "acknowledged": 0,
            "half": 0,
            "whole": 0,
            "old lost": 0,
        }
        for trial in range(trials):
            start = 1_000_000 + trial * BATCH * BATCHES
            try:
                acks, cannot = self._killed(rng, start)
            except StepError as error:
                raise StepError(str(error), out if out["trials"] else {}) from error
            if cannot:
                return {"cannot": cannot}
            out["trials"] += 1
            try:
                seen = self.step("look", within=STUCK, start=start, size=BATCH, acks=acks, effort=effort)
            except StepError as error:
                if time.monotonic() >= self.end:  # which says nothing of the store
                    out["trials"] -= 1
                    raise StepError(str(error), out if out["trials"] else {}) from error
                out["error"] = str(error)
                break
            out["opened"] += 1
            out["acknowledged"] += acks * BATCH  # of stores that open: of one that does not, all is lost
            out["lost"] += seen["lost"]
            out["old lost"] += seen["old lost"]
            out["half"] += int(0 < seen["under way"] < BATCH)
            out["whole"] += int(seen["under way"] == BATCH)
            out["recall"] = min(seen["recall"], out.get("recall", 1.0))
        return out

    def _killed(self, rng: random.Random, start: int) -> tuple[int, str | None]:
        """Batches that were acknowledged before the kill."""
        arguments = {"start": start, "size": BATCH, "batches": BATCHES, "cores": self.pair[-1:]}
        process = self._start("adding", arguments)
        late = threading.Timer(self.left(), lambda: self._end(process))
        late.start()
        assert process.stdout is not None
        servers: list[int] = []
        acks, wanted, times = 0, rng.randint(2, 5), [time.monotonic()]
        try:
            while True:
                line = process.stdout.readline()
                if line.startswith("="):
                    return 0, json.loads(line[1:])["cannot"]
                if line.startswith("pids"):
                    servers = [int(pid) for pid in line.split()[1:]]
                    times = [time.monotonic()]
                elif line.startswith("ack"):
                    acks += 1
                    times.append(time.monotonic())
                elif not line or line.startswith("end"):
                    break
                if acks >= wanted:
                    # Some moment within the batch that is under way; those before say how long one takes.
                    time.sleep(rng.uniform(0, max(0.001, (times[-1] - times[0]) / acks)))
                    break
        finally:
            late.cancel()
            for pid in [*servers, *self._servers(), *family(process.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        acks += sum(line.startswith("ack") for line in process.stdout)
        if process.wait() != -signal.SIGKILL:
            raise StepError(self._why(process.returncode), {})
        if acks == 0:
            raise StepError(self._late(0), {})
        return acks, None


def say(text: str) -> None:
    print(f"# {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
