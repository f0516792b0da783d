"""Which search structure: stated by what it may cost and must find, chosen by estimate, then measured."""

import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from medclip.index.structures.base import Mask, Positions, Source, Spec, Structure, Tuning, faiss, load_structure
from medclip.index.structures.hnsw import memory_of

__all__ = ["SMALL", "Built", "Demands", "build_structure", "candidates"]

SMALL = 20_000
"""Up to so many vectors an index needs no structure: they are compared one by one."""

_SPEED = 8e9  # bytes a second that an exact search goes through on a laptop; for the estimate alone
_SELECTIVITIES = (1.0, 0.5, 0.1, 0.01)
_NEIGHBOURS, _QUERIES = 10, 128


@dataclass(frozen=True)
class Demands:
    """What a search may cost and must find."""

    memory: int | None = None  # bytes that the structure may take; half of the machine's where None
    latency: float | None = None  # seconds a query may take (median, one at a time); 10 ms where None
    recall: float = 0.98  # of the 10 nearest

    @property
    def bytes_allowed(self) -> int:
        """Bytes that the structure may take."""
        return self.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    @property
    def seconds_allowed(self) -> float:
        """Seconds a query may take."""
        return self.latency or 0.01


@dataclass(frozen=True)
class Built:
    """A structure, and what was measured of it."""

    structure: Structure
    report: dict[str, Any]


def _lists(count: int) -> int:
    return max(1, int(4 * np.sqrt(count)))


def candidates(count: int, dimension: int, demands: Demands) -> list[Spec]:
    """The structures that fit into the memory, in the order in which they are tried.

    Exact search comes first where it is quick enough. Among the others an inverted file comes before HNSW, which
    answers quicker and takes ten times as long to build, unless a query must take less than a millisecond.
    Quantised vectors are for what does not fit otherwise. The last resort is there whatever the memory.
    """
    exact = 4 * count * dimension
    nlist = _lists(count)
    pq = Spec("ivf-pq", {"nlist": nlist, "m": next(m for m in range(dimension // 4 or 1, 0, -1) if dimension % m == 0)})
    found: list[Spec] = []
    if count <= SMALL or (exact / _SPEED <= demands.seconds_allowed and exact <= demands.bytes_allowed):
        found.append(Spec("flat"))
    if count > SMALL:
        hnsw = Spec("hnsw", {"m": 32, "ef_construction": 80})
        inverted = Spec("ivf-flat", {"nlist": nlist})
        quick = demands.seconds_allowed < 1e-3
        for spec in (hnsw, inverted) if quick else (inverted, hnsw):
            need = memory_of(count, dimension, 32) if spec is hnsw else exact + 12 * count
            if need <= demands.bytes_allowed:
                found.append(spec)
        if count * (dimension + 12) <= demands.bytes_allowed:
            found.append(Spec("ivf-sq8", {"nlist": nlist}))
        found.append(pq)
    return found


def build_structure(source: Source, demands: Demands, seed: int, *, wanted: Spec | None = None) -> Built:
    """Build the first candidate that reaches the demands, or the one that comes nearest to them.

    Recall is that of the 10 nearest against exact search, over queries that are archived vectors (their own are not
    counted) and were not used for tuning.

    Args:
        wanted: this structure and no other.
    """
    specs = [wanted] if wanted is not None else candidates(source.count, source.dimension, demands)
    best: Built | None = None
    tried: list[dict[str, Any]] = []
    if specs[0].name != "flat":
        tuning, test = _exercises(source, demands.recall, seed)
    for spec in specs:
        began = time.perf_counter()
        structure = load_structure(spec.name).build(source, spec.settings, seed)
        built = time.perf_counter() - began
        if structure.exact:
            return Built(structure, _report(spec, structure, demands, {"recall": 1.0}, tried))
        structure.tune(tuning)
        harder = tuning
        for _ in range(3):
            short = {s: true for s, true in tuning.truth.items() if test.reached(structure, s) < demands.recall}
            if not short:
                break
            harder = replace(harder, truth=short, recall=(1 + harder.recall) / 2)
            structure.tune(harder)
        measured = {**_measured(structure, test), "build": built, "tuning": time.perf_counter() - began - built}
        tried.append({"structure": str(spec), **measured})
        met = measured["recall"] >= demands.recall and measured["latency"] <= demands.seconds_allowed
        if best is None or met or measured["recall"] > best.report["measured"]["recall"]:
            best = Built(structure, _report(spec, structure, demands, measured, tried))
        if met:
            break
    assert best is not None
    return best


def _report(
    spec: Spec, structure: Structure, demands: Demands, measured: dict[str, Any], tried: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "structure": str(spec),
        "vectors": structure.count,
        "demands": asdict(demands),
        "measured": measured,
        "effort": structure.search_parameters,
        "tried": tried,
    }


def _exercises(source: Source, recall: float, seed: int) -> tuple[Tuning, Tuning]:
    """Two sets of archived vectors as queries, with their exact neighbours under random filters.

    The neighbours under a filter are those of a long unfiltered list that it allows.
    """
    rng = np.random.default_rng(seed)
    count = min(2 * _QUERIES, source.count // 2)
    chosen = np.sort(rng.choice(source.count, count, replace=False))
    rng.shuffle(chosen)
    queries = np.ascontiguousarray(source.take(chosen))
    faiss()  # says what is missing
    from faiss.contrib.exhaustive_search import knn_ground_truth

    # Expected under the strictest filter: 20 among 2,000; where fewer than 10 are known the query is not asked.
    _, nearest = knn_ground_truth(queries, source.chunks(), min(2048, source.count), faiss().METRIC_INNER_PRODUCT)
    draws = rng.random(source.count, np.float32)
    masks = {share: Mask(draws < share) if share < 1 else None for share in _SELECTIVITIES}
    truth = {
        share: [_truth(row, own, masks[share]) for row, own in zip(nearest, chosen, strict=True)] for share in masks
    }
    half = count // 2
    target = recall + (1 - recall) / 2  # chance favours what was tuned on, and queries from outside are harder
    return (
        Tuning(queries[:half], masks, {share: found[:half] for share, found in truth.items()}, source.take, target),
        Tuning(queries[half:], masks, {share: found[half:] for share, found in truth.items()}, source.take, recall),
    )


def _truth(nearest: Positions, own: int, mask: Mask | None) -> Positions:
    allowed = nearest if mask is None else nearest[mask.allowed[nearest]]
    allowed = allowed[allowed != own]
    kept: Positions = allowed[:_NEIGHBOURS] if len(allowed) >= _NEIGHBOURS else allowed[:0]
    return kept


def _measured(structure: Structure, test: Tuning) -> dict[str, Any]:
    times = []
    for query in test.queries:
        start = time.perf_counter()
        structure.nearest(query, _NEIGHBOURS)
        times.append(time.perf_counter() - start)
    return {
        "recall": test.reached(structure, 1.0),
        "recall by selectivity": {f"{share:g}": test.reached(structure, share) for share in test.truth},
        "latency": float(np.median(times)),
        "finds itself": float(np.mean([structure.nearest(q, 1).similarities[0] > 0.99 for q in test.queries])),
    }
