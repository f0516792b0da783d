"""Search and training on a GPU, where ``faiss-gpu`` and a device are there; the same calls do nothing elsewhere."""

from functools import cache
from typing import Any

from medclip.index.structures.base import faiss

__all__ = ["clustering_index", "gpus", "on_gpu"]


@cache
def gpus() -> int:
    """How many devices FAISS can use."""
    module = faiss()
    return int(module.get_num_gpus()) if hasattr(module, "StandardGpuResources") else 0


@cache
def _resources() -> Any:
    return faiss().StandardGpuResources()


def clustering_index(dimension: int) -> Any | None:
    """Where k-means assigns its points: on the device, or nothing, which leaves it on the CPU."""
    return faiss().index_cpu_to_gpu(_resources(), 0, faiss().IndexFlatIP(dimension)) if gpus() else None


def on_gpu(index: Any) -> Any:
    """A copy of a flat or inverted index on the first device, or the index itself.

    Queries under a mask stay on the CPU, since the device's indexes take no selector.
    """
    return faiss().index_cpu_to_gpu(_resources(), 0, index) if gpus() else index
