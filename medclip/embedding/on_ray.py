"""Embedding an archive that is too large for one process, on Ray Data."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.embedding.embedder import Embedder
from medclip.embedding.shards import Shard, embed_shard, open_shards, planned
from medclip.errors import ArchiveError, MissingDependencyError

__all__ = ["embed_on_ray"]

_TRIES = 3  # of the whole, each of which makes only what is missing


@cache
def _embedder(model: str, threads: int | None) -> Embedder:
    """One a process, whatever the number of its shards."""
    return Embedder(ServingModel(Path(model), threads=threads))


def _make(batch: dict[str, Any], *, model: str, folder: str, threads: int | None) -> dict[str, Any]:
    """Runs on the cluster: make the shards of a batch. A task, not an actor, since Ray makes a lost task again."""
    for file, cases, contents in zip(batch["file"], batch["cases"], batch["contents"], strict=True):
        members = tuple(Case.model_validate_json(case) for case in cases)
        shard = Shard(Path(str(file)), members, tuple(str(one) for one in contents))
        embed_shard(shard, Path(folder), _embedder(model, threads), lambda _: None)
    return {"file": batch["file"]}


def embed_on_ray(
    cases: Iterable[Case],
    folder: Path,
    model: Path,
    out: Path,
    *,
    address: str,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Make all shards of these cases on a cluster whose machines see the same folders; returns their files.

    A shard is one file that appears whole, so a worker that is lost costs its shard alone, which another makes; run
    again after a kill, only what is missing is made. This process holds the folder, its workers make the shards.
    The vectors are those of one process: the same code makes them.

    Args:
        address: of the cluster; ``auto`` finds the one that this machine is part of, ``local`` starts one here.

    Raises:
        MissingDependencyError: Ray is not installed.
        ArchiveError: the cluster cannot be reached, the work failed on it, or another job works in the folder.
        BundleError: the model is damaged.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray  # noqa: F401 (before any work is done)
    except ImportError as error:
        raise MissingDependencyError("Ray is not installed", "distributed") from error
    serving = Layout(model).serving.root
    source = ServingModel(serving, threads=threads)
    source.verify_references()
    with open_shards(out, source.fingerprint):
        shards = list(planned(cases, folder, out.resolve()))
        _make_all(shards, folder, serving, out, address=address, threads=threads, progress=progress)
    return [shard.file for shard in shards]


def _make_all(
    shards: Sequence[Shard],
    folder: Path,
    serving: Path,
    out: Path,
    *,
    address: str,
    threads: int | None,
    progress: Callable[[str], None],
) -> None:
    """Make what is missing, and be sure that nothing is."""
    import ray
    import ray.data

    told: set[str] = set()

    def tell() -> None:
        for shard in shards:
            if shard.file.name not in told and shard.file.is_file():
                told.add(shard.file.name)
                for case in shard.cases:
                    progress(case.id)

    tell()
    begun = not ray.is_initialized()
    try:
        if begun:
            local = {"_node_ip_address": "127.0.0.1", "include_dashboard": False} if address == "local" else {}
            ray.init(address=address, log_to_driver=False, logging_level="error", **local)
        ray.data.DataContext.get_current().enable_progress_bars = False
        for attempt in range(_TRIES):
            missing = [shard for shard in shards if not shard.file.is_file()]
            rows = [
                {
                    "file": str(shard.file),
                    "cases": [case.model_dump_json() for case in shard.cases],
                    "contents": list(shard.contents),
                }
                for shard in missing
            ]
            given = {"model": str(serving.resolve()), "folder": str(folder.resolve()), "threads": threads}
            try:
                made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                    _make, fn_kwargs=given, batch_size=1, batch_format="numpy", num_cpus=1
                )
                for _ in made.iter_rows() if rows else ():
                    tell()
                break
            except ray.exceptions.RayError:
                if attempt == _TRIES - 1:
                    raise
    except (ConnectionError, RuntimeError, ray.exceptions.RayError, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ArchiveError(
            f"Ray at {address}: {said}; what was embedded is in {out}, and the same command goes on from there"
        ) from error
    finally:
        if begun and ray.is_initialized():
            ray.shutdown()
    tell()
    lost = [shard for shard in shards if not shard.file.is_file()]
    if lost:
        raise ArchiveError(
            f"{lost[0].file}: was made on a machine that does not share {out} with this one; use a shared folder"
        )
