"""Figures against values worked out by hand."""

import numpy as np
import pytest

from medclip.evaluation.protocols import Figure, average
from medclip.metrics.classification import measure_classification
from medclip.metrics.retrieval import measure_captions, measure_retrieval


def test_retrieval_by_hand() -> None:
    gallery = np.eye(4, dtype=np.float32)
    queries = np.asarray([[0.9, 0.8, 0.1, 0.0], [0.9, 0.8, 0.1, 0.0]], np.float32)
    found = measure_retrieval(queries, np.asarray([0, 2]), gallery, np.asarray([0, 1, 2, 2]))
    assert found.recall == {1: 0.5, 5: 1.0, 10: 1.0}
    assert found.median_rank == 2.0  # ranks 1 and 3
    ideal = 1 + 1 / np.log2(3)
    second = (1 / np.log2(4) + 1 / np.log2(5)) / ideal
    assert found.ndcg10 == pytest.approx((1 + second) / 2)
    assert (found.queries, found.gallery) == (2, 4)


def test_scans_without_caption_stand_in_the_gallery_but_ask_nothing() -> None:
    scans = np.eye(3, dtype=np.float32)
    found = measure_captions(scans, np.asarray([0, 1, 2]), scans[:2], np.asarray([0, 1]))
    assert found is not None
    assert (found.caption_to_scan.queries, found.caption_to_scan.gallery) == (2, 3)
    assert (found.scan_to_caption.queries, found.scan_to_caption.gallery) == (2, 2)
    assert measure_captions(scans, np.asarray([0, 1, 2]), scans[:0], np.asarray([], np.int64)) is None


def test_classification_by_hand() -> None:
    p = np.asarray([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    figures = measure_classification(p, ("a", "b"), ["a", "a", "b", "b"])
    assert figures["accuracy"] == 0.75
    assert figures["balanced_accuracy"] == 0.75
    assert figures["macro_auroc"] == pytest.approx(0.75)


def test_a_class_that_the_answer_does_not_know_counts_as_wrong() -> None:
    p = np.asarray([[0.9, 0.1], [0.1, 0.9]])
    assert measure_classification(p, ("a", "b"), ["a", "c"])["accuracy"] == 0.5


def test_folds_are_averaged_and_a_missing_value_is_left_out() -> None:
    row = [Figure("full", "x", "probe", "macro_auroc", value, None, 10) for value in (0.8, float("nan"), 0.6)]
    mean = average([[figure] for figure in row])[0]
    assert (mean.value, mean.sd, mean.n) == (pytest.approx(0.7), pytest.approx(0.1), 30)
