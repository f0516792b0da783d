"""Vote, probes, their pool, calibration, and when nothing is said."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medclip.diagnosis.abstention import LEAST_PATIENTS, named
from medclip.diagnosis.diagnoser import Diagnoser, Example, fit_diagnoser
from medclip.diagnosis.folds import FOLDS, stratified
from medclip.diagnosis.label_answer import LabelAnswer, answer_label_set
from medclip.diagnosis.pooling import MOST_WEIGHT, fit_pool, pooled
from medclip.diagnosis.probe import Rotated, fit_probe
from medclip.diagnosis.store import load_diagnosers, save_diagnosers
from medclip.diagnosis.voting import FALL_OFF, Ballot, vote
from medclip.errors import ArchiveError
from medclip.fusion.composition import Composition, Part
from medclip.metrics.probabilities import calibration_error

EVEN = np.asarray([0.5, 0.5])
WIDTHS: dict[Part, int] = {"scan": 4, "history": 4, "report": 0, "measurements": 0}


def test_nearer_cases_weigh_more() -> None:
    outcome = vote([Ballot("a", 0.9, "x"), Ballot("b", 0.9 - 2 * FALL_OFF, "y")], ("x", "y"), EVEN)
    assert outcome.weights[0] / outcome.weights[1] == pytest.approx(np.exp(2), rel=1e-6)
    assert outcome.probabilities.sum() == pytest.approx(1)
    assert outcome.probabilities[0] > outcome.probabilities[1]


def test_an_unknown_label_does_not_vote() -> None:
    outcome = vote([Ballot("a", 0.9, None), Ballot("b", 0.2, "y")], ("x", "y"), EVEN)
    assert outcome.weights[0] == 0
    assert outcome.probabilities[1] > 0.7


@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_is_class_balanced_logistic_regression(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 200, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    vectors = (rng.normal(size=(200, 6)) + np.eye(classes, 6)[labels]).astype(np.float32)
    probe = fit_probe(vectors, labels, np.ones(200), classes, 1.0, 1.0)
    reference = LogisticRegression(C=1.0, class_weight="balanced", max_iter=200, tol=1e-3).fit(vectors, labels)
    np.testing.assert_allclose(probe.probabilities(vectors), reference.predict_proba(vectors), atol=0.01)


def test_a_probe_that_was_fitted_in_fewer_columns_is_the_same_probe() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    vectors = (rng.normal(size=(40, 90)) + 2 * np.eye(3, 90)[labels]).astype(np.float32)
    vectors[:, 50:60] = 0
    turned = Rotated(vectors, [50, 40])
    assert turned.rows.shape == (40, 40)
    back = turned.back(fit_probe(turned.rows, labels, np.ones(40), 3, 1.0, 1.0))
    scaled = vectors * vectors.std(0)
    for block in (slice(0, 50), slice(50, 90)):
        scaled[:, block] /= np.sqrt((scaled[:, block] ** 2).sum(1).mean())
    straight = fit_probe(scaled, labels, np.ones(40), 3, 1.0, 1.0)
    np.testing.assert_allclose(back.probabilities(vectors), straight.probabilities(scaled), atol=0.01)


def test_a_class_without_rows_is_never_predicted() -> None:
    rng = np.random.default_rng(0)
    labels = np.asarray([0, 2] * 20)
    vectors = rng.normal(size=(40, 3)).astype(np.float32)
    assert fit_probe(vectors, labels, np.ones(40), 3, 1.0, 1.0).probabilities(vectors)[:, 1].max() < 1e-6


def test_the_better_opinion_gets_the_weight() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    good = np.full((300, 3), 0.1)
    good[np.arange(300), labels] = 0.8
    noise = rng.dirichlet(np.ones(3), 300)
    for opinions, best in (([noise, good], 1), ([good, noise], 0)):
        weights = fit_pool(opinions, labels, np.ones(300))
        assert weights.argmax() == best
        assert weights[1 - best] < 0.1 * weights[best]


@pytest.mark.parametrize("power", [0.2, 6.0])
def test_calibration_mends_overconfidence_and_diffidence_however_great(power: float) -> None:
    """A grid of temperatures from 0.3 to 2.5 ended before either of these."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 3000)
    labels = np.asarray([rng.choice(3, p=p) for p in truth])
    bent = truth**power / (truth**power).sum(1, keepdims=True)
    weights = fit_pool([bent], labels, np.ones(3000))
    mended = pooled([bent], weights)
    assert weights[0] == pytest.approx(1 / power, rel=0.1)
    assert calibration_error(mended, labels) < 0.03 < calibration_error(bent, labels)


def test_opinions_that_make_no_mistake_are_not_believed_without_end() -> None:
    sure = np.asarray([[0.6, 0.4], [0.4, 0.6]] * 10)
    assert fit_pool([sure], np.asarray([0, 1] * 10), np.ones(20))[0] < MOST_WEIGHT / 2


def test_every_class_is_in_every_fold_as_often_as_in_the_whole() -> None:
    """Dealt without regard to class, one of ten of 200 patients missed a fold in one of eight draws."""
    labelled = [(f"p{i}", "rare" if i < 10 else "common") for i in range(200)]
    for seed in range(50):
        fold = stratified(labelled, seed)
        for label, each in (("rare", 2), ("common", 38)):
            count = Counter(fold[patient] for patient, own in labelled if own == label)
            assert set(count) == set(range(FOLDS))
            assert max(count.values()) - min(count.values()) <= 1
            assert min(count.values()) >= each - 1


Rows = list[Example]


def _rows(patients: Sequence[str], labels: Sequence[str], scans: np.ndarray, texts: np.ndarray | None = None) -> Rows:  # type: ignore[type-arg]
    def unit(vector: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    rows = []
    for i, (patient, label) in enumerate(zip(patients, labels, strict=True)):
        blocks: dict[Part, np.ndarray] = {"scan": unit(scans[i])}  # type: ignore[type-arg]
        if texts is not None:
            blocks["history"] = unit(texts[i])
        others = [j for j, other in enumerate(patients) if other != patient]
        near = sorted(others, key=lambda j: -float(unit(scans[i]) @ unit(scans[j])))[:10]
        ballots = [Ballot(f"c{j}", float(unit(scans[i]) @ unit(scans[j])), labels[j]) for j in near]
        rows.append(Example(blocks, patient, label, ballots))
    return rows


def _cohort(n: int = 90, classes: str = "xy", noise: float = 0.3, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = [classes[i % len(classes)] for i in range(n)]
    scans = np.eye(4)[[classes.index(label) for label in labels]] + rng.normal(0, noise, (n, 4))
    return _rows([f"p{i}" for i in range(n)], labels, scans)


def _fitted(examples: dict[Composition, Sequence[Example]]) -> Diagnoser:
    diagnoser = fit_diagnoser("organ", examples)
    assert diagnoser is not None
    return diagnoser


def _asked(diagnoser: Diagnoser, vector: Sequence[float], ballots: Sequence[Ballot], **how: bool) -> LabelAnswer:
    found = answer_label_set(diagnoser, "scan", {"scan": np.asarray(vector, np.float32)}, ballots, **how)
    assert found is not None
    return found


ALIKE = [Ballot("n", 0.9, "x")] * 5


def test_a_diagnoser_survives_the_disk(tmp_path: Path) -> None:
    diagnoser = _fitted({"scan": _cohort(), "history": [], "scan+history": []})
    save_diagnosers([diagnoser], WIDTHS, tmp_path)
    stored = load_diagnosers(tmp_path, WIDTHS)
    assert stored is not None
    one, other = (_asked(d, (0, 1, 0, 0), [Ballot("n", 0.8, "y")]) for d in (diagnoser, stored[0]))
    assert one == other
    assert one.answer == "y"
    assert one.agree
    assert answer_label_set(stored[0], "history", {"history": np.ones(4, np.float32)}, ALIKE) is None
    (tmp_path / "probes.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArchiveError, match="damaged"):
        load_diagnosers(tmp_path, WIDTHS)


def test_labels_that_occur_once_are_not_answered() -> None:
    rows = _cohort(20)
    lonely = Example(rows[0].blocks, "alone", "rare", [])
    assert _fitted({"scan": [*rows, lonely]}).classes == ("x", "y")
    assert fit_diagnoser("organ", {"scan": [lonely]}) is None
    assert fit_diagnoser("organ", {"scan": [row for row in rows if row.label == "x"]}) is None


@pytest.mark.parametrize(("classes", "least"), [(2, 2 / 3), (3, 0.5), (8, 0.5)])
def test_the_limit_is_two_to_one_of_two_classes_and_one_half_of_more(classes: int, least: float) -> None:
    assert named("x", least, classes, alone=False) == "x"
    assert named("x", least - 1e-4, classes, alone=False) is None
    assert named("x", least - 1e-4, classes, alone=True) == "x", "every other class is ruled out"


@pytest.mark.parametrize("classes", ["xy", "xyz"])
def test_an_answer_is_withheld_where_no_class_is_likely_enough(classes: str) -> None:
    """Of two classes one always has half: without a higher limit no finding would ever be undecided."""
    sure, unsure = (_fitted({"scan": _cohort(90, classes, noise)}) for noise in (0.2, 30.0))
    given, withheld = (_asked(d, (1, 0, 0, 0), ALIKE) for d in (sure, unsure))
    assert given.answer == "x"
    assert given.ranked[0].probability > 0.8
    assert withheld.answer is None
    assert withheld.ranked[0].probability < (2 / 3 if classes == "xy" else 0.5)


def test_labels_that_mean_nothing_are_stated_to_be_guessed() -> None:
    rng = np.random.default_rng(0)
    labels = ["xy"[int(i)] for i in rng.integers(0, 2, 200)]
    measured = (
        _fitted({"scan": _rows([f"p{i}" for i in range(200)], labels, rng.normal(size=(200, 4)))}).fits["scan"].measured
    )
    assert measured.accuracy == pytest.approx(0.5, abs=0.1)
    assert measured.calibration_error < 0.15


def test_one_patient_counts_once_however_many_scans_there_are() -> None:
    """One patient of 200 scans that are told right beside 40 patients that are guessed: right for half, not for nine tenths."""
    rng = np.random.default_rng(1)
    labels = [*("xy"[i % 2] for i in range(40)), *["x"] * 200]
    patients = [*(f"p{i}" for i in range(40)), *["one"] * 200]
    scans = np.concatenate(
        [rng.normal(size=(40, 4)), np.tile([3.0, 0, 0, 0], (200, 1)) + rng.normal(0, 0.01, (200, 4))]
    )
    measured = _fitted({"scan": _rows(patients, labels, scans)}).fits["scan"].measured
    assert measured.patients == 41
    assert measured.accuracy < 0.7


def test_adding_a_part_that_knows_nothing_costs_no_more_than_noise() -> None:
    rng = np.random.default_rng(0)
    labels = ["xyz"[i % 3] for i in range(240)]
    scans = np.eye(4)[[i % 3 for i in range(240)]] + rng.normal(0, 0.6, (240, 4))
    rows = _rows([f"p{i}" for i in range(240)], labels, scans, rng.normal(size=(240, 4)))
    fit = _fitted({"scan": rows, "history": rows, "scan+history": rows}).fits["scan+history"]
    best = max(one.accuracy for one in fit.parts.values())
    assert set(fit.parts) == {"frequencies", "vote", "scan+history", "scan", "history"}
    assert fit.measured.accuracy > best - np.sqrt(best * (1 - best) / 240)
    assert fit.measured.accuracy > fit.parts["history"].accuracy + 0.2


def test_what_is_stated_comes_true_for_new_patients() -> None:
    stated, right = [], []
    for seed in range(6):
        diagnoser = _fitted({"scan": _cohort(150, "xyz", 0.8, seed)})
        stated.append(diagnoser.fits["scan"].measured.accuracy)
        for row in _cohort(300, "xyz", 0.8, seed + 100):
            answer = _asked(diagnoser, row.blocks["scan"].tolist(), row.ballots)
            right.append(answer.ranked[0].label == row.label)
    assert np.mean(stated) == pytest.approx(np.mean(right), abs=0.04)


def test_a_case_that_the_probe_was_fitted_on_is_answered_by_the_vote_alone() -> None:
    diagnoser = _fitted({"scan": _cohort()})
    found = _asked(diagnoser, (0, 1, 0, 0), ALIKE, by_vote_alone=True)
    assert {ranked.probe for ranked in found.ranked} == {None}
    assert found.ranked[0].label == "x", "the probe would have said y"
    assert found.held_out_accuracy == diagnoser.fits["scan"].measured_alone.accuracy


def test_a_vote_adds_up_and_names_its_voters() -> None:
    ballots = [Ballot("a", 0.9, "x"), Ballot("b", 0.8, None), Ballot("c", 0.7, "y"), Ballot("d", 0.6, "another class")]
    found = _asked(_fitted({"scan": _cohort()}), (1, 0, 0, 0), ballots)
    assert [(voter.case_id, voter.label) for voter in found.voters] == [("a", "x"), ("c", "y")]
    assert sum(voter.share for voter in found.voters) + found.archive_share == pytest.approx(1)
    by_class = {ranked.label: ranked.vote for ranked in found.ranked}
    assert by_class["x"] == pytest.approx(found.voters[0].share + found.archive_share / 2)


def test_nobody_who_votes_is_no_answer() -> None:
    diagnoser = _fitted({"scan": _cohort()})
    for ballots in ([], [Ballot("a", 0.9, None)], [Ballot("a", 0.9, "another class")]):
        assert answer_label_set(diagnoser, "scan", {"scan": np.ones(4, np.float32)}, ballots) is None


@pytest.mark.parametrize(("patients", "quoted"), [(LEAST_PATIENTS - 2, False), (LEAST_PATIENTS, True)])
def test_of_few_patients_no_accuracy_is_quoted(patients: int, quoted: bool) -> None:
    found = _asked(_fitted({"scan": _cohort(patients, noise=0.1)}), (1, 0, 0, 0), ALIKE)
    assert found.held_out_patients == patients
    assert (found.held_out_accuracy is not None) is quoted
    if found.held_out_interval is not None and found.held_out_accuracy is not None:
        low, high = found.held_out_interval
        assert low < 0.9 < found.held_out_accuracy <= high


def test_what_tells_nothing_is_answered_by_the_archive_s_frequencies() -> None:
    """Beside class-balanced probes: a pool of opinions that know nothing would else be even, not as frequent as the classes."""
    rng = np.random.default_rng(0)
    labels = ["x" if i % 10 < 7 else "y" for i in range(200)]
    fit = _fitted({"scan": _rows([f"p{i}" for i in range(200)], labels, rng.normal(size=(200, 4)))}).fits["scan"]
    assert fit.measured.accuracy > 0.66
    assert fit.measured.calibration_error < 0.08


def test_a_patient_s_scans_are_no_more_data_than_the_patient() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    vectors = (rng.normal(size=(60, 5)) + 2 * np.eye(2, 5)[labels]).astype(np.float32)
    once = fit_probe(vectors, labels, np.ones(60), 2, 3.0, 1.0)
    often = fit_probe(np.tile(vectors, (8, 1)), np.tile(labels, 8), np.full(480, 1 / 8), 2, 3.0, 1.0)
    np.testing.assert_allclose(often.probabilities(vectors), once.probabilities(vectors), atol=0.01)


def test_what_would_not_be_answered_is_not_measured() -> None:
    rows = _cohort(80)
    quiet = [*rows[:40], *(Example(row.blocks, row.patient, row.label, []) for row in rows[40:])]
    assert _fitted({"scan": quiet}).fits["scan"].measured.patients == 40
