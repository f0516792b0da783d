"""Sets of labels keep what they promise, and no more is promised than they keep."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medclip.diagnosis.sets import LEAST_OF_CLASS, Promise, Scores
from medclip.metrics.probabilities import softmax

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def _patients(rng: np.random.Generator, frequencies: Sequence[float], count: int) -> tuple[Floats, Numbers]:
    """Patients and what a classifier that favours common classes says of them: ((n, classes), (n,))."""
    classes = len(frequencies)
    labels = rng.choice(classes, count, p=frequencies)
    signs = 2.0 * np.eye(classes)[labels] + rng.normal(size=(count, classes))
    return softmax(signs + np.log(frequencies)), labels


def _scores(probabilities: Floats, labels: Numbers, weights: Floats | None = None) -> Scores:
    right = probabilities[np.arange(len(labels)), labels].astype(np.float32)
    own = np.ones(len(labels), np.float32) if weights is None else weights.astype(np.float32)
    return Scores(labels, own, right, probabilities.shape[1])


def _within(scores: Scores, probabilities: Floats, promise: Promise | None = None) -> NDArray[np.bool_]:
    """(n, classes)."""
    found = [scores.label_set(row, promise or Promise()) for row in probabilities]
    return np.asarray([one.within for one in found if one is not None])


def _most_probable(probabilities: Floats) -> NDArray[np.bool_]:
    return np.asarray(probabilities == probabilities.max(1, keepdims=True))


def _covered(scores: Scores, probabilities: Floats, labels: Numbers, promise: Promise | None = None) -> Floats:
    return _within(scores, probabilities, promise)[np.arange(len(labels)), labels].astype(float)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_classes_with_patients_enough_are_ruled_out_as_by_the_reference(coverage: float) -> None:
    """crepes 0.9 (Boström 2022, COPA), with a p-value for each class by its own patients."""
    from crepes import ConformalClassifier

    rng = np.random.default_rng(1)
    known, labels = _patients(rng, (0.5, 0.35, 0.15), 300)
    new, _ = _patients(rng, (0.5, 0.35, 0.15), 200)
    known, new = known.astype(np.float32).astype(float), new.astype(np.float32).astype(float)
    reference = ConformalClassifier().fit(-known[np.arange(300), labels], bins=labels)
    p = np.column_stack([reference.predict_p(-new[:, [c]], bins=np.full(200, c), smoothing=False) for c in range(3)])
    np.testing.assert_array_equal(
        _within(_scores(known, labels), new, Promise(coverage)), (p > 1 - coverage + 1e-9) | _most_probable(new)
    )


def test_where_all_classes_are_rare_they_are_judged_together_as_by_the_reference() -> None:
    from crepes import ConformalClassifier

    rng = np.random.default_rng(2)
    known, labels = _patients(rng, (0.4, 0.3, 0.3), 36)
    new, _ = _patients(rng, (0.4, 0.3, 0.3), 100)
    known, new = known.astype(np.float32).astype(float), new.astype(np.float32).astype(float)
    scores = _scores(known, labels)
    assert scores.kind == "marginal"
    reference = ConformalClassifier().fit(-known[np.arange(36), labels])
    p = np.column_stack([reference.predict_p(-new[:, [c]], smoothing=False) for c in range(3)])
    np.testing.assert_array_equal(_within(scores, new), (p > 0.1 + 1e-9) | _most_probable(new))


def test_the_coverage_of_archives_is_distributed_as_is_stated() -> None:
    """Of 300 archives: Beta(n + 1 − l, l), here of 39 patients, of whom l = 4 lowest rule out."""
    rng = np.random.default_rng(3)
    new, labels = _patients(rng, (0.5, 0.5), 2000)
    found, stated = [], (0.0, 0.0)
    for _ in range(300):
        scores = _scores(*_patients(rng, (0.5, 0.5), 39))
        assert scores.kind == "marginal", "neither class has 20 patients, or one has and the other joins it"
        stated = scores.interval(Promise()) or stated
        limit = np.sort(scores.right)[3]
        right = new[np.arange(2000), labels]
        found.append(np.mean(right >= limit))
    few = _within(scores, new[:200])[np.arange(200), labels[:200]]
    np.testing.assert_array_equal(few, right[:200].astype(np.float32) >= limit)
    assert np.mean(found) == pytest.approx(0.9, abs=0.01)
    assert np.percentile(found, [5, 95]) == pytest.approx(stated, abs=0.025)


def test_the_rare_class_is_held_as_often_as_the_common_one() -> None:
    """Judged by all patients alike, it is not."""
    rng = np.random.default_rng(4)
    covered, alike = [], []
    for _ in range(20):
        known, labels = _patients(rng, (0.92, 0.08), 500)
        new, truth = _patients(rng, (0.92, 0.08), 500)
        scores = _scores(known, labels)
        assert scores.kind == "class-conditional"
        rare = truth == 1
        covered.append(np.mean(_covered(scores, new[rare], truth[rare])))
        alike.append(np.mean(new[rare, 1] >= np.quantile(scores.right, 0.1)))
    assert np.mean(covered) > 0.88
    assert np.mean(alike) < 0.6


def test_classes_too_rare_to_be_judged_together_break_no_promise() -> None:
    """Were the 12 judged by all 60, who are known better, nine in ten of all would not be held."""
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(300):
        known, labels = _patients(rng, (0.7, 0.3), 40)
        new, truth = _patients(rng, (0.7, 0.3), 40)
        covered.append(np.mean(_covered(_scores(known, labels), new, truth)))
    assert np.mean(covered) > 0.895


def test_a_patient_of_60_scans_counts_no_more_than_a_patient() -> None:
    rng = np.random.default_rng(6)
    known, labels = _patients(rng, (0.5, 0.5), 120)
    new, _ = _patients(rng, (0.5, 0.5), 300)
    without, one = (_scores(known[:n], labels[:n]) for n in (119, 120))
    rows = np.r_[np.arange(119), np.full(60, 119)]
    weights = np.r_[np.ones(119), np.full(60, 1 / 60)]
    many = _scores(known[rows], labels[rows], weights)
    np.testing.assert_array_equal(_within(many, new), _within(one, new))
    unlike = _scores(np.r_[known[:119], np.full((60, 2), 0.001)], labels[rows], weights)
    moved = _within(unlike, new) != _within(without, new)
    order = np.sort(without.right[without.labels == labels[119]])
    rank = int((len(order) + 1) * 0.1)
    between = new[moved.any(1), labels[119]]
    assert ((between >= order[max(0, rank - 2)]) & (between <= order[rank])).all(), "it moves the limit by one patient"


@pytest.mark.parametrize(("patients", "coverage", "any_set"), [(8, 0.9, False), (9, 0.9, True), (18, 0.95, False)])
def test_of_too_few_patients_there_is_no_set(patients: int, coverage: float, any_set: bool) -> None:
    rng = np.random.default_rng(7)
    probabilities = rng.dirichlet((1, 1), patients)
    scores = _scores(probabilities, np.arange(patients) % 2)
    assert (scores.label_set(np.asarray([0.5, 0.5]), Promise(coverage)) is not None) is any_set
    assert (scores.interval(Promise(coverage)) is not None) is any_set


def test_in_spite_of_few_patients_19_in_20_archives_keep_the_promise() -> None:
    """On average over archives is less: of so few patients each, four in ten fall short."""
    rng = np.random.default_rng(8)
    new, labels = _patients(rng, (0.5, 0.5), 3000)
    right = np.sort(new[np.arange(3000), labels].astype(np.float32))
    kept = {True: 0, False: 0}
    for _ in range(600):
        scores = _scores(*_patients(rng, (0.5, 0.5), 39))
        for sure in kept:
            # of what is new, the least probable that is still within
            promise = Promise(0.9, in_spite_of_few=sure)
            low, high = 0, len(right) - 1
            while low < high:
                middle = (low + high) // 2
                found = scores.label_set(np.asarray([right[middle], 2.0]), promise)
                assert found is not None or sure
                inside = found is None or bool(found.within[0])
                low, high = (low, middle) if inside else (middle + 1, high)
            kept[sure] += 1 - low / len(right) >= 0.9
    assert kept[True] >= 0.94 * 600 > 0.75 * 600 > kept[False]


def test_a_class_of_no_patient_left_out_is_judged_with_the_next_larger() -> None:
    """crepes gives such a class p = 1: it would be in every set, for whom nobody has ever had it."""
    rng = np.random.default_rng(9)
    known, labels = _patients(rng, (0.5, 0.5), 100)
    scores = _scores(np.c_[known * 0.99, np.full(100, 0.01)], labels)
    assert scores.kind == "mixed"
    found = scores.label_set(np.asarray([0.98, 0.019, 0.001]), Promise())
    assert found is not None
    assert found.within.tolist() == [True, False, False]


def test_where_no_class_is_as_probable_as_right_ones_were_that_is_said() -> None:
    rng = np.random.default_rng(10)
    right = rng.uniform(0.9, 1, 100)
    scores = _scores(np.c_[right, 1 - right], np.zeros(100, int)[:] + np.arange(100) % 2 * 0)
    found = scores.label_set(np.asarray([0.6, 0.4]), Promise())
    assert found is not None
    assert found.empty
    assert found.within.tolist() == [True, False]


@pytest.mark.parametrize("coverage", [0.5, 1.0, 1.5, -1, float("nan"), float("inf")])
def test_what_cannot_be_promised_is_refused(coverage: float) -> None:
    with pytest.raises(ValueError, match=r"above 0\.5 and below 1"):
        Promise(coverage)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 120), st.integers(2, 6), st.floats(0.55, 0.98), st.floats(0.0, 0.4))
def test_more_coverage_rules_out_no_more(seed: int, n: int, classes: int, coverage: float, more: float) -> None:
    rng = np.random.default_rng(seed)
    scores = _scores(rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n))
    assert sorted(c for group in scores.groups for c in group.classes) == list(range(classes))
    assert len(scores.groups) == 1 or all(group.patients >= LEAST_OF_CLASS for group in scores.groups)
    row, higher = rng.dirichlet(np.ones(classes)), min(0.99, coverage + more)
    sets = [scores.label_set(row, Promise(one, sure)) for one in (coverage, higher) for sure in (False, True)]
    for less, wider in ((sets[0], sets[1]), (sets[0], sets[2]), (sets[2], sets[3])):
        if wider is not None:
            assert less is not None
            assert (wider.within >= less.within).all()
            assert wider.interval[0] < wider.interval[1] <= 1
