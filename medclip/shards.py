"""Embedded cases on disk, in shards: what a long job has done is not done again.

A folder of shards belongs to one model (``shards.json``). Every shard is one safetensors file that appears whole or not
at all, named by what it was made from (the cases and their files), so that a job that was interrupted, or whose cases
changed meanwhile, makes only what is missing.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.embedder import EmbeddedCase, Embedder
from medclip.errors import ArchiveError
from medclip.files import named_failures, replaced_file, write_json
from medclip.tensors import write_tensors

__all__ = [
    "Shard",
    "Skipped",
    "content_of",
    "embed_archive",
    "embed_shard",
    "embedded_locally",
    "open_shards",
    "planned",
    "read_shards",
]

_ABOUT, _CASES = "shards.json", 64
_FORMAT = 1


@dataclass(frozen=True)
class Skipped:
    """A case of which nothing could be embedded."""

    case: Case
    why: str


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
                with file.open("rb") as handle:
                    digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def open_shards(out: Path, fingerprint: str) -> None:
    """Begin a folder of shards, or go on with one.

    Raises:
        ArchiveError: it belongs to another model, or holds something else.
        OutputError: it cannot be written.
    """
    about = out / _ABOUT
    if about.is_file():
        if _read_about(out) != fingerprint:
            raise ArchiveError(f"{out}: holds embeddings of another model; name another folder or delete it")
        return
    if out.exists() and any(out.iterdir()):
        raise ArchiveError(f"{out}: is not empty and holds no {_ABOUT}; name another folder")
    with named_failures(out):
        out.mkdir(parents=True, exist_ok=True)
        with replaced_file(about) as partial:
            write_json(partial, {"format": _FORMAT, "fingerprint": fingerprint})


def _read_about(folder: Path) -> str:
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
        if about["format"] != _FORMAT:
            raise ArchiveError(f"{folder}: was written by another version of medclip; embed the cases again")
        return str(about["fingerprint"])
    except FileNotFoundError:
        raise ArchiveError(f"{folder}: holds no embedded cases; make them with  medclip embed") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{folder / _ABOUT}: is damaged; delete the folder and embed the cases again") from error


def planned(cases: Sequence[Case], folder: Path, out: Path) -> list[Shard]:
    """Divide cases into shards, in their order."""
    shards = []
    for start in range(0, len(cases), _CASES):
        part = tuple(cases[start : start + _CASES])
        contents = tuple(content_of(case, folder) for case in part)
        name = hashlib.sha256("".join(contents).encode()).hexdigest()[:24]
        shards.append(Shard(out / f"{start // _CASES:06d}-{name}.safetensors", part, contents))
    return shards


def embed_shard(shard: Shard, folder: Path, embedder: Embedder, progress: Callable[[str], None]) -> None:
    """Make one shard, unless it is there."""
    if shard.file.is_file():
        for case in shard.cases:
            progress(case.id)
        return
    embedded = []
    for result in embedder.cases(shard.cases, folder):
        one = result if isinstance(result, EmbeddedCase) else Skipped(*result)
        embedded.append(one)
        progress(one.case.id)
    with replaced_file(shard.file) as partial:
        _write(partial, embedded, shard.contents, embedder)


def _write(file: Path, embedded: Sequence[EmbeddedCase | Skipped], contents: Sequence[str], embedder: Embedder) -> None:
    width = embedder.model.manifest.base
    heads: list[dict[str, Any]] = []
    rows: list[np.ndarray[Any, Any]] = [np.empty((0, width), np.float32)]
    values = []
    jpegs: list[bytes] = []
    for one, content in zip(embedded, contents, strict=True):
        head: dict[str, Any] = {"case": one.case.model_dump(mode="json", exclude_defaults=True), "content": content}
        if isinstance(one, Skipped):
            head["skipped"] = one.why
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
    write_tensors(file, tensors)


def read_shards(
    folder: Path, fingerprint: str, shards: Sequence[Shard] | None = None
) -> Iterator[EmbeddedCase | Skipped]:
    """The embedded cases, shard by shard.

    Args:
        shards: these; all of the folder where None.

    Raises:
        ArchiveError: a shard is missing or damaged, or they are of another model.
    """
    if _read_about(folder) != fingerprint:
        raise ArchiveError(f"{folder}: holds embeddings of another model than this index's")
    files = sorted(folder.glob("*.safetensors")) if shards is None else [shard.file for shard in shards]
    for file in files:
        try:
            yield from _read(file)
        except (OSError, SafetensorError, ValueError, KeyError, IndexError) as error:
            raise ArchiveError(f"{file}: is missing or damaged; delete it and run  medclip embed  again") from error


def _read(file: Path) -> Iterator[EmbeddedCase | Skipped]:
    with safe_open(file, "np") as handle:
        tensors = {name: handle.get_tensor(name) for name in ("vectors", "measurements", "thumbnails", "cases")}
    row = value = byte = 0
    jpegs = tensors["thumbnails"].tobytes()
    for head in json.loads(tensors["cases"].tobytes()):
        case = Case.model_validate(head["case"])
        if "skipped" in head:
            yield Skipped(case, head["skipped"])
            continue
        ends = np.cumsum([row, len(head["numbers"]), head["report"], head["history"]])
        scans, report, history = (tensors["vectors"][a:b] for a, b in pairwise(ends))
        row = int(ends[-1])
        thumbnails = {}
        for number, length in head["thumbnails"].items():
            thumbnails[int(number)] = jpegs[byte : byte + length]
            byte += length
        yield EmbeddedCase(
            case,
            tuple(head["numbers"]),
            scans,
            report,
            history,
            tensors["measurements"][value],
            thumbnails,
            tuple(head["problems"]),
            head["content"],
        )
        value += 1


def embed_archive(
    cases: Sequence[Case],
    folder: Path,
    model: Path,
    out: Path,
    *,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Shard]:
    """Make all shards of these cases with a model folder, in this process; returns them.

    Raises:
        BundleError: the model is damaged.
        ArchiveError: the folder of shards belongs to another model.
        OutputError: it cannot be written.
    """
    source = ServingModel(Layout(model).serving.root, threads=threads)
    source.verify_probes()
    return embedded_locally(cases, folder, source, out, progress)


def embedded_locally(
    cases: Sequence[Case], folder: Path, model: ServingModel, out: Path, progress: Callable[[str], None]
) -> list[Shard]:
    """Make all shards of these cases in this process; returns them.

    Raises:
        ArchiveError: the folder of shards belongs to another model.
        OutputError: it cannot be written.
    """
    open_shards(out, model.fingerprint)
    shards = planned(cases, folder, out)
    embedder = Embedder(model)
    for shard in shards:
        embed_shard(shard, folder, embedder, progress)
    return shards
