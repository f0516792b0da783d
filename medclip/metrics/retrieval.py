"""Retrieval figures over a whole gallery, never within a batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEPTHS", "Retrieval", "TextRetrieval", "can_miss", "measure_retrieval", "measure_texts"]

DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """Figures of one direction of retrieval."""

    recall: dict[int, float]  # depth → share of queries with a right item at that depth or above
    median_rank: float  # of the first right item, counted from 1
    ndcg10: float
    queries: int
    gallery: int


def measure_retrieval(
    queries: NDArray[np.float32],
    query_cases: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_cases: NDArray[np.int64],
) -> Retrieval:
    """Rank the whole gallery for every query; an item of the query's case is right.

    Ties go to the earlier item of the gallery. nDCG (Järvelin and Kekäläinen 2002) has binary gains.

    Args:
        queries, gallery: (q, d) and (g, d) unit vectors.
        query_cases, gallery_cases: the case of each.
    """
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    right = gallery_cases[order] == query_cases[:, None]
    answerable = right.any(1)
    right = right[answerable]
    first = right.argmax(1) + 1
    discount = 1 / np.log2(np.arange(2, 12))
    top = right[:, :10]
    ideal = np.cumsum(discount)[np.minimum(right.sum(1), 10) - 1]
    gain = top @ discount[: top.shape[1]]
    return Retrieval(
        recall={depth: float((first <= depth).mean()) for depth in DEPTHS},
        median_rank=float(np.median(first)),
        ndcg10=float((gain / ideal).mean()),
        queries=len(first),
        gallery=len(gallery),
    )


def can_miss(query_cases: NDArray[np.int64], gallery_cases: NDArray[np.int64], depth: int) -> bool:
    """Whether any ranking of the gallery misses at `depth`: some answerable query has that many wrong items beside it.

    Where none can, recall at that depth is 1 whatever the vectors are, and says nothing.
    """
    cases, counts = np.unique(gallery_cases, return_counts=True)
    right = counts[np.isin(cases, query_cases)]
    return bool(np.any(len(gallery_cases) - right >= depth))


@dataclass(frozen=True)
class TextRetrieval:
    """Both directions between scans and one kind of text."""

    text_to_scan: Retrieval
    scan_to_text: Retrieval

    @property
    def mean_recall10(self) -> float:
        """Mean of both recall@10: what training chooses its epoch by."""
        return (self.text_to_scan.recall[10] + self.scan_to_text.recall[10]) / 2


def measure_texts(
    scans: NDArray[np.float32],
    scan_cases: NDArray[np.int64],
    texts: NDArray[np.float32],
    text_cases: NDArray[np.int64],
) -> TextRetrieval | None:
    """Texts of one kind against all scans, and scans against all those texts; what is of the same case is right.

    Of captions there is one a scan that has one, of reports one a case. What is of a case that lacks the other side can
    have no right answer: it stands in the gallery, but asks nothing. None where no case has both.

    Args:
        scans, texts: (s, d) and (t, d) unit vectors.
        scan_cases, text_cases: the case of each.
    """
    if not np.isin(text_cases, scan_cases).any():
        return None
    return TextRetrieval(
        measure_retrieval(texts, text_cases, scans, scan_cases),
        measure_retrieval(scans, scan_cases, texts, text_cases),
    )
