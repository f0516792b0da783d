"""Commands that are killed at any moment, alone or beside another; what must hold afterwards."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medclip.errors import MedclipError
from tests.crash.world import (
    ALONE,
    ON_INDEX,
    World,
    act,
    done_after,
    leftovers,
    state_of,
    states_of,
    target_of,
    traces,
)

__all__ = ["Length", "Outcome", "forks", "measure", "trial"]

_PATIENCE = 300  # seconds after which a process hangs


def forks(*, train: bool = False) -> "multiprocessing.context.ForkServerContext":
    """Starts processes that have all modules loaded."""
    context = multiprocessing.get_context("forkserver")
    lazily = ["faiss", "onnxruntime", "sklearn.linear_model", "sklearn.feature_extraction.text"]
    context.set_forkserver_preload(
        ["tests.crash.killing", *lazily, *(["medclip.training.run", "onnxscript"] if train else [])]
    )
    return context


@dataclass(frozen=True)
class Length:
    """How long an action takes, and how often it changes the file system."""

    seconds: float
    steps: int


@dataclass(frozen=True)
class Outcome:
    """What came of one kill."""

    action: str
    second: str | None
    killed: bool  # before it was done
    changed: bool  # the state is not the one before
    failure: str | None = None


class _Steps:
    """Counts how often this process changes the file system, and kills it before the change of a given number."""

    def __init__(self, fatal: int | None) -> None:
        self.count, self._fatal = 0, fatal

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif not event.startswith(("os.", "shutil.", "fcntl.", "sqlite3.", "ctypes.call")):
            return
        self.count += 1
        if self.count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def _run(action: str, world: World, here: Path, pipe: Connection, fatal: int | None) -> None:
    """In a process of its own: act, and say what came of it."""
    steps = _Steps(fatal)
    sys.addaudithook(steps)
    pipe.send("begun")
    start = time.perf_counter()
    try:
        done: object = act(action, world, here)
        said: tuple[str, object] = ("done", done)
    except MedclipError as error:
        said = ("refused", str(error))
    except BaseException:  # noqa: BLE001 (that is what is being looked for)
        said = ("failed", traceback.format_exc())
    pipe.send((*said, Length(time.perf_counter() - start, steps.count)))


class _Process:
    """An action under way."""

    def __init__(self, context: Any, action: str, world: World, here: Path, fatal: int | None = None) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(action, world, here, theirs, fatal))
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "begun"

    def kill(self) -> None:
        if self._process.pid is not None:
            self._process.kill()

    def end(self) -> tuple[str, Any, Length | None]:
        """``done``, ``refused``, ``failed``, ``killed`` or ``hangs``, what was returned or said, and how long it took."""
        try:
            found = self._pipe.recv() if self._pipe.poll(_PATIENCE) else ("hangs", None, None)
        except EOFError:
            found = ("killed", None, None)
        if found[0] == "hangs":
            self.kill()
        self._process.join()
        self._pipe.close()
        return found  # type: ignore[no-any-return]


def measure(context: Any, action: str, world: World, scratch: Path) -> Length:
    """Let an action run to its end."""
    world.fresh(scratch)
    try:
        for _ in range(2):  # the first time much is loaded
            how, said, length = _Process(context, action, world, scratch).end()
            assert how == "done", said
            if action in ("add", "update", "remove", "backup", "train"):
                break
        assert length is not None
        return length
    finally:
        shutil.rmtree(scratch)


def trial(context: Any, action: str, world: World, here: Path, length: Length, rng: random.Random) -> Outcome:
    """Kill an action once, beside a second one every other time, and look at what is left."""
    second = None
    if rng.random() < 0.5:
        second = rng.choice(ON_INDEX) if action in ON_INDEX else action
    by_step = rng.random() < 0.5
    fatal = rng.randint(1, length.steps) if by_step else None
    after = rng.uniform(0, 1.2 * length.seconds)
    withdraw = action in ON_INDEX and rng.random() < 0.5
    world.fresh(here)
    first = _Process(context, action, world, here, fatal)
    other = _Process(context, second, world, here) if second else None
    if fatal is None:
        time.sleep(after)
        first.kill()
    how, said, _ = first.end()
    try:
        if how in ("failed", "hangs"):
            raise AssertionError(f"{action}: {said or how}")
        if other is not None:
            how_other, said_other, _ = other.end()
            if how_other not in ("done", "refused"):
                raise AssertionError(f"beside it, {second}: {said_other or how_other}")
        allowed = list(states_of(action, second, world))
        state = state_of(action, here)
        assert state in allowed, f"a state that is none of {len(allowed)}: {state}"
        if withdraw:
            _withdrawn(context, world, here)
        else:
            _repeated(context, action, world, here)
    except (AssertionError, MedclipError, OSError, ValueError) as error:
        moment = f"step {fatal} of {length.steps}" if by_step else f"{after:.3f} of {length.seconds:.3f} s"
        text = f"{action} beside {second}, killed at {moment} ({how}), {'withdrawn' if withdraw else 'repeated'}: {error!r}"
        return Outcome(action, second, how == "killed", False, f"{here}: {text}")
    shutil.rmtree(here)
    return Outcome(action, second, how == "killed", state != allowed[0])


def _repeated(context: Any, action: str, world: World, here: Path) -> None:
    """The same command once more: it does its work, and nothing of the killed one is left."""
    target = target_of(action, here)
    if action == "backup" and target.exists():
        shutil.rmtree(target)  # a backup replaces none
    before = state_of(action, here)
    how, said, _ = _Process(context, action, world, here).end()
    gone = action == "remove" and how == "refused" and "no case of that patient" in said
    assert how == "done" or gone, said
    expected = state_of("add", here) if action in ("backup", "export") else done_after(action, world, before)
    assert state_of(action, here) == expected, "the second run did not do its work"
    left = leftovers(here)
    assert left == [], left


def _withdrawn(context: Any, world: World, here: Path) -> None:
    """A patient is removed: no byte of theirs is in or beside the index but where the command says so."""
    how, said, _ = _Process(context, "remove", world, here).end()
    assert how == "done" or "no case of that patient" in said, said
    named = "\n".join(said.traces) if how == "done" else said
    for compacted in (False, True):
        if compacted:
            how, said, _ = _Process(context, "compact", world, here).end()
            assert how == "done", said
        for file, needle in traces(world, here, compacted=compacted):
            top = here / file.relative_to(here).parts[0]
            # Of outputs that are whole the command speaks in general.
            if top.name not in ("backup", "out.gz") and (not top.name.startswith(".") or str(top) not in named):
                raise AssertionError(f"{file.relative_to(here)} holds {needle[:20]!r}, compacted: {compacted}")


ACTIONS = (*ON_INDEX, *ALONE)
