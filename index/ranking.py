"""From the views near a query to the cases that are found: one a case, one a patient, by similarity or by words, too."""

import json
from collections.abc import Sequence
from functools import lru_cache

from medclip.index import stored
from medclip.index.backends.base import Backend, Scope
from medclip.index.records import Hit, Near, Vectors

__all__ = ["DEPTH", "RANK_CONSTANT", "Ranking", "wanted_at_first"]

RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke & Büttcher 2009)."""

DEPTH = 100
"""Cases down to which both rankings are fused: beyond it a case adds less than 1/160 to its score, a third of the first's."""


class Ranking:
    """The cases in scope, in the order of how well they match one (d,) unit vector."""

    def __init__(self, backend: Backend, query: Vectors, scope: Scope) -> None:
        self._backend, self._query, self._scope = backend, query, scope

    def nearest(
        self, k: int, one_per_patient: bool, want: int | None = None, first: Sequence[Near] | None = None
    ) -> list[Hit]:
        """By similarity: the search is widened until k distinct cases are found or nothing is left.

        Args:
            want: how many views are asked for at first; `wanted_at_first` where None.
            first: so many views near the query, where they were searched for already.
        """
        if want is None:
            want = wanted_at_first(self._backend, self._scope, k, one_per_patient)
        while True:
            near = self._backend.nearest(self._query, want, self._scope) if first is None else first
            first = None
            best = _best_views(near, one_per_patient)
            # A view just below the cut may tie with the last hit, so the cut must lie strictly below it.
            if len(near) < want or (len(best) > k and best[k - 1].similarity > near[-1].similarity):
                return [_hit(view) for view in best[:k]]
            want *= 4

    def fused(self, k: int, text: str, one_per_patient: bool) -> list[Hit]:
        """The order of similarity and that of shared words, fused by the sum of reciprocal ranks."""
        deep = max(DEPTH, 2 * k)
        by_vector = self.nearest(deep, one_per_patient=False)
        by_words = self._backend.words(text, deep, self._scope)
        known = {hit.case_id: hit for hit in by_vector}
        patients = {hit.case_id: hit.patient for hit in by_vector} | by_words
        score = dict.fromkeys(patients, 0.0)
        for ranking in (known, by_words):
            for rank, case_id in enumerate(ranking, start=1):
                score[case_id] += 1 / (RANK_CONSTANT + rank)
        fused: list[Hit] = []
        seen: set[str] = set()
        for case_id in sorted(patients, key=lambda case_id: (-score[case_id], case_id)):
            patient = patients[case_id]
            if one_per_patient and patient in seen:
                continue
            # Only of those that are shown: a case that words alone find must be read.
            hit = known.get(case_id) or self._best_view(case_id, patient)
            if hit is not None:
                fused.append(hit)
                seen.add(patient)
            if len(fused) == k:
                break
        # Deep enough for the fusion, but perhaps not for k patients.
        return fused if len(fused) == k else self._filled(fused, k, one_per_patient)

    def _filled(self, fused: list[Hit], k: int, one_per_patient: bool) -> list[Hit]:
        more = self.nearest(2 * k, one_per_patient)
        taken = {hit.patient if one_per_patient else hit.case_id for hit in fused}
        return [*fused, *(h for h in more if (h.patient if one_per_patient else h.case_id) not in taken)][:k]

    def _best_view(self, case_id: str, patient: str) -> Hit | None:
        near = [
            Near(case_id, patient, v.kind, v.number, json.dumps(v.labels), float(v.vector @ self._query))
            for v in self._backend.views_of(case_id)
            if self._scope.kinds is None or v.kind in self._scope.kinds
        ]
        return next(map(_hit, _best_views(near, False)), None)


def wanted_at_first(backend: Backend, scope: Scope, k: int, one_per_patient: bool) -> int:
    """How many views are asked for, so that k cases are mostly among them."""
    views, cases = backend.views_in(scope), max(1, backend.cases())
    return k * max(1, round(views / cases)) * (2 if one_per_patient else 1) + 3


_labels = lru_cache(4096)(stored.labels)


def _best_views(near: Sequence[Near], one_per_patient: bool) -> list[Near]:
    """The best view of each case, or of each patient, most similar first."""
    best: dict[str, Near] = {}
    for view in near:
        known = best.setdefault(view.case_id, view)
        if known is not view and _merit(view) > _merit(known):
            best[view.case_id] = view
    order = sorted(best.values(), key=_rank)
    if not one_per_patient:
        return order
    first: dict[str, Near] = {}
    for view in order:
        first.setdefault(view.patient, view)
    return list(first.values())


def _merit(view: Near) -> tuple[float, str, int]:
    return view.similarity, view.kind, -view.number


def _rank(view: Near) -> tuple[float, str]:
    return -view.similarity, view.case_id


def _hit(view: Near) -> Hit:
    return Hit(view.case_id, view.patient, view.similarity, view.kind, view.number, dict(_labels(view.labels)))
