"""A form → what is known of a patient."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile

from medclip.archive.browsing import clause
from medclip.assistant.answer import Heard
from medclip.assistant.asking import Question
from medclip.assistant.assistant import Assistant
from medclip.errors import MeasurementError, MedclipError, MissingDependencyError, OptionError, SpeechError, TextError
from medclip.modalities.measurements.shared_units import Amount
from medclip.modalities.measurements.values import values_of
from medclip.modalities.scan.stack import Stack
from medclip.server.stacks import Reading
from medclip.server.uploads import Desktop, Received, Sent

__all__ = ["Given", "LookedAt", "filter_of", "read_form"]

_BARE = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_KNOWN = {"scans", "recordings", "history", "report", "age", "sex", "measure", "where"}


@dataclass(frozen=True)
class LookedAt:
    """A question, and its scans slice by slice."""

    question: Question
    stacks: list[Stack | str]  # of each scan, or why there is none


@dataclass(frozen=True)
class Given:
    """What was filled in."""

    scans: list[Sent] = field(default_factory=list)
    recordings: list[Sent] = field(default_factory=list)
    history: str = ""
    report: str = ""
    age: str = ""
    sex: str = ""
    measured: list[tuple[str, str]] = field(default_factory=list)  # name, as written: with a unit or without
    where: str = ""

    def question(self, assistant: Assistant, desktop: Desktop) -> Question:
        """All of it read and embedded; its files are deleted when this returns.

        Raises:
            MedclipError: something of it cannot be used; files are called as their sender called them.
        """
        measured = self._measured(assistant)
        with self._received(desktop) as received:
            return self._ask(assistant, received, measured, desktop.limits.pixels)

    def looked_at(self, assistant: Assistant, desktop: Desktop, most: int) -> LookedAt:
        """The same, and the scans slice by slice, which are read meanwhile.

        Args:
            most: bytes of all slices.

        Raises:
            MedclipError: as `question`.
        """
        measured = self._measured(assistant)
        with self._received(desktop) as received:
            slices = Reading(received.scans, most)
            return LookedAt(self._ask(assistant, received, measured, desktop.limits.pixels), slices.stacks())

    def _measured(self, assistant: Assistant) -> Mapping[str, Amount]:
        coding = assistant.embedder.coding
        units = coding.units
        written = [
            f"{name}={value.replace(',', '.')}{units.get(name, '')}" if _BARE.fullmatch(value) else f"{name}={value}"
            for name, value in self.measured
        ]
        return values_of(written, _years(self.age), self.sex or None, known=coding)

    def _ask(
        self, assistant: Assistant, received: Received, measured: Mapping[str, Amount], most_pixels: int
    ) -> Question:
        if not (received.scans or received.recordings or self.history or self.report or measured):
            raise OptionError("nothing was given to ask with; add a scan, a text or a measurement")
        return assistant.ask(
            received.scans,
            [self.history] if self.history else [],
            measured,
            report=[self.report] if self.report else [],
            recordings=received.recordings,
            most_pixels=most_pixels,
        )

    def transcripts(self, assistant: Assistant, desktop: Desktop) -> list[Heard]:
        """The recordings written down; their files are deleted when this returns.

        Raises:
            MedclipError: there are none, or one cannot be used.
        """
        if not self.recordings:
            raise SpeechError("recordings: none was given; record or choose one")
        with Given(recordings=self.recordings)._received(desktop) as received:
            return assistant.transcribe(received.recordings)

    @contextmanager
    def _received(self, desktop: Desktop) -> Iterator[Received]:
        with desktop.received(self.scans, self.recordings) as received:
            try:
                yield received
            except MissingDependencyError:  # names no file
                raise
            except MedclipError as error:
                raise type(error)(received.told(str(error))) from error


def _years(text: str) -> float | None:
    if not text:
        return None
    try:
        years = float(text)
    except ValueError as error:
        raise MeasurementError("age: is a number of years") from error
    if not 0 <= years <= 130:
        raise MeasurementError("age: is a number of years from 0 to 130")
    return years


def read_form(form: FormData) -> Given:
    """What a form has.

    Raises:
        OptionError: it has a field that means nothing.
        TextError: a text is a file, or the other way round.
    """
    texts: dict[str, str] = {}
    files: dict[str, list[Sent]] = {"scans": [], "recordings": []}
    measured: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        kind = name.partition(".")[0]
        if kind not in _KNOWN | {"only", "from", "to"}:
            raise OptionError(f"{name[:100]}: is no field of a question; it has {', '.join(sorted(_KNOWN))}")
        if isinstance(value, UploadFile):
            if name not in files:
                raise TextError(f"{name}: is a text, and a file was given")
            if value.filename or value.size:
                files[name].append(Sent(value.filename or "file", value.file))
            continue
        if name in files:
            if value:
                raise TextError(f"{name}: are files, and a text was given")
            continue
        if kind == "measure":
            own, written = (name.partition(".")[2], value) if "." in name else tuple(value.partition("=")[::2])
            if "." not in name and "=" not in value and value.strip():
                raise MeasurementError("measure: is written NAME=VALUE with its unit, such as temperature=38.9Cel")
            if written.strip():
                measured.append((own.strip(), written.strip()))
        elif value.strip():
            texts[name] = value.strip()
    return Given(
        files["scans"],
        files["recordings"],
        texts.get("history", ""),
        texts.get("report", ""),
        texts.get("age", ""),
        texts.get("sex", ""),
        measured,
        filter_of(texts),
    )


def filter_of(given: Mapping[str, str]) -> str:
    """The expression of a form's choices: ``where`` and the fields ``only.NAME``, ``from.NAME`` and ``to.NAME``.

    Raises:
        OptionError: an end of a range is no number.
    """
    clauses = [f"({given['where']})"] if given.get("where", "").strip() else []
    for name, value in given.items():
        kind, _, of = name.partition(".")
        if kind in _COMPARED and of and value.strip():
            clauses.append(clause(of, _COMPARED[kind], value.strip() if kind == "only" else _number(name, value)))
    if len(clauses) == 1 and given.get("where", "").strip():
        return given["where"].strip()
    return " and ".join(clauses)


_COMPARED = {"only": "=", "from": ">=", "to": "<="}


def _number(name: str, text: str) -> float:
    try:
        number = float(text.replace(",", "."))
    except ValueError as error:
        raise OptionError(f"{name}: is a number") from error
    if not math.isfinite(number):
        raise OptionError(f"{name}: is a number")
    return number
