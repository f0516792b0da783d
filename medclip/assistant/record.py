"""A record of an answer: what it takes to come to it again, in one JSON file that carries its checksum.

It holds vectors and checksums of what was asked with, no text, picture, file name or patient's id. Whose texts or scans are
short or known can still be recognised by their checksums, and age and sex can be read from the measurements' vector: it is
to be kept like the query itself.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from medclip import __version__
from medclip.archive.layout import PROBE
from medclip.assistant.answer import Answer, Contribution, NovelQuery, Ranking, Refined
from medclip.assistant.refining import Display
from medclip.assistant.vectors import QueryVectors
from medclip.diagnosis.label_answer import PromisedSet, RankedLabel, Voter
from medclip.diagnosis.sets import Promise
from medclip.diagnosis.store import DIAGNOSERS
from medclip.errors import RecordError, describe
from medclip.files.outputs import new_file
from medclip.files.plain import digest_of, unreadable, write_json
from medclip.files.sealed import Sealed, read_sealed, sealed, strict_json, unsealed
from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import Composition, Part, ViewKind
from medclip.index import CaseIndex

__all__ = [
    "MARK",
    "Archive",
    "Given",
    "Query",
    "Record",
    "Source",
    "archive_state",
    "display_of",
    "parse_record",
    "read_record",
    "record_json",
    "record_of",
    "sources_of",
    "vectors_of",
    "write_record",
]

MARK = b'"kind": "medclip record"'
"""At the beginning of every record: what says that it is ours to replace."""

_FORMAT = 1
_UNIT = 1e-3
"""How far a vector's length may be from one: float32 leaves 1e-6, and an index takes no other (`medclip.index.records`)."""


def _unpacked(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        vector = np.frombuffer(base64.b64decode(given, validate=True), "<f4")
    except (binascii.Error, ValueError):
        raise ValueError("is no vector") from None
    if not np.isfinite(vector).all():
        raise ValueError("holds NaN or infinity")
    return vector.astype(np.float32)


def _packed(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


Vector = Annotated[np.ndarray, BeforeValidator(_unpacked), PlainSerializer(_packed)]
"""(d,) float32; in the file its little-endian bytes in base64."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Stored(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False,
        defer_build=True,  # few queries are recorded
    )  # fmt: skip


class Source(_Stored):
    """One thing that was asked with."""

    kind: Literal["scan", "history", "report", "recording", "transcript"]
    sha256: Sha256  # of a file's bytes or a text's UTF-8; of a folder's, those of its files' checksums, sorted


class EmbeddedParts(_Stored):
    """`medclip.fusion.Parts`."""

    scans: list[Vector]
    history: Vector | None
    report: Vector | None
    measurements: Vector


class Refining(_Stored):
    """`medclip.assistant.refining.Display`: how the cases that were shown were searched for."""

    vector: Vector
    applied: Refined


class Query(_Stored):
    """What was asked."""

    composition: Composition
    case_id: str | None  # of the archived case that was asked as if it were new
    left_out: list[str]  # case ids of the patient who was left out; the vote alone answered then
    k: Annotated[int, Field(ge=1, lt=1 << 31)]
    label_sets: list[str]
    where: str | None
    promise: Promise | None = None  # what the sets of labels were to keep; None: recorded before there were any
    sources: list[Source]
    parts: EmbeddedParts | None
    whole: Vector  # as fused
    rests: dict[Part, Vector]  # as fused without that part
    refined: Refining | None = None  # None: nothing was, or recorded before anything could be


class Archive(_Stored):
    """Which index answered: `medclip.index.records.State`, and what else takes part in an answer."""

    cases: int
    generation: int
    digest: str
    model: str  # fingerprint
    answers: Sha256  # of the file of the fitted answers, which holds the checksum of their probes


class Labels(_Stored):
    """The answer on one label set."""

    label_set: str
    answer: str | None
    ranked: list[RankedLabel]
    set: PromisedSet | None = None
    voters: list[Voter]
    archive_share: float


class Shown(_Stored):
    """A similar case that was shown."""

    case_id: str
    similarity: float
    view: ViewKind
    scan: int | None


class Given(_Stored):
    """What was answered, without the archive's texts."""

    labels: list[Labels]
    ranked_by: Ranking
    similar: list[Shown]
    contributions: list[Contribution]
    novelty: NovelQuery | None = None  # as records of before have none
    cautions: list[str]  # on the answers
    noted: list[str]  # cautions on what was asked with, such as that a text was not understood


class Record(_Stored):
    """All of it."""

    kind: Literal["medclip record"] = "medclip record"
    format: Literal[1] = 1
    asked_at: AwareDatetime
    medclip_version: str
    query: Query
    archive: Archive
    answer: Given
    contents: dict[str, str]  # id of a case that voted, was shown or left out → hash of what it was made from


def sources_of(
    scans: Iterable[Path],
    history: Iterable[str],
    report: Iterable[str],
    recordings: Iterable[str],
    heard: Iterable[str],
) -> list[Source]:
    """What was asked with, by checksum.

    Args:
        recordings: checksums of their files.
        heard: the transcripts.
    """
    found = [Source(kind="scan", sha256=_digest_of(scan)) for scan in scans]
    found += [Source(kind="recording", sha256=digest) for digest in recordings]
    texts = [("history", history), ("report", report), ("transcript", heard)]
    return found + [
        Source.model_validate({"kind": kind, "sha256": hashlib.sha256(text.encode()).hexdigest()})
        for kind, given in texts
        for text in given
    ]


def _digest_of(scan: Path) -> str:
    if not scan.is_dir():
        return digest_of(scan)
    digests = sorted(digest_of(file) for file in scan.iterdir() if file.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def archive_state(index: CaseIndex) -> Archive:
    """What of an index takes part in an answer, as it is now."""
    answers = digest_of(index.attachment(PROBE) / DIAGNOSERS)
    return Archive(**index.state()._asdict(), model=index.fingerprint, answers=answers)


def record_of(
    index: CaseIndex,
    asked: QueryVectors,
    answer: Answer,
    *,
    k: int,
    label_sets: Sequence[str],
    where: str | None,
    promise: Promise | None,
    left_out: Sequence[str],
    case_id: str | None = None,
    sources: Sequence[Source] = (),
    noted: Sequence[str] = (),
    display: Display | None = None,
) -> Record:
    """The record of an answer, to be made within the snapshot of the index that it was answered from.

    Args:
        answer: as `Assistant.answer_to` gives it.
        noted: what else is cautioned of.
        display: how the cases that are shown were searched for, where the query was refined.
    """
    given = Given(
        labels=[Labels.model_validate(one.model_dump(include=set(Labels.model_fields))) for one in answer.labels],
        ranked_by=answer.ranked_by,
        similar=[Shown.model_validate(one.model_dump(include=set(Shown.model_fields))) for one in answer.similar],
        contributions=answer.contributions,
        novelty=answer.novelty,
        cautions=answer.cautions,
        noted=list(noted),
    )
    parts = asked.parts
    voters = {voter.case_id for one in answer.labels for voter in one.voters}
    met = {*left_out, *voters, *(one.case_id for one in answer.similar)}
    if display is not None:
        met |= {*display.applied.like, *display.applied.unlike}
    return Record(
        asked_at=datetime.now(UTC),
        medclip_version=__version__,
        query=Query(
            composition=asked.composition,
            case_id=case_id,
            left_out=list(left_out),
            k=k,
            label_sets=list(label_sets),
            where=where,
            promise=promise or Promise(),
            sources=list(sources),
            parts=None if parts is None else _embedded(parts),
            whole=asked.whole[0],
            rests={part: vector[0] for part, vector in asked.rests.items()},
            refined=None if display is None else Refining(vector=display.vector[0], applied=display.applied),
        ),
        archive=archive_state(index),
        answer=given,
        contents=index.contents(sorted(met)),
    )


def _embedded(parts: Parts) -> EmbeddedParts:
    history, report = (next(iter(text), None) for text in (parts.history, parts.report))
    return EmbeddedParts(scans=list(parts.scans), history=history, report=report, measurements=parts.measurements)


def write_record(file: Path, record: Record, *, force: bool = False) -> None:
    """Write a record that its owner alone may read, whole or not at all.

    Raises:
        OutputError: the file exists (without `force`), is no record, or cannot be written.
    """
    with new_file(file, marker=MARK, force=force) as partial:
        partial.touch(mode=0o600)
        write_json(partial, record_json(record))


def record_json(record: Record) -> dict[str, Any]:
    """A record as JSON that carries its checksum."""
    return sealed(record.model_dump(mode="json"))


def read_record(file: Path) -> Record:
    """Read what `write_record` wrote.

    Raises:
        RecordError: it is missing, damaged, or was written by a newer medclip.
    """
    try:
        return _record(file, read_sealed(file))
    except OSError as error:
        raise RecordError(f"{file}: {unreadable(error)}; name a record that  --record  wrote") from error
    except ValueError as error:
        raise _damaged(file, error) from error


def parse_record(text: bytes, name: str) -> Record:
    """The same from its JSON.

    Args:
        name: of the record, for messages.

    Raises:
        RecordError: as `read_record`.
    """
    try:
        return _record(name, unsealed(strict_json(text)))
    except ValueError as error:
        raise _damaged(name, error) from error


def _damaged(name: object, error: ValueError) -> RecordError:
    if isinstance(error, ValidationError):
        return RecordError(f"{name}: is damaged ({describe(error)}); ask anew with  --record")
    why = "is no JSON" if isinstance(error, json.JSONDecodeError | UnicodeError) else str(error)
    return RecordError(f"{name}: is damaged ({why}); ask anew with  --record")


def _record(name: object, found: Sealed) -> Record:
    if found.value.get("kind") != "medclip record":
        raise RecordError(f"{name}: is no record of an answer; name one that  --record  wrote")
    if found.seal != "whole":
        raise ValueError("has changed since it was written")
    form = found.value.get("format")
    if isinstance(form, int) and form > _FORMAT:
        raise RecordError(f"{name}: was written by a newer medclip (format {form}); update medclip to read it")
    json.dumps(found.value, ensure_ascii=False).encode()  # no half of a character, which no index has
    return Record.model_validate(found.value)


def vectors_of(query: Query, fuser: Fuser) -> QueryVectors:
    """The vectors of a record, held against what the index's model makes.

    Raises:
        ValueError: they are not such.
    """
    given, parts = query.parts, None
    for vector in (query.whole, *query.rests.values()):
        _check(vector, fuser.width)
    if given is not None:
        history, report = ([] if text is None else [text] for text in (given.history, given.report))
        for vector in (*given.scans, *history, *report):
            _check(vector, fuser.base)
        _check(given.measurements, fuser.measurements, absent=not given.measurements.any())
        scans, told, found = (
            np.asarray(one, np.float32).reshape(-1, fuser.base) for one in (given.scans, history, report)
        )
        parts = Parts(scans, told, found, given.measurements)
    elif not query.left_out:
        raise ValueError("lacks the parts of the query")
    there = () if parts is None else parts.there
    if parts is not None and (not there or parts.composition != query.composition):
        raise ValueError("has other parts than it says")
    if query.rests.keys() != set(there if len(there) > 1 else ()):
        raise ValueError("lacks a vector, or has one too many")
    rests = {part: query.rests[part][None] for part in there if part in query.rests}
    return QueryVectors(query.composition, parts, query.whole[None], rests)


def display_of(query: Query, fuser: Fuser) -> Display | None:
    """How a record's similar cases were searched for, where its query was refined.

    Raises:
        ValueError: its vector is not such as the index's model makes.
    """
    if query.refined is None:
        return None
    _check(query.refined.vector, fuser.width)
    applied = query.refined.applied
    return Display(query.refined.vector[None], tuple(applied.views), applied)


def _check(vector: NDArray[np.float32], width: int, *, absent: bool = False) -> None:
    if vector.shape != (width,):
        raise ValueError("has a vector of another width than the index' model makes")
    if not absent and not abs(float(vector.astype(np.float64) @ vector) - 1) < _UNIT:
        raise ValueError("has a vector that is not of unit length")
