"""Where questions are worked on and kept: a few at a time, within a time, and forgotten after a while."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

from medclip.archive.layout import PROBE
from medclip.assistant.asking import Question
from medclip.assistant.assistant import Assistant
from medclip.errors import ArchiveError, MedclipError
from medclip.index.case_index import MANIFEST
from medclip.server.settings import Limits

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
    size: int  # bytes of its pictures


class Desk:
    """One index, its assistant, and the questions that were asked of it."""

    def __init__(self, folder: Path, limits: Limits, threads: int | None = None) -> None:
        """Open the index.

        Raises:
            ArchiveError, BundleError: it cannot be opened.
        """
        self.folder, self.limits, self._threads = folder, limits, threads
        self._opening = Lock()
        self._state = self._now()
        self._assistant = Assistant.open(folder, threads=threads)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._keeping = Lock()
        self._slots = asyncio.Semaphore(limits.at_once)
        self._waiting = 0

    def _now(self) -> tuple[int, ...]:
        """What tells another index, or other answers, in the folder's place."""
        try:
            found = [path.stat() for path in (self.folder, self.folder / MANIFEST, self.folder / PROBE)]
            return tuple(number for state in found for number in (state.st_dev, state.st_ino))
        except OSError as error:
            raise ArchiveError(f"{self.folder}: is gone or cannot be read; start  medclip serve  again") from error

    def assistant(self) -> Assistant:
        """The index' assistant: opened anew where it was replaced, or its answers were fitted anew.

        Raises:
            ArchiveError, BundleError: it is gone, or cannot be opened any more.
        """
        with self._opening:
            now = self._now()
            if now != self._state:
                self._assistant = Assistant.open(self.folder, threads=self._threads)
                self._state = now
                with self._keeping:
                    self._kept.clear()  # what another model embedded means nothing to this one
            return self._assistant

    async def work(self, task: Callable[[], T]) -> T:
        """Do something in a thread when its turn comes.

        Raises:
            BusyError: too many wait already.
            LateError: it takes too long; it is not waited for any more, and its place stays taken until it ends.
        """
        if self._slots.locked() and self._waiting >= self.limits.waiting:
            raise BusyError("So many questions are being worked on that no more can wait; try again in a moment.")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()

        def done() -> T:
            try:
                return task()
            finally:
                loop.call_soon_threadsafe(self._slots.release)

        running = loop.run_in_executor(None, done)
        try:
            return await asyncio.wait_for(asyncio.shield(running), self.limits.seconds)
        except TimeoutError as error:
            running.add_done_callback(lambda one: one.cancelled() or one.exception())
            raise LateError(
                f"This took longer than {self.limits.seconds:g} seconds and was given up; ask with fewer or smaller scans."
            ) from error

    async def look(self, task: Callable[[], T]) -> T:
        """Do something short, which waits for no turn."""
        return await asyncio.to_thread(task)

    def keep(self, who: str, question: Question) -> str:
        """Keep a question for a while; returns the name under which who asked it finds it again."""
        size = sum(picture.nbytes for scan in question.scans for picture in scan.pictures)
        name = secrets.token_urlsafe(18)
        with self._keeping:
            self._kept[name] = _Kept(who, question, time.monotonic() + 60 * self.limits.minutes, size)
            self._tidy()
        return name

    def kept(self, who: str, name: str) -> Question | None:
        """A question that was kept; None where it is forgotten, or somebody else's."""
        with self._keeping:
            self._tidy()
            found = self._kept.get(name)
            if found is None or found.who != who:
                return None
            self._kept.move_to_end(name)
            return found.question

    def forget(self, who: str, name: str) -> None:
        """Forget a question now."""
        with self._keeping:
            if (found := self._kept.get(name)) is not None and found.who == who:
                del self._kept[name]

    def _tidy(self) -> None:
        now = time.monotonic()
        for name in [name for name, one in self._kept.items() if one.until < now]:
            del self._kept[name]
        while len(self._kept) > 1 and (
            len(self._kept) > self.limits.kept or sum(one.size for one in self._kept.values()) > self.limits.kept_bytes
        ):
            self._kept.popitem(last=False)
