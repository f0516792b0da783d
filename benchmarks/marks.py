"""``make bench-marks CASES=cases INDEX=index``: what one liked and one unliked case do to the similar cases that are shown.

Each unseen case (split dev) asks for 10 similar ones. The first that holds its class is marked as liked, the first that does
not as unliked, and it asks again. Counted is which share of the first 10 holds the class, *without the two marked ones*, before
and after: with them any marking would seem to help. One patient counts once; queries whose first 10 are all right or all wrong
leave nothing to mark, and are left out of both. Intervals draw patients (percentiles, 2,000 times).

With ``--grid``, every way of marking with every pair of weights; and the gain where each half of the patients is asked with the
weights that were best for the other half.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclip.assistant.assistant import Assistant
from medclip.assistant.refining import LIKE, UNLIKE, rocchio
from medclip.cases import read_cases
from medclip.diagnosis.neighbours import kinds_for
from medclip.embedding.embedder import EmbeddedCase
from medclip.embedding.posing import Posed
from medclip.evaluation.gain import Holdings
from medclip.evaluation.held_out import pose_under, require_held_out
from medclip.evaluation.protocols import patient_weights
from medclip.index import CaseIndex, Hit

PROTOCOLS = ("scan-only", "history-only", "scan+history")
LABELS = ("category", "location")
DEPTH = 10
DRAWS = 2000
LIKES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
UNLIKES = (0.0, 0.1, 0.25, 0.5, 0.75)

Array = NDArray[np.float32]
Kinds = tuple[str, ...]


@dataclass(frozen=True)
class Marked:
    """A query with its two marks."""

    posed: Posed
    liked: Hit
    unliked: Hit
    before: list[bool]  # of the residual first 10, whether they hold the class


@dataclass(frozen=True)
class Way:
    """How a mark becomes a vector, and which views are searched then."""

    vector: Callable[[CaseIndex, Hit, Kinds], Array]  # of a marked case, and the kinds of view that were searched
    whole: bool = False  # whole cases are searched then, whatever was before


def _whole(index: CaseIndex, hit: Hit, _: Kinds) -> Array:
    return next(view.vector for view in index.views_of(hit.case_id) if view.kind == "fused")


def _matched(index: CaseIndex, hit: Hit, _: Kinds) -> Array:
    found = (view for view in index.views_of(hit.case_id) if (view.kind, view.number) == (hit.kind, hit.number))
    return next(view.vector for view in found)


def _mean(index: CaseIndex, hit: Hit, kinds: Kinds) -> Array:
    own = np.mean([view.vector for view in index.views_of(hit.case_id) if view.kind in kinds], axis=0)
    return np.asarray(own / np.linalg.norm(own), np.float32)


WAYS = {
    "whole cases, searched as asked": Way(_whole),
    "whole cases, whole cases searched": Way(_whole, whole=True),
    "the views that matched, searched as asked": Way(_matched),
    "mean of the views, searched as asked": Way(_mean),
}


def _search(index: CaseIndex, vector: Array, posed: Posed, kinds: Kinds) -> list[Hit]:
    found = index.search(
        vector.reshape(1, -1), DEPTH + 2, kinds=kinds, exclude_patients=[posed.patient], one_per_patient=True
    )
    return found[0]


def marked(index: CaseIndex, holdings: Holdings, queries: Sequence[Posed], label_set: str) -> list[Marked]:
    """The queries that have something to mark."""
    found = []
    for posed in queries:
        if label_set not in posed.labels:
            continue
        hits = _search(index, posed.vector, posed, kinds_for(posed.composition))
        right = [(label_set, posed.labels[label_set]) in holdings.of_case[hit.case_id] for hit in hits]
        liked = next((n for n in range(DEPTH) if right[n]), None)
        unliked = next((n for n in range(DEPTH) if not right[n]), None)
        if liked is not None and unliked is not None:
            before = [one for n, one in enumerate(right) if n not in (liked, unliked)]
            found.append(Marked(posed, hits[liked], hits[unliked], before))
    return found


def after(
    index: CaseIndex, holdings: Holdings, one: Marked, label_set: str, way: Way, weights: tuple[float, float]
) -> float:
    """Share of the residual first 10 that hold the class once it is asked again."""
    kinds: Kinds = kinds_for(one.posed.composition)
    like, unlike = (way.vector(index, hit, kinds)[None] for hit in (one.liked, one.unliked))
    vector = rocchio(one.posed.vector[None], like, unlike, weights)
    hits = _search(index, vector, one.posed, ("fused",) if way.whole else kinds)
    gone = {one.liked.case_id, one.unliked.case_id}
    kept = [hit for hit in hits if hit.case_id not in gone][:DEPTH]
    held = (label_set, one.posed.labels[label_set])
    return float(np.mean([held in holdings.of_case[hit.case_id] for hit in kept]))


def _mean_of(values: NDArray[np.float64], patients: Sequence[str], chosen: NDArray[np.bool_] | None = None) -> float:
    weights = patient_weights(patients)
    return float(np.average(values, weights=weights if chosen is None else weights * chosen))


def interval(values: NDArray[np.float64], patients: Sequence[str]) -> tuple[float, float]:
    """95 % of the means of patients drawn again."""
    names, rows = np.unique(patients, return_inverse=True)
    own = np.bincount(rows, values) / np.bincount(rows)
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    low, high = np.percentile(own[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def _gains(
    index: CaseIndex, holdings: Holdings, rows: Sequence[Marked], label_set: str, way: Way
) -> dict[tuple[float, float], NDArray[np.float64]]:
    before = np.asarray([np.mean(one.before) for one in rows])
    return {
        weights: np.asarray([after(index, holdings, one, label_set, way, weights) for one in rows]) - before
        for weights in product(LIKES, UNLIKES)
    }


def grid(index: CaseIndex, holdings: Holdings, rows: dict[tuple[str, str], list[Marked]]) -> None:
    """Every way and every pair of weights, chosen on one half of the patients and measured on the other."""
    for name, way in WAYS.items():
        found = {key: _gains(index, holdings, some, key[1], way) for key, some in rows.items()}
        names = sorted({one.posed.patient for some in rows.values() for one in some})
        half = set(np.random.default_rng(0).permutation(names)[: len(names) // 2].tolist())
        print(f"\n{name}")
        for weights in product(LIKES, UNLIKES):
            told = [
                f"{' '.join(key)} {_mean_of(gains[weights], [one.posed.patient for one in rows[key]]):+.3f}"
                for key, gains in found.items()
            ]
            print(f"  like {weights[0]:<5g} unlike {weights[1]:<5g} {'  '.join(told)}")
        for key, gains in found.items():
            patients = [one.posed.patient for one in rows[key]]
            first = np.asarray([patient in half for patient in patients])
            crossed = np.zeros(len(patients))
            chosen = []
            for side in (first, ~first):
                best = max(gains, key=lambda w: _mean_of(gains[w], patients, ~side))
                crossed[side], chosen = gains[best][side], [*chosen, best]
            low, high = interval(crossed, patients)
            gain = f"{_mean_of(crossed, patients):+.3f} ({low:+.3f} to {high:+.3f})"
            print(f"  {', '.join(key)}: {gain} by the other half's best {chosen}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("--grid", action="store_true")
    options = parser.parse_args()
    assistant = Assistant.open(options.index)
    unseen = [case for case in read_cases(options.cases) if case.split == "dev"]
    require_held_out(assistant, unseen)
    embedded = [one for one in assistant.embedder.cases(unseen, options.cases) if isinstance(one, EmbeddedCase)]
    index, holdings = assistant.index, Holdings.of(assistant.index)
    rows: dict[tuple[str, str], list[Marked]] = {}
    with index.snapshot():
        for protocol, label_set in product(PROTOCOLS, LABELS):
            queries = pose_under(protocol, embedded, assistant.fuser)
            rows[protocol, label_set] = some = marked(index, holdings, queries, label_set)
            asked = {one.patient for one in queries if label_set in one.labels}
            patients = [one.posed.patient for one in some]
            before = np.asarray([np.mean(one.before) for one in some])
            way = WAYS["whole cases, whole cases searched"]
            then = np.asarray([after(index, holdings, one, label_set, way, (LIKE, UNLIKE)) for one in some])
            low, high = interval(then - before, patients)
            print(
                f"{protocol}, {label_set}: {_mean_of(before, patients):.3f} before, {_mean_of(then, patients):.3f} after, "
                f"{_mean_of(then - before, patients):+.3f} ({low:+.3f} to {high:+.3f}); {len(some)} queries of "
                f"{len(set(patients))} of {len(asked)} patients",
                flush=True,
            )
        if options.grid:
            grid(index, holdings, rows)


if __name__ == "__main__":
    main()
