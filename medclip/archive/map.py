"""A map: archived cases as points of a plane, so that similar ones lie together, and where a query lies among them.

Some thousands of cases, the landmarks, are laid out by t-SNE (van der Maaten & Hinton 2008) on the cosine of their whole
embeddings, begun with their two principal axes, which keeps the large-scale order (Kobak & Berens 2019). All others,
and queries, are placed among the landmarks nearest to them. Near is alike; how far apart two groups lie says little.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANDMARKS", "CaseMap", "laid_out"]

LANDMARKS = 2_000
"""Cases that t-SNE lays out at most: its time grows faster than their number."""

_NEAREST = 5  # landmarks among which a case is placed
_PERPLEXITY = 30.0  # neighbours that t-SNE keeps together, as its authors advise
_FEWEST = 10  # landmarks below which principal axes alone are used
_ROUNDS = 750  # of gradient descent

Array = NDArray[np.float32]
Points = NDArray[np.float32]


@dataclass(frozen=True)
class CaseMap:
    """Points of cases, and what is needed to place others."""

    case_ids: tuple[str, ...]  # n, sorted
    points: Points  # (n, 2), the landmarks within -1 to 1 of the middle
    contents: NDArray[np.uint8]  # (n, 8) beginning of a hash of what each case was made of when it was placed
    landmarks: NDArray[np.int64]  # (m,) which cases are landmarks, rising
    vectors: Array  # (m, d) their whole embeddings, unit vectors to half precision
    generation: int  # of the index when the map was last brought up to date

    def __len__(self) -> int:
        return len(self.case_ids)

    def place(self, vectors: Array) -> Points:
        """(q, 2) where cases or queries lie, by their (q, d) whole embeddings, as unit vectors.

        It is the mean of the nearest landmarks, each weighted by how much more similar it is than the first that is no
        longer counted: so a point moves without a jump when its vector does.

        Raises:
            ValueError: there is no landmark.
        """
        if not len(self.landmarks):
            raise ValueError("a map without landmarks places nothing")
        similarity = np.asarray(vectors, np.float32) @ self.vectors.T
        order = np.argpartition(-similarity, min(_NEAREST, similarity.shape[1] - 1), axis=1)[:, : _NEAREST + 1]
        near = np.take_along_axis(similarity, order, axis=1)
        falling = np.argsort(-near, axis=1)
        order = np.take_along_axis(order, falling, axis=1)
        near = np.take_along_axis(near, falling, axis=1)
        if order.shape[1] > _NEAREST:
            weights, order = near[:, :-1] - near[:, -1:], order[:, :-1]
        else:
            weights = np.maximum(near, 0)
        total = weights.sum(axis=1, keepdims=True)
        even = np.full_like(weights, 1 / weights.shape[1])
        weights = np.where(total > 1e-6, weights / np.maximum(total, 1e-6), even)
        return np.asarray((weights[:, :, None] * self.points[self.landmarks][order]).sum(axis=1), np.float32)

    def without(self, case_ids: Collection[str]) -> "CaseMap":
        """The same map less some cases, landmarks among them."""
        gone = set(case_ids)
        kept = np.asarray([case_id not in gone for case_id in self.case_ids], bool)
        number = np.cumsum(kept) - 1
        left = kept[self.landmarks]
        return CaseMap(
            tuple(case_id for case_id in self.case_ids if case_id not in gone),
            self.points[kept],
            self.contents[kept],
            number[self.landmarks[left]].astype(np.int64),
            self.vectors[left],
            self.generation,
        )

    def joined(self, case_ids: Sequence[str], points: Points, contents: NDArray[np.uint8]) -> "CaseMap":
        """The same map and cases that are not on it."""
        every = [*self.case_ids, *case_ids]
        order = np.asarray(sorted(range(len(every)), key=every.__getitem__), np.int64)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        moved = place[self.landmarks]
        rising = np.argsort(moved)
        return CaseMap(
            tuple(every[number] for number in order.tolist()),
            np.concatenate([self.points, points])[order],
            np.concatenate([self.contents, contents])[order],
            moved[rising],
            self.vectors[rising],
            self.generation,
        )


def laid_out(vectors: Array, seed: int) -> Points:
    """(m, 2) points of landmarks within -1 to 1, by their (m, d) unit vectors."""
    points = _principal(vectors)
    spread = points[:, 0].std()
    if len(vectors) >= _FEWEST and spread > 1e-6:
        from sklearn.manifold import TSNE

        found = TSNE(
            perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
            init=points / spread * np.float32(1e-4),
            metric="cosine",
            max_iter=_ROUNDS,
            random_state=seed,
            n_jobs=1,
        )
        points = found.fit_transform(vectors)
    points = points - points.mean(axis=0)
    return np.asarray(points / max(float(np.abs(points).max(initial=0)), 1e-9), np.float32)


def _principal(vectors: Array) -> Points:
    """(m, 2) along the two principal axes."""
    centred = vectors - vectors.mean(axis=0)
    along, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2), np.float32)
    known = min(2, len(lengths))
    points[:, :known] = along[:, :known] * lengths[:known]
    return points
