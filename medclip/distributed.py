"""Embedding an archive that is too large for one process, on Ray Data."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.embedder import Embedder
from medclip.errors import ArchiveError, MissingDependencyError
from medclip.shards import Shard, embed_shard, open_shards, planned

__all__ = ["embed_on_ray"]

_TRIES = 5  # of a shard whose worker or machine is lost


class _Worker:
    """Holds a model on one worker and makes the shards that come."""

    def __init__(self, model: str, folder: str, threads: int | None) -> None:
        self._embedder = Embedder(ServingModel(Path(model), threads=threads))
        self._folder = Path(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for file, cases, contents in zip(batch["file"], batch["cases"], batch["contents"], strict=True):
            members = tuple(Case.model_validate_json(case) for case in cases)
            shard = Shard(Path(str(file)), members, tuple(str(one) for one in contents))
            embed_shard(shard, self._folder, self._embedder, lambda _: None)
        return {"file": batch["file"], "count": [len(cases) for cases in batch["cases"]]}


def embed_on_ray(
    cases: Sequence[Case],
    folder: Path,
    model: Path,
    out: Path,
    *,
    address: str,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Shard]:
    """Make all shards of these cases on a cluster whose machines see the same folders; returns them.

    A shard is one file that appears whole, so a worker that is lost costs its shard alone, which another makes; run
    again after a kill, only what is missing is made. The vectors are those of one process: the same code makes them.

    Args:
        address: of the cluster; ``auto`` finds the one that this machine is part of, ``local`` starts one here.

    Raises:
        MissingDependencyError: Ray is not installed.
        ArchiveError: the cluster cannot be reached, or the work failed on it.
        BundleError: the model is damaged.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("Ray is not installed", "distributed") from error
    serving = Layout(model).serving.root
    source = ServingModel(serving, threads=threads)
    source.verify_probes()
    open_shards(out, source.fingerprint)
    shards = planned(cases, folder, out.resolve())
    missing = [shard for shard in shards if not shard.file.is_file()]
    for shard in shards:
        if shard not in missing:
            for case in shard.cases:
                progress(case.id)
    if not missing:
        return shards
    begun = not ray.is_initialized()
    try:
        if begun:
            ray.init(
                address=None if address == "local" else address,
                _node_ip_address="127.0.0.1" if address == "local" else None,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="error",
            )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = 0
        by_file = {str(shard.file): shard for shard in missing}
        rows = [
            {
                "file": file,
                "cases": [case.model_dump_json() for case in shard.cases],
                "contents": list(shard.contents),
            }
            for file, shard in by_file.items()
        ]
        made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(str(serving.resolve()), str(folder.resolve()), threads),
            batch_size=1,
            batch_format="numpy",
            concurrency=(1, max(1, int(ray.cluster_resources().get("CPU", 1)))),
            max_restarts=_TRIES,
            max_task_retries=_TRIES,
        )
        for row in made.iter_rows():
            for case in by_file[str(row["file"])].cases:
                progress(case.id)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ArchiveError(
            f"Ray at {address}: {said}; what was embedded is in {out}, and the same command goes on from there"
        ) from error
    finally:
        if begun and ray.is_initialized():
            ray.shutdown()
    lost = [shard for shard in shards if not shard.file.is_file()]
    if lost:
        raise ArchiveError(
            f"{lost[0].file}: was made on a machine that does not share {out} with this one; use a shared folder"
        )
    return shards
