"""Figures by groups of patients, against values worked out by hand or by a resample at a time."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from medclip.cases import Case, Scan
from medclip.errors import CaseError
from medclip.evaluation.protocols import Figure, Predicted, classification_figures, measures, pooled
from medclip.evaluation.subgroups import MINUS_REST, RESAMPLES, Answered, groups_of, read_fields, subgroup_figures
from medclip.metrics.probabilities import calibration_error

RIGHT, WRONG = (0.9, 0.1), (0.3, 0.7)
"""Probabilities of the classes a and b, where a is right."""


def _case(number: int, **known: object) -> Case:
    return Case.model_validate({"id": f"c{number}", "notes": [{"kind": "history", "text": "cough"}], **known})


def _answered(rows: list[tuple[Case, tuple[float, float]]]) -> Answered:
    cases = [case for case, _ in rows]
    patients = [case.patient for case in cases]
    predicted = Predicted(("a", "b"), np.asarray([p for _, p in rows]), ["a"] * len(rows), patients, [0.8] * len(rows))
    return Answered("full", "kind", predicted, cases)


def _by_name(figures: list[Figure]) -> dict[tuple[str | None, str], Figure]:
    return {(figure.group, figure.metric): figure for figure in figures}


def test_groups_are_measured_each_by_itself_and_against_the_rest() -> None:
    women = [(_case(i, sex="female"), RIGHT if i < 3 else WRONG) for i in range(4)]
    men = [(_case(i, sex="male"), RIGHT if i < 12 else WRONG) for i in range(10, 14)]
    unknown = [(_case(i), WRONG) for i in range(20, 22)]
    found = _by_name(subgroup_figures([_answered([*women, *men, *unknown])], ["sex"]))
    accuracy = {group: (f.value, f.n) for (group, metric), f in found.items() if metric == "accuracy"}
    assert accuracy == {"sex=female": (0.75, 4), "sex=male": (0.5, 4), "sex=not known": (0.0, 2)}
    less = found["sex=female", "accuracy" + MINUS_REST]
    assert less.value == pytest.approx(0.75 - 2 / 6)
    assert less.interval is not None
    assert less.interval[0] < less.value < less.interval[1]
    assert found["sex=female", "stated_minus_accuracy"].value == pytest.approx(0.05)
    # three answers state 0.9 and are right, one states 0.7 and is not
    assert found["sex=female", "calibration_error"].value == pytest.approx(0.75 * 0.1 + 0.25 * 0.7)
    assert found["sex=male", "balanced_accuracy"].value == 0.5


def test_a_patient_with_many_queries_counts_once_and_narrows_no_interval() -> None:
    few = [(_case(i, sex="female"), RIGHT if i % 2 else WRONG) for i in range(8)]
    many = [*few, *[(_case(100 + i, patient="c0", sex="female"), WRONG) for i in range(60)]]
    (one, other) = (
        _by_name(subgroup_figures([_answered(rows)], ["sex"]))["sex=female", "accuracy"] for rows in (few, many)
    )
    assert one.value == pytest.approx(other.value) == 0.5
    assert one.n == other.n == 8
    assert one.interval == pytest.approx(other.interval)
    assert one.interval is not None
    # of eight patients, right or wrong: the spread of a binomial share
    assert one.interval[1] - one.interval[0] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 8), abs=0.13)


def test_a_group_of_one_patient_or_of_patients_all_alike_has_no_interval() -> None:
    rows = [(_case(i, sex="male"), RIGHT if i % 2 else WRONG) for i in range(9)]
    alone = [(_case(50, sex="female"), RIGHT), (_case(51, patient="c50", sex="female"), WRONG)]
    alike = [
        (_case(60 + i, sex="other"), (0.9 - i / 10, 0.1 + i / 10)) for i in range(3)
    ]  # stated apart, and all right
    found = _by_name(subgroup_figures([_answered([*rows, *alone, *alike])], ["sex"]))
    assert (found["sex=female", "accuracy"].value, found["sex=female", "accuracy"].n) == (0.5, 1)
    assert all(figure.interval is None for (group, _), figure in found.items() if group != "sex=male")
    assert found["sex=male", "accuracy"].interval is not None


def test_every_resample_is_what_the_drawn_patients_measure_one_at_a_time() -> None:
    random = np.random.default_rng(3)
    p = random.dirichlet((1, 1, 1), 40)
    labels = [("a", "b", "c", "elsewhere")[i] for i in random.integers(0, 4, 40)]
    sets = p > 0.3
    predicted = Predicted(
        ("a", "b", "c"), p, labels, [str(i // 2) for i in range(40)], random.random(40).tolist(), sets
    )
    times = random.integers(0, 3, (20, 40)).astype(float)
    together = measures(predicted, times)
    for number, weights in enumerate(times):
        repeated = np.repeat(np.arange(40), weights.astype(int))
        names = [predicted.classes[i] for i in p[repeated].argmax(1)]
        right = [labels[i] for i in repeated]
        position = np.asarray(["abc".find(label) for label in right])
        here = {name: values[number] for name, values in together.items()}
        assert here["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(names, right, strict=True)]))
        assert here["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(right, names))
        assert here["calibration_error"] == pytest.approx(calibration_error(p[repeated], position))
        held = [label in "abc" and sets[i]["abc".index(label)] for i, label in zip(repeated, right, strict=True)]
        assert here["coverage"] == pytest.approx(np.mean(held))
        assert here["set_size"] == pytest.approx(sets[repeated].sum(1).mean())
    assert np.isnan(measures(predicted, np.zeros((1, 40)))["balanced_accuracy"]).all()


def test_a_group_of_everybody_has_the_figures_of_everybody() -> None:
    rows = [(_case(i, patient=f"p{i // 2}", sex="male"), RIGHT if i % 3 else WRONG) for i in range(20)]
    answered = _answered(rows)
    whole = {f.metric: f.value for f in classification_figures("full", "kind", "combined", answered.predicted)}
    found = subgroup_figures([answered], ["sex"])
    assert {f.metric: f.value for f in found} == {f.metric: pytest.approx(whole[f.metric]) for f in found}
    assert all(figure.interval is not None for figure in found if figure.metric == "accuracy")


def test_folds_are_pooled_and_a_class_that_one_did_not_know_has_no_probability_there() -> None:
    one = Predicted(("a", "c"), np.asarray([[0.6, 0.4]]), ["a"], ["p"], [0.7])
    other = Predicted(("b", "c"), np.asarray([[0.1, 0.9]]), ["a"], ["q"], [0.8])
    both = pooled([one, other])
    assert list(both.classes) == ["a", "b", "c"]
    assert both.probabilities.tolist() == [[0.6, 0, 0.4], [0, 0.1, 0.9]]
    assert (both.labels, both.patients, both.stated, both.sets) == (["a", "a"], ["p", "q"], [0.7, 0.8], None)


def test_ages_fall_into_bands_and_a_case_with_scans_of_two_kinds_into_two_groups() -> None:
    bands = {groups_of("age", _case(0, age=age)) for age in (0, 17.9)}
    assert bands == {("0-17",)}
    assert [groups_of("age", _case(0, age=age))[0] for age in (18, 39.5, 40, 64, 65, 101)] == [
        "18-39", "18-39", "40-64", "40-64", "65+", "65+",
    ]  # fmt: skip
    assert groups_of("age", _case(0)) == ("not known",)
    scans = (Scan(file="1.png", modality="MR"), Scan(file="2.png", modality="CT"), Scan(file="3.png"))
    assert groups_of("modality", _case(0, scans=scans)) == ("CT", "MR")
    assert groups_of("label.kind", _case(0, labels={"kind": "a"})) == ("a",)


def test_fields_are_those_of_a_filter_and_others_are_refused_in_one_line_that_lists_them() -> None:
    cases = [_case(0, labels={"kind": "a"})]
    assert read_fields("sex, age,sex,label.kind", cases) == ("sex", "age", "label.kind")
    assert read_fields(None, cases) == ()
    for wrong in ("gender", "", "sex,", "label.other"):
        with pytest.raises(CaseError, match=r"--by: .*age, sex, modality, plane, source, synthetic, label\.kind"):
            read_fields(wrong, cases)


def test_the_interval_of_a_calibration_error_holds_it_though_resamples_have_more() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.5, 1, 40)
    right = random.random(40) < p  # calibrated: what is left is chance, and resamples add to it
    rows = [
        (_case(i, sex=("female", "male")[i % 2]), (p[i], 1 - p[i]) if right[i] else (1 - p[i], p[i])) for i in range(40)
    ]
    found = _by_name(subgroup_figures([_answered(rows)], ["sex"]))
    for metric in ("calibration_error", "calibration_error" + MINUS_REST):
        figure = found["sex=female", metric]
        assert figure.interval is not None
        assert figure.interval[0] < figure.value < figure.interval[1]
    assert found["sex=female", "calibration_error"].interval[0] >= 0  # type: ignore[index]


def test_the_same_answers_have_the_same_intervals() -> None:
    answered = _answered([(_case(i, sex="male"), RIGHT if i % 2 else WRONG) for i in range(12)])
    assert subgroup_figures([answered], ["sex"]) == subgroup_figures([answered], ["sex"])
    assert RESAMPLES == 1000
