"""Which search structure: stated by what it may cost and must find, chosen by estimate, then measured."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from medclip.index.records import Vectors
from medclip.index.structures.base import (
    Mask,
    Nearest,
    Positions,
    Source,
    Spec,
    Structure,
    Tuning,
    faiss,
    load_structure,
    refined,
)
from medclip.index.structures.hnsw import memory_of

__all__ = ["SMALL", "Built", "Demands", "build_structure", "candidates"]

SMALL = 20_000
"""Up to so many vectors an index needs no structure: they are compared one by one."""

_FEW = 5_000  # of one kind of view, which are compared one by one in any case
_SPEED = 8e9  # bytes a second that an exact search goes through on a laptop; for the estimate alone
_SELECTIVITIES = (1.0, 0.5, 0.1, 0.01)
_NEIGHBOURS, _QUERIES = 10, 128
_SHORT = 1_000_000  # vectors up to which lists of codes would be too short
_ASKED = 23  # what is asked for ten similar cases, one a patient, of a view a case (`medclip.index.ranking`)


@dataclass(frozen=True)
class Demands:
    """What a search may cost and must find."""

    memory: int | None = None  # bytes that the structure may take; half of the machine's where None
    latency: float | None = None  # seconds a query may take (median, one at a time); as few as can be where None
    recall: float = 0.98  # of the 10 nearest

    @property
    def bytes_allowed(self) -> int:
        """Bytes that the structure may take."""
        return self.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

    def met(self, measured: dict[str, Any]) -> bool:
        """Whether what was measured is what is demanded."""
        return bool(measured["recall"] >= self.recall and measured["latency"] <= (self.latency or np.inf))

    def share(self, share: float) -> "Demands":
        """The demands on a structure that holds a share of all vectors."""
        return replace(self, memory=max(1, int(self.bytes_allowed * share)))


@dataclass(frozen=True)
class Built:
    """A structure, and what was measured of it."""

    structure: Structure
    report: dict[str, Any]


def _lists(count: int, *, coded: bool = False) -> int:
    """How many lists; of four-bit codes fewer where there are few: to begin a list costs as much as hundreds of them."""
    return max(1, int(4 * np.sqrt(count) * (min(1.0, count / _SHORT) if coded else 1)))


def candidates(count: int, dimension: int, demands: Demands) -> list[Spec]:
    """The structures that fit into the memory, in the order in which they are tried.

    Exact search comes first among few, and where a demanded latency allows it. Then come lists of four-bit codes, which
    answer as quickly as HNSW, and under a filter more quickly, and are built in a tenth of its time; lists of whole vectors
    and HNSW are for a recall that the codes do not reach. The codes are the last resort, too, whatever the memory.
    """
    exact = 4 * count * dimension
    found: list[Spec] = []
    soon = demands.latency is not None and exact / _SPEED <= demands.latency
    if count <= _FEW or (soon and exact <= demands.bytes_allowed):
        found.append(Spec("flat"))
    if count > _FEW:
        found.append(Spec("ivf-pq4", {"nlist": _lists(count, coded=True)}))
        if exact + 12 * count <= demands.bytes_allowed:
            found.append(Spec("ivf-flat", {"nlist": _lists(count)}))
        if memory_of(count, dimension, 32) <= demands.bytes_allowed:
            found.append(Spec("hnsw", {"m": 32, "ef_construction": 80}))
    return found


def build_structure(
    source: Source,
    demands: Demands,
    seed: int,
    *,
    wanted: Spec | None = None,
    told: Callable[[Nearest], object] = lambda _: None,
) -> Built:
    """Build the first candidate that reaches the demands, or the one that comes nearest to them.

    Recall is that of the 10 nearest against exact search, over queries that are archived vectors (their own are not
    counted) and were not used for tuning. Latency is that of a question: `_ASKED` are searched for, and told.

    Args:
        wanted: this structure and no other.
        told: says of what was found whose it is, as every search does; its time belongs to the latency.
    """
    if source.count < 2:  # one cannot be measured against others
        wanted = Spec("flat")
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
        measured = {**_measured(structure, test, told), "build": built, "tuning": time.perf_counter() - began - built}
        tried.append({"structure": str(spec), **measured})
        met = demands.met(measured)
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
    """Two sets of archived vectors as queries, with their exact neighbours under random filters."""
    rng = np.random.default_rng(seed)
    count = min(2 * _QUERIES, source.count // 2)
    chosen = np.sort(rng.choice(source.count, count, replace=False))
    rng.shuffle(chosen)
    queries = np.ascontiguousarray(source.take(chosen))
    draws = rng.random(source.count, np.float32)
    masks = {share: Mask(draws < share) if share < 1 else None for share in _SELECTIVITIES}
    truth = {share: _truth(source, queries, chosen, mask) for share, mask in masks.items()}
    half = count // 2
    target = recall + (1 - recall) / 2  # chance favours what was tuned on, and queries from outside are harder
    return (
        Tuning(queries[:half], masks, {share: found[:half] for share, found in truth.items()}, source.compare, target),
        Tuning(queries[half:], masks, {share: found[half:] for share, found in truth.items()}, source.compare, recall),
    )


def _truth(source: Source, queries: Vectors, own: Positions, mask: Mask | None) -> list[Positions]:
    """The `_NEIGHBOURS` nearest positions of each of (q, d) archived vectors, exactly, of all others that are allowed.

    None of a query to which fewer are allowed.
    """
    best = np.full((len(queries), _NEIGHBOURS + 1), -np.inf, np.float32)
    at = np.full(best.shape, -1, np.int64)
    start = 0
    for chunk in source.chunks():
        here = np.arange(start, start + len(chunk))
        start += len(chunk)
        if mask is not None:
            allowed = mask.allowed[here]
            here, chunk = here[allowed], chunk[allowed]
        if not len(here):
            continue
        found, places = faiss().knn(
            queries, np.ascontiguousarray(chunk), min(len(here), best.shape[1]), metric=faiss().METRIC_INNER_PRODUCT
        )
        merged, positions = np.concatenate([best, found], axis=1), np.concatenate([at, here[places]], axis=1)
        order = np.argsort(-merged, axis=1, kind="stable")[:, : best.shape[1]]
        best, at = np.take_along_axis(merged, order, 1), np.take_along_axis(positions, order, 1)
    nearest = [row[(row != mine) & (row >= 0)][:_NEIGHBOURS] for row, mine in zip(at, own, strict=True)]
    return [row if len(row) == _NEIGHBOURS else row[:0] for row in nearest]


def _measured(structure: Structure, test: Tuning, told: Callable[[Nearest], object]) -> dict[str, Any]:
    times = []
    for query in test.queries:
        start = time.perf_counter()
        told(refined(structure, query, _ASKED, None, test.compare))
        times.append(time.perf_counter() - start)
    return {
        "recall": test.reached(structure, 1.0),
        "recall by selectivity": {f"{share:g}": test.reached(structure, share) for share in test.truth},
        "latency": float(np.median(times)),
        "finds itself": float(np.mean([_finds(structure, q, test) for q in test.queries])),
    }


def _finds(structure: Structure, query: Vectors, test: Tuning) -> bool:
    return bool(refined(structure, query, 1, None, test.compare).similarities[0] > 0.99)
