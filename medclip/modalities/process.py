"""Decoders in processes of their own, which can be killed: their caller's side.

Whatever reads a file that somebody else made (scans, recordings) is C code that a damaged or hostile file can crash,
hang or make greedy. None of that may reach the program that reads a whole archive, so it happens in a process with
limits (`medclip.modalities.decoder`), which is asked through a pipe and told nothing but names of files, or given pixels.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medclip.modalities.decoder import PATIENCE, Buffer

__all__ = ["Decoders", "Reply", "Stopped"]

_START = 60.0  # seconds that a process may take to be there, on a machine that is busy
_GRACE = 5.0  # seconds after which one that did not end by itself in time is killed
_MOST_WORDS = 16 << 20  # bytes of an answer's JSON

Why = Literal["time", "memory", "crash", "start"]


class Stopped(Exception):  # noqa: N818 (what became of a process; its caller says what that means for a file)
    """A process ended before it answered."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Reply:
    """An answer, and the arrays that came with it as bytes."""

    words: dict[str, Any]
    content: list[bytearray]


class _Process:
    """One process and the two ends of its pipes."""

    def __init__(self, module: str) -> None:
        self.handle = subprocess.Popen(
            [sys.executable, "-P", "-m", module],  # -P: nothing is imported from where the user happens to be
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries print what they find in a file, patients' names among it
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        assert self.handle.stdin is not None
        assert self.handle.stdout is not None
        self._requests, self._answers = self.handle.stdin, self.handle.stdout
        self._ready = False

    def ask(
        self,
        request: dict[str, Any],
        arrays: Sequence[Buffer],
        seconds: float,
        most: int,
        progress: Callable[[int], None],
    ) -> Reply:
        """Send a request and wait for its answer.

        Raises:
            OSError, EOFError: it is gone.
            TimeoutError: it takes too long.
            ValueError: it does not keep to the protocol.
        """
        if not self._ready:
            self._words(time.monotonic() + _START)
            self._ready = True
        deadline = time.monotonic() + PATIENCE * seconds + _GRACE
        given = {**request, "seconds": seconds, "sizes": [array.nbytes for array in arrays]}
        content = json.dumps(given).encode()
        self._send(struct.pack("<I", len(content)) + content, deadline)
        for array in arrays:
            self._send(array.data, deadline)
        while "at" in (words := self._words(deadline)):
            progress(int(words["at"]))
        sizes = [int(size) for size in words["sizes"]]
        if min(sizes, default=0) < 0 or sum(sizes) > most:
            raise ValueError("an answer of no possible size")
        return Reply(words, [self._receive(size, deadline) for size in sizes])

    @property
    def ready(self) -> bool:
        return self._ready

    def _words(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack("<I", self._receive(4, deadline))
        if size > _MOST_WORDS:
            raise ValueError("an answer of no possible size")
        found: dict[str, Any] = json.loads(self._receive(size, deadline))
        return found

    def _wait(self, handle: Any, event: int, deadline: float) -> None:
        ready = select.poll()
        ready.register(handle, event)
        if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError

    def _send(self, content: bytes | memoryview, deadline: float) -> None:
        rest = memoryview(content).cast("B")
        while rest:
            self._wait(self._requests, select.POLLOUT, deadline)
            rest = rest[os.write(self._requests.fileno(), rest[: select.PIPE_BUF]) :]  # so much never blocks

    def _receive(self, size: int, deadline: float) -> bytearray:
        content = bytearray(size)
        rest = memoryview(content)
        while rest:
            self._wait(self._answers, select.POLLIN, deadline)
            count = os.readv(self._answers.fileno(), [rest])
            if not count:
                raise EOFError
            rest = rest[count:]
        return content

    def end(self) -> int:
        """End it, and say how it ended: its exit status, or minus the signal that killed it."""
        self.close()
        try:
            return self.handle.wait(0.2)
        except subprocess.TimeoutExpired:
            self.handle.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # while a share that is gone holds it in the kernel
                self.handle.wait(_GRACE)
            return -signal.SIGALRM

    def close(self) -> None:
        self._requests.close()
        self._answers.close()

    def disown(self) -> None:
        """In a fork of the process that started it: let go of its pipes, or it would outlive its owner."""
        self.close()
        self.handle.returncode = 0


class Decoders:
    """As many processes as there are threads that ask at once, started when they are asked and used again.

    They end with the process that asks, however that ends; a fork of it starts its own.
    """

    def __init__(self, module: str, *, most: int) -> None:
        """Args:
        module: what such a process runs.
        most: bytes that an answer may have.
        """
        self._module = module
        self._most = most
        self._forget()
        atexit.register(self.end)
        os.register_at_fork(after_in_child=self._disown)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()

    def _disown(self) -> None:
        for process in self._all:
            process.disown()
        self._forget()

    def _new(self) -> _Process:
        with self._lock:
            process = _Process(self._module)
            self._all.add(process)
        return process

    def start(self) -> None:
        """Have a process ready for who asks next: it starts while the caller has other things to do."""
        with self._lock:
            some = bool(self._idle)
        if not some:
            process = self._new()
            with self._lock:
                self._idle.append(process)

    def _take(self) -> _Process:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return self._new()
            if process.handle.poll() is None:
                return process
            self._drop(process)  # it died while nobody asked

    def _drop(self, process: _Process) -> int:
        with self._lock:
            self._all.discard(process)
        return process.end()

    def ask(
        self,
        request: dict[str, Any],
        seconds: float,
        progress: Callable[[int], None] = lambda _: None,
        *,
        arrays: Sequence[Buffer] = (),
    ) -> Reply:
        """Ask one of the processes.

        Args:
            seconds: that it may compute; `PATIENCE` times as many may pass.
            progress: is called with each number that it reports while it works.
            arrays: go with the request, C-contiguous.

        Raises:
            Stopped: it crashed or was stopped.
        """
        process = self._take()
        try:
            reply = process.ask(request, arrays, seconds, self._most, progress)
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:  # TimeoutError is an OSError
            started = process.ready
            ended = self._drop(process)
            if not started:
                raise Stopped("start") from None
            if isinstance(error, TimeoutError) or ended in (-signal.SIGPROF, -signal.SIGALRM):
                raise Stopped("time") from None
            raise Stopped("memory" if ended == -signal.SIGKILL else "crash") from None  # the kernel's, short of memory
        except BaseException:  # an interrupt: half an answer may be in the pipe
            self._drop(process)
            raise
        if reply.words.get("last"):
            self._drop(process)
        else:
            with self._lock:
                self._idle.append(process)
        return reply

    def end(self) -> None:
        """End all processes that nobody is asking."""
        with self._lock:
            ending, self._idle = self._idle, []
        for process in ending:
            process.handle.kill()
            with contextlib.suppress(OSError):
                self._drop(process)
