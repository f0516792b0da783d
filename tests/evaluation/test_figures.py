"""Figures against values worked out by hand."""

import numpy as np
import pytest

from medclip.evaluation.protocols import Figure, average
from medclip.metrics.classification import macro_auroc, measure_classification
from medclip.metrics.retrieval import can_miss, measure_retrieval, measure_texts


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
    found = measure_texts(scans, np.asarray([0, 1, 2]), scans[:2], np.asarray([0, 1]))
    assert found is not None
    assert (found.text_to_scan.queries, found.text_to_scan.gallery) == (2, 3)
    assert (found.scan_to_text.queries, found.scan_to_text.gallery) == (2, 2)
    assert measure_texts(scans, np.asarray([0, 1, 2]), scans[:0], np.asarray([], np.int64)) is None


def test_a_text_of_a_case_without_scan_asks_nothing_and_alone_is_no_figure() -> None:
    vectors, case = np.eye(3, dtype=np.float32), np.asarray([0, 1, 2])
    found = measure_texts(vectors[:1], case[:1], vectors, case)
    assert found is not None
    assert (found.text_to_scan.queries, found.scan_to_text.gallery) == (1, 3)
    assert measure_texts(vectors[:1], case[:1], vectors[1:], case[1:]) is None


def test_a_gallery_too_small_to_miss_in_says_nothing() -> None:
    one_each = np.arange(11)
    assert can_miss(one_each, one_each, 10)
    assert not can_miss(one_each[:10], one_each[:10], 10)
    assert not can_miss(np.zeros(1, np.int64), np.zeros(40, np.int64), 10)  # all are right
    assert not can_miss(np.asarray([9]), np.zeros(40, np.int64), 10)  # none can be right


def test_classification_by_hand() -> None:
    p = np.asarray([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    figures = measure_classification(p, ("a", "b"), ["a", "a", "b", "b"], np.asarray([[1.0, 1, 1, 1], [0, 0, 1, 1]]))
    assert figures["accuracy"].tolist() == [0.75, 0.5]
    assert figures["balanced_accuracy"].tolist() == [0.75, 0.5]
    assert macro_auroc(p, ("a", "b"), ["a", "a", "b", "b"]) == pytest.approx(0.75)


def test_a_class_that_the_answer_does_not_know_counts_as_wrong() -> None:
    p = np.asarray([[0.9, 0.1], [0.1, 0.9]])
    assert measure_classification(p, ("a", "b"), ["a", "c"], np.ones((1, 2)))["accuracy"] == 0.5


def test_folds_are_averaged_and_a_missing_value_is_left_out() -> None:
    row = [Figure("full", "x", "probe", "macro_auroc", value, None, 10) for value in (0.8, float("nan"), 0.6)]
    mean = average([[figure] for figure in row])[0]
    assert (mean.value, mean.sd, mean.n) == (pytest.approx(0.7), pytest.approx(0.1), 30)
