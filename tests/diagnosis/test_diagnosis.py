"""Vote, probe, combination and calibration."""

from pathlib import Path

import numpy as np
import pytest

from medclip.diagnosis.abstention import named
from medclip.diagnosis.combination import choose_combination
from medclip.diagnosis.diagnoser import Example, fit_diagnoser
from medclip.diagnosis.label_answer import answer_label_set
from medclip.diagnosis.probe import fit_probe
from medclip.diagnosis.store import load_diagnosers, save_diagnosers
from medclip.diagnosis.voting import Ballot, vote
from medclip.errors import ArchiveError
from medclip.metrics.probabilities import calibration_error, log_loss

EVEN = np.asarray([0.5, 0.5])


def test_nearer_cases_weigh_more() -> None:
    outcome = vote([Ballot("a", 0.9, "x"), Ballot("b", 0.74, "y")], ("x", "y"), EVEN)
    assert outcome.weights[0] / outcome.weights[1] == pytest.approx(np.exp(2), rel=1e-6)
    assert outcome.probabilities.sum() == pytest.approx(1)
    assert outcome.probabilities[0] > outcome.probabilities[1]


def test_an_unknown_label_does_not_vote() -> None:
    outcome = vote([Ballot("a", 0.9, None), Ballot("b", 0.2, "y")], ("x", "y"), EVEN)
    assert outcome.weights[0] == 0
    assert outcome.probabilities[1] > 0.7


def test_without_voters_the_archive_s_frequencies_answer() -> None:
    prior = np.asarray([0.8, 0.2])
    np.testing.assert_allclose(vote([], ("x", "y"), prior).probabilities, prior)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_is_class_balanced_logistic_regression(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 200, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    vectors = (rng.normal(size=(200, 6)) + np.eye(classes, 6)[labels]).astype(np.float32)
    probe = fit_probe(vectors, labels, np.ones(200), classes, 1.0)
    reference = LogisticRegression(C=1.0, class_weight="balanced", max_iter=200, tol=1e-3).fit(vectors, labels)
    np.testing.assert_allclose(probe.probabilities(vectors), reference.predict_proba(vectors), atol=0.01)


def test_a_class_without_rows_is_never_predicted() -> None:
    rng = np.random.default_rng(0)
    labels = np.asarray([0, 2] * 20)
    vectors = rng.normal(size=(40, 3)).astype(np.float32)
    assert fit_probe(vectors, labels, np.ones(40), 3, 1.0).probabilities(vectors)[:, 1].max() < 1e-6


def test_the_better_part_gets_the_weight() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    good = np.full((300, 3), 0.1)
    good[np.arange(300), labels] = 0.8
    noise = rng.dirichlet(np.ones(3), 300)
    assert choose_combination(noise, good, labels).vote_weight < 0.2
    assert choose_combination(good, noise, labels).vote_weight > 0.8


def test_calibration_mends_overconfidence() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 3000)
    labels = np.asarray([rng.choice(3, p=p) for p in truth])
    sharp = truth**4 / (truth**4).sum(1, keepdims=True)
    combined = choose_combination(sharp, sharp, labels).combine(sharp, sharp)
    assert calibration_error(combined, labels) < 0.5 * calibration_error(sharp, labels)
    assert log_loss(combined, labels) < log_loss(sharp, labels)


def _examples(n: int = 60, noise: float = 0.3) -> list[Example]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        label = i % 2
        v = np.asarray([1 - label, label, 0], np.float32) + rng.normal(0, noise, 3).astype(np.float32)
        v /= np.linalg.norm(v)
        name = "xy"[label]
        rows.append(Example(v, f"p{i // 2 * 2 + label}", name, 1.0, [Ballot("n", 0.9, name), Ballot("m", 0.5, "x")]))
    return rows


def test_a_diagnoser_survives_the_disk(tmp_path: Path) -> None:
    diagnoser = fit_diagnoser("organ", {"scan": _examples(), "text": [], "scan+text": []})
    assert diagnoser is not None
    save_diagnosers([diagnoser], tmp_path)
    again = load_diagnosers(tmp_path, 3)[0]
    query, ballots = np.asarray([0, 1, 0], np.float32), [Ballot("n", 0.8, "y")]
    one, other = (answer_label_set(d, "scan", query, ballots) for d in (diagnoser, again))
    assert one == other
    assert one is not None
    assert one.answer.answer == "y"
    assert one.answer.agree
    assert answer_label_set(again, "text", query, ballots) is None
    (tmp_path / "probes.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArchiveError, match="damaged"):
        load_diagnosers(tmp_path, 3)


def test_labels_that_occur_once_are_not_answered() -> None:
    rows = _examples(20)
    lonely = Example(rows[0].vector, "alone", "rare", 1.0, [])
    diagnoser = fit_diagnoser("organ", {"scan": [*rows, lonely]})
    assert diagnoser is not None
    assert diagnoser.classes == ("x", "y")
    assert fit_diagnoser("organ", {"scan": [lonely]}) is None


def _three_classes(noise: float) -> list[Example]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(90):
        v = np.eye(3, dtype=np.float32)[i % 3] + rng.normal(0, noise, 3).astype(np.float32)
        name = "xyz"[i % 3]
        ballots = [Ballot("n", 0.9, name if noise < 1 else "xyz"[int(rng.integers(3))])]
        rows.append(Example((v / np.linalg.norm(v)).astype(np.float32), f"p{i}", name, 1.0, ballots))
    return rows


def test_an_answer_is_withheld_where_no_class_is_more_likely_right_than_wrong() -> None:
    """Of two classes one always has half; it takes three for an answer to be withheld."""
    query, alike = np.asarray([1, 0, 0], np.float32), [Ballot("n", 0.9, "x")]
    sure, unsure = (fit_diagnoser("organ", {"scan": _three_classes(noise)}) for noise in (0.2, 10.0))
    assert sure is not None
    assert unsure is not None
    given, withheld = answer_label_set(sure, "scan", query, alike), answer_label_set(unsure, "scan", query, alike)
    assert given is not None
    assert withheld is not None
    assert given.answer.answer == "x"
    assert given.answer.ranked[0].probability > 0.8
    assert withheld.answer.answer is None
    assert withheld.answer.ranked[0].probability < 0.5


def test_the_limit_is_one_half() -> None:
    assert named("x", 0.5) == "x"
    assert named("x", 0.4999) is None
