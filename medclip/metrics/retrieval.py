"""Retrieval figures over a whole gallery, never within a batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEPTHS", "CaptionRetrieval", "Retrieval", "measure_captions", "measure_retrieval"]

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


@dataclass(frozen=True)
class CaptionRetrieval:
    """Both directions between scans and captions."""

    caption_to_scan: Retrieval
    scan_to_caption: Retrieval

    @property
    def mean_recall10(self) -> float:
        """Mean of both recall@10: what training chooses its epoch by."""
        return (self.caption_to_scan.recall[10] + self.scan_to_caption.recall[10]) / 2


def measure_captions(
    scans: NDArray[np.float32],
    scan_cases: NDArray[np.int64],
    captions: NDArray[np.float32],
    caption_cases: NDArray[np.int64],
) -> CaptionRetrieval | None:
    """Captions against all scans and scans against all captions; one caption a scan that has one.

    A scan of a case without captions can have no right answer: it stands in the gallery, but asks nothing. None where
    there is no caption at all.
    """
    if not len(captions):
        return None
    return CaptionRetrieval(
        measure_retrieval(captions, caption_cases, scans, scan_cases),
        measure_retrieval(scans, scan_cases, captions, caption_cases),
    )
