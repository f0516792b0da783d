"""Embedded cases on disk, in shards: what a long job has done is not done again.

A folder of shards belongs to one model (``shards.json``), and one job works in it at a time. Every shard is one
safetensors file that appears whole or not at all, named by what it was made from (the cases and their files), so that a
job that was interrupted, or whose cases changed meanwhile, makes only what is missing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case, Skipped
from medclip.embedding.embedder import EmbeddedCase, Embedder
from medclip.errors import ArchiveError
from medclip.files.outputs import named_failures, replaced_file
from medclip.files.plain import digest_of, write_json
from medclip.files.tensors import write_tensors
from medclip.files.workplaces import clear_dead, held

__all__ = [
    "Shard",
    "content_of",
    "embed_archive",
    "embed_shard",
    "embedded_locally",
    "open_shards",
    "planned",
    "read_shards",
    "shards_with",
    "work_folder",
    "write_shard",
]

_ABOUT, _CASES = "shards.json", 64
_FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """A part of the work: some cases, and where their embeddings go."""

    file: Path
    cases: tuple[Case, ...]
    contents: tuple[str, ...]  # hash of each case


def content_of(case: Case, folder: Path) -> str:
    """Hash of all that a case is embedded from: its record and the bytes of its scans.

    A file that is missing counts as empty.
    """
    digest = hashlib.sha256(case.model_dump_json().encode())
    for scan in case.scans:
        path = folder / scan.file
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(b"\x00" + file.name.encode() + b"\x00")
            if file.is_file():
                digest.update(bytes.fromhex(digest_of(file)))
    return digest.hexdigest()


def work_folder(out: Path) -> Path:
    """Where embeddings wait that are on their way into an index."""
    real = out.resolve()
    return real.parent / f".{real.name}.embedded"


@contextmanager
def open_shards(out: Path, fingerprint: str, *, scratch: bool = False) -> Iterator[None]:
    """Begin a folder of shards, or go on with one, and be the only job that works in it.

    Args:
        scratch: it is a `work_folder`: what a killed job left there, or another model, is deleted instead of refused.

    Raises:
        ArchiveError: another job works in it, it belongs to another model, or it holds something else.
        OutputError: it cannot be written.
    """
    if not scratch:
        _check_ours(out, fingerprint)
        if out.is_dir() and not os.access(out, os.W_OK):  # nobody can work in it, but what is there can be read
            yield
            return
        with named_failures(out):
            out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(held(out, own=scratch))
        except BlockingIOError:
            raise ArchiveError(f"{out}: another process is embedding cases into it; wait until it is done") from None
        with named_failures(out):
            if scratch:
                _clear_strange(out, fingerprint)
            else:
                _check_ours(out, fingerprint)
            if not (out / _ABOUT).is_file():
                with replaced_file(out / _ABOUT) as partial:
                    write_json(partial, {"format": _FORMAT, "fingerprint": fingerprint})
            clear_dead(out)
        yield


def _read_about(folder: Path) -> str:
    """The model of a folder of shards."""
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        if about["format"] != _FORMAT:
            raise ArchiveError(f"{folder}: was written by another version of medclip; embed the cases again")
        return str(about["fingerprint"])
    except FileNotFoundError:
        raise ArchiveError(f"{folder}: holds no embedded cases; make them with  medclip embed") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{folder / _ABOUT}: is damaged; delete the folder and embed the cases again") from error


def _check_ours(out: Path, fingerprint: str) -> None:
    """Refuse a folder of another model, or of something else than shards."""
    if (out / _ABOUT).is_file():
        if _read_about(out) != fingerprint:
            raise ArchiveError(f"{out}: holds embeddings of another model; name another folder or delete it")
    elif out.exists() and (not out.is_dir() or any(not _is_left(path) for path in out.iterdir())):
        raise ArchiveError(f"{out}: is not empty and holds no {_ABOUT}; name another folder")


def _is_left(path: Path) -> bool:
    """Whether a killed job that had only begun may have left it."""
    return path.name in ("lock", f".{_ABOUT}.partial")


def _clear_strange(out: Path, fingerprint: str) -> None:
    """Empty a work folder that is of another model, or that a killed job had not wholly deleted."""
    try:
        if _read_about(out) == fingerprint:
            return
    except ArchiveError:
        pass
    for left in [*out.glob("*.safetensors"), out / _ABOUT]:
        left.unlink(missing_ok=True)


def planned(cases: Iterable[Case], folder: Path, out: Path) -> Iterator[Shard]:
    """Divide cases into shards, in their order, one at a time."""
    given = iter(cases)
    number = 0
    while part := tuple(islice(given, _CASES)):
        contents = tuple(content_of(case, folder) for case in part)
        name = hashlib.sha256("".join(contents).encode()).hexdigest()[:24]
        yield Shard(out / f"{number:06d}-{name}.safetensors", part, contents)
        number += 1


def embed_shard(shard: Shard, folder: Path, embedder: Embedder, progress: Callable[[str], None]) -> None:
    """Make one shard, unless it is there."""
    if shard.file.is_file():
        for case in shard.cases:
            progress(case.id)
        return
    embedded = []
    for case, one in zip(shard.cases, embedder.cases(shard.cases, folder), strict=True):
        embedded.append(one)
        progress(case.id)
    write_shard(shard, embedded, embedder)


def write_shard(shard: Shard, embedded: Sequence[EmbeddedCase | Skipped], embedder: Embedder) -> None:
    """Write one shard, whole or not at all."""
    width = embedder.model.manifest.base
    heads: list[dict[str, Any]] = []
    rows: list[np.ndarray[Any, Any]] = [np.empty((0, width), np.float32)]
    values = []
    jpegs: list[bytes] = []
    for case, one, content in zip(shard.cases, embedded, shard.contents, strict=True):
        head: dict[str, Any] = {"case": case.model_dump(mode="json", exclude_defaults=True), "content": content}
        if isinstance(one, Skipped):
            head["skipped"] = one.reason
        else:
            rows += [one.scans, one.report, one.history]
            values.append(one.measurements)
            jpegs += one.thumbnails.values()
            head |= {
                "numbers": one.numbers,
                "report": len(one.report),
                "history": len(one.history),
                "thumbnails": {str(number): len(jpeg) for number, jpeg in one.thumbnails.items()},
                "problems": one.problems,
            }
        heads.append(head)
    tensors = {
        "vectors": np.concatenate(rows),
        "measurements": np.stack(values) if values else np.empty((0, 0), np.float32),
        "thumbnails": np.frombuffer(b"".join(jpegs), np.uint8),
        "cases": np.frombuffer(json.dumps(heads, ensure_ascii=False).encode(), np.uint8),
    }
    with replaced_file(shard.file) as partial:
        write_tensors(partial, tensors)


def read_shards(folder: Path, fingerprint: str, files: Sequence[Path]) -> Iterator[EmbeddedCase | Skipped]:
    """The embedded cases, one shard in memory at a time.

    Raises:
        ArchiveError: a shard is missing or damaged, or they are of another model.
    """
    if _read_about(folder) != fingerprint:
        raise ArchiveError(f"{folder}: holds embeddings of another model than this index's")
    for file in files:
        yield from _read(file)


_UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError)


def _damaged(file: Path) -> ArchiveError:
    return ArchiveError(f"{file}: is missing or damaged; delete it and run the same command again")


def _heads(file: Path) -> list[dict[str, Any]]:
    """What a shard says of its cases."""
    with safe_open(file, "np") as handle:
        heads: list[dict[str, Any]] = json.loads(handle.get_tensor("cases").tobytes())
    return heads


def _read(file: Path) -> Iterator[EmbeddedCase | Skipped]:
    try:
        heads = _heads(file)
        with safe_open(file, "np") as handle:
            vectors, measurements = handle.get_tensor("vectors"), handle.get_tensor("measurements")
            jpegs = handle.get_tensor("thumbnails").tobytes()
        row = value = byte = 0
        for head in heads:
            case = Case.model_validate(head["case"])
            if "skipped" in head:
                yield Skipped(case.id, head["skipped"])
                continue
            ends = np.cumsum([row, len(head["numbers"]), head["report"], head["history"]])
            scans, report, history = (vectors[a:b] for a, b in pairwise(ends))
            row = int(ends[-1])
            pictures = {}
            for number, length in head["thumbnails"].items():
                pictures[int(number)] = jpegs[byte : byte + length]
                byte += length
            yield EmbeddedCase(
                case,
                tuple(head["numbers"]),
                scans,
                report,
                history,
                measurements[value],
                pictures,
                tuple(head["problems"]),
                head["content"],
            )
            value += 1
    except _UNREADABLE as error:
        raise _damaged(file) from error


def shards_with(folder: Path, case_ids: Collection[str], patient: str | None) -> list[Path]:
    """The shards of a folder that hold one of these cases, or a case of this patient.

    Those that cannot be read are among them, since they may hold anybody.
    """
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        try:
            records = [Case.model_validate(head["case"]) for head in _heads(file)]
        except _UNREADABLE:
            found.append(file)
            continue
        if any(case.id in case_ids or case.patient == patient for case in records):
            found.append(file)
    return found


def embed_archive(
    cases: Iterable[Case],
    folder: Path,
    model: Path,
    out: Path,
    *,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Make all shards of these cases with a model folder, in this process; returns their files.

    Raises:
        BundleError: the model is damaged.
        ArchiveError: the folder of shards belongs to another model, or another job works in it.
        OutputError: it cannot be written.
    """
    source = ServingModel(Layout(model).serving.root, threads=threads)
    source.verify_references()
    with open_shards(out, source.fingerprint):
        return embedded_locally(cases, folder, source, out, progress)


def embedded_locally(
    cases: Iterable[Case], folder: Path, model: ServingModel, out: Path, progress: Callable[[str], None]
) -> list[Path]:
    """Make all shards of these cases in this process, in a folder that is open; returns their files.

    One shard's cases are in memory at a time.

    Raises:
        OutputError: the folder cannot be written.
    """
    embedder = Embedder(model)
    files = []
    for shard in planned(cases, folder, out):
        embed_shard(shard, folder, embedder, progress)
        files.append(shard.file)
    return files
