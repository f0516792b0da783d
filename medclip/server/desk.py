"""Where questions are worked on and kept: a few at a time, within a time, and forgotten after a while."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

from medclip.archive.layout import PROBE, model_of
from medclip.assistant.asking import Question
from medclip.assistant.assistant import Assistant
from medclip.errors import ArchiveError, MedclipError
from medclip.index.case_index import MANIFEST
from medclip.modalities.scan.stack import Stack, from_pictures
from medclip.server.settings import Limits
from medclip.server.stacks import LET_GO

__all__ = ["BusyError", "Desk", "LateError"]

T = TypeVar("T")


class BusyError(MedclipError):
    """More is asked at once than is worked on and may wait."""


class LateError(MedclipError):
    """A question took longer than it may."""


@dataclass(frozen=True)
class _Kept:
    who: str
    question: Question
    until: float  # monotonic seconds
    stacks: Sequence[Stack | str]  # of its scans, or why there is none

    @property
    def size(self) -> int:
        """Bytes of its pictures and slices."""
        pictures = sum(picture.nbytes for scan in self.question.scans for picture in scan.pictures)
        return pictures + sum(stack.nbytes for stack in self.stacks if isinstance(stack, Stack))


class _Lane:
    """Places in which threads work, and who waits for one."""

    def __init__(self, places: int, limits: Limits) -> None:
        self._places, self._limits, self._waiting = asyncio.Semaphore(places), limits, 0

    async def run(self, task: Callable[[], T]) -> T:
        """As `Desk.work`."""
        if self._places.locked() and self._waiting >= self._limits.waiting:
            raise BusyError("So much is being worked on that no more can wait; try again in a moment.")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), self._limits.seconds)
        except TimeoutError as error:
            raise BusyError("Others' questions took so long that this one's turn did not come; try again.") from error
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()

        def done() -> T:
            try:
                return task()
            finally:
                loop.call_soon_threadsafe(self._places.release)

        running = loop.run_in_executor(None, done)
        try:
            return await asyncio.wait_for(asyncio.shield(running), self._limits.seconds)
        except TimeoutError as error:
            running.add_done_callback(lambda one: one.cancelled() or one.exception())
            raise LateError(
                f"This took longer than {self._limits.seconds:g} seconds and was given up; ask with fewer or smaller scans."
            ) from error


class Desk:
    """One index, its assistant, and the questions that were asked of it.

    What needs no model is shown at once; the model is verified meanwhile, and whoever asks waits for it.
    """

    def __init__(self, folder: Path, limits: Limits, threads: int | None = None, *, verify: bool = False) -> None:
        """Open the index, and begin to open its model.

        Args:
            verify: the model anew, whatever is remembered (`Assistant.open`).

        Raises:
            ArchiveError, BundleError: it cannot be opened; of its model alone, `opened` says so later.
        """
        self.folder, self.limits, self._threads, self._verify = folder, limits, threads, verify
        self._opening = Lock()
        self._state = self._now()
        self._archive = Assistant.open_without_model(folder)
        self._again: Assistant | None = None  # where the folder was replaced since
        workers = ThreadPoolExecutor(1)
        self.opened: Future[Assistant] = workers.submit(self._first)
        workers.shutdown(wait=False)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._keeping = Lock()
        self._questions, self._looks = _Lane(limits.at_once, limits), _Lane(2 * limits.at_once, limits)

    def _now(self) -> tuple[int, ...]:
        """What tells another index, or other answers, in the folder's place."""
        try:
            found = [path.stat() for path in (self.folder, self.folder / MANIFEST, self.folder / PROBE)]
            own, *others = found
            written = (number for state in others for number in (state.st_dev, state.st_ino, state.st_mtime_ns))
            return own.st_dev, own.st_ino, *written
        except OSError as error:
            raise ArchiveError(f"{self.folder}: is gone or cannot be read; start  medclip serve  again") from error

    def _first(self) -> Assistant:
        index = self._archive.index
        model = model_of(index, threads=self._threads, again=self._verify)
        assistant = Assistant.of(index, model, verify=self._verify)
        model.towers.load_ahead(scans=True, texts=True)
        return assistant

    def assistant(self) -> Assistant:
        """The index' assistant, its model verified: opened anew where it was replaced, or its answers were fitted anew.

        Raises:
            ArchiveError, BundleError: it is gone, or cannot be opened any more.
        """
        first = self.opened.result()
        with self._opening:
            return self._current() or first

    def archive(self) -> Assistant:
        """The same for what embeds and answers nothing, which need not wait for the model: it may be without one.

        Raises:
            ArchiveError, BundleError: as `assistant`.
        """
        with self._opening:
            return self._current() or self._archive

    def _current(self) -> Assistant | None:
        now = self._now()
        if now != self._state:
            self._again = Assistant.open(self.folder, threads=self._threads, verify=self._verify)
            self._state = now
        return self._again

    async def work(self, task: Callable[[], T]) -> T:
        """Read or answer a question in a thread when its turn comes.

        Raises:
            BusyError: too many wait already, or its turn does not come in time.
            LateError: it takes too long; it is not waited for any more, and its place stays taken until it ends.
        """
        return await self._questions.run(task)

    async def look(self, task: Callable[[], T]) -> T:
        """Do something short, beside the questions; else as `work`."""
        return await self._looks.run(task)

    def keep(self, who: str, question: Question, stacks: Sequence[Stack | str] = ()) -> str:
        """Keep a question for a while; returns the name under which who asked it finds it again.

        Args:
            stacks: its scans slice by slice, or why one is not; where there is little room, they go before questions do.
        """
        name = secrets.token_urlsafe(18)
        with self._keeping:
            self._kept[name] = _Kept(who, question, time.monotonic() + 60 * self.limits.minutes, stacks)
            own = [other for other, one in self._kept.items() if one.who == who]
            for other in own[: -self.limits.kept_each]:
                del self._kept[other]
            self._tidy()
        return name

    def tidy(self) -> None:
        """Forget what was kept long enough."""
        with self._keeping:
            self._tidy()

    def kept(self, who: str, name: str) -> Question | None:
        """A question that was kept; None where it is forgotten, or somebody else's."""
        found = self._found(who, name)
        return None if found is None else found.question

    def stack(self, who: str, name: str, number: int) -> Stack | None:
        """A scan of a question slice by slice, else the pictures of it; None where there is none, counted from 0."""
        found = self._found(who, name)
        if found is None or not 0 <= number < len(found.question.scans):
            return None
        stack = found.stacks[number] if number < len(found.stacks) else LET_GO
        return stack if isinstance(stack, Stack) else from_pictures(found.question.scans[number], stack)

    def _found(self, who: str, name: str) -> _Kept | None:
        with self._keeping:
            self._tidy()
            found = self._kept.get(name)
            if found is None or found.who != who:
                return None
            self._kept.move_to_end(name)
            return found

    def forget(self, who: str, name: str) -> None:
        """Forget a question now."""
        with self._keeping:
            if (found := self._kept.get(name)) is not None and found.who == who:
                del self._kept[name]

    def _tidy(self) -> None:
        now = time.monotonic()
        for name in [name for name, one in self._kept.items() if one.until < now]:
            del self._kept[name]
        for name in list(self._kept)[:-1]:
            if self._fits():
                break
            self._kept[name] = replace(self._kept[name], stacks=())
        while len(self._kept) > 1 and not (len(self._kept) <= self.limits.kept and self._fits()):
            self._kept.popitem(last=False)

    def _fits(self) -> bool:
        return sum(one.size for one in self._kept.values()) <= self.limits.kept_bytes
