"""The answer's figures by subgroups of the patients: for whom it holds less than for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.archive.filter_fields import FIELDS, facts_of
from medclip.cases.case import Case
from medclip.errors import CaseError
from medclip.evaluation.protocols import Figure, Predicted, measures, pooled

__all__ = [
    "AGE_BANDS",
    "MINUS_REST",
    "RESAMPLES",
    "UNKNOWN",
    "Answered",
    "groups_of",
    "paired_differences",
    "pooled_answers",
    "read_fields",
    "subgroup_figures",
]

RESAMPLES = 1000
"""Of a bootstrap, enough for percentile intervals (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 14)."""

AGE_BANDS = {"0-17": 0, "18-39": 18, "40-64": 40, "65+": 65}
"""Band → the age in years from which it counts: adults from 18 (ICH E11, section 2.5.5), the old from 65 (ICH E7, section
II), and adults between halved at 40."""

UNKNOWN = "not known"
MINUS_REST = "_minus_rest"
"""Ends the name of a metric that is the difference to all who are not in the group."""

_LIMITS = (2.5, 97.5)  # percentiles of a 95 % interval
_ALIKE = 1e-9  # a spread of resamples that is rounding alone
_SEED = 0


@dataclass(frozen=True)
class Answered:
    """The answers to unseen queries on one label set, and what is known of those who asked."""

    protocol: str
    label_set: str
    predicted: Predicted
    cases: Sequence[Case]  # (n,) one a query, with the one scan alone where only one was asked with


def read_fields(text: str | None, cases: Sequence[Case]) -> tuple[str, ...]:
    """Fields by which patients are to be grouped, parted by commas: all that ``--where`` may ask of these cases.

    Raises:
        CaseError: there is no such field.
    """
    if text is None:
        return ()
    fields = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    known = {**dict.fromkeys(FIELDS), **dict.fromkeys(sorted({name for case in cases for name in facts_of(case)}))}
    for name in fields:
        if name not in known:
            raise CaseError(f"--by: there is no field {name!r}; choose among {', '.join(known)}")
    return fields


def groups_of(field: str, case: Case) -> tuple[str, ...]:
    """The groups in which a case is: several where its scans differ, `UNKNOWN` where the field is not known of it."""
    values = facts_of(case).get(field, ())
    if field == "age":
        return tuple(
            [band for band, start in AGE_BANDS.items() if start <= value][-1] for value in map(float, values)
        ) or (UNKNOWN,)
    return tuple(map(str, values)) or (UNKNOWN,)


def pooled_answers(answers: Sequence[Answered]) -> dict[tuple[str, str], tuple[Predicted, list[Case]]]:
    """(protocol, label set) → the answers of all folds as one, and who asked, (n,)."""
    together: dict[tuple[str, str], list[Answered]] = {}
    for one in answers:
        together.setdefault((one.protocol, one.label_set), []).append(one)
    return {
        key: (pooled([part.predicted for part in parts]), [case for part in parts for case in part.cases])
        for key, parts in together.items()
    }


def subgroup_figures(answers: Sequence[Answered], fields: Sequence[str]) -> list[Figure]:
    """Every metric of `measures` for every group of every protocol and label set, and its difference to the rest.

    Predictions of several folds are pooled first. One patient counts once in a group and once in its rest. Intervals are
    percentiles of a bootstrap that draws patients, never queries, and all of them at once, so that a difference is between
    groups of the same draw. A group whose accuracy is the same in every draw, as of a single patient or where all are right,
    has no intervals: what the draws say of it would be too sure.

    The calibration error of few answers is large by chance alone, and that of resamples, which repeat some of them, larger:
    its interval is moved by what they have too much (Efron and Tibshirani 1993, ch. 10). The error itself stays as it is,
    so that small groups seem worse calibrated than their rest; `stated_minus_accuracy` has no such slant.
    """
    figures: list[Figure] = []
    for (protocol, label_set), (predicted, cases) in pooled_answers(answers).items() if fields else ():
        times = _times_drawn(predicted.patients)
        for field in fields:
            groups = [groups_of(field, case) for case in cases]
            for name in sorted({name for own in groups for name in own}, key=lambda name: (name == UNKNOWN, name)):
                inside = np.asarray([name in own for own in groups])
                patients = len(set(predicted.rows(inside).patients))
                figures += [
                    Figure(protocol, label_set, "combined", metric, float(values[0]), None, patients,
                           group=f"{field}={name}", interval=interval)
                    for metric, values, interval in _measured(predicted, times, inside)
                ]  # fmt: skip
    return figures


def paired_differences(before: Predicted, after: Predicted) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """Metric → how much more `after` has of it than `before`, over the patients that both were asked about; its interval.

    Both are measured on the same draws of patients: what is hard in a draw is hard for both, so the interval is that of the
    difference, and narrower than two intervals beside each other would have it.
    """
    common = sorted(set(before.patients) & set(after.patients))
    if not common:
        return {}
    found = []
    for one in (before, after):
        rows = one.rows(np.isin(np.asarray(one.patients), common))
        found.append(_of(rows, _times_drawn(rows.patients), np.ones(len(rows.patients), np.bool_)))
    return {
        metric: (float((values - found[0][metric])[0]), _interval(values - found[0][metric]))
        for metric, values in found[1].items()
        if metric in found[0]
    }


def _times_drawn(patients: Sequence[str]) -> NDArray[np.float64]:
    """(1 + `RESAMPLES`, n): how often each query's patient is drawn; first, all of them once, as they are."""
    names, patient = np.unique(np.asarray(patients), return_inverse=True)
    drawn = np.random.default_rng(_SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return np.vstack([np.ones(len(names)), drawn])[:, patient]


def _measured(
    predicted: Predicted, times: NDArray[np.float64], inside: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.float64], tuple[float, float] | None]]:
    """Metrics of a group, then the differences to its rest: name, (1 + `RESAMPLES`,) values and interval of each."""
    group, rest = ({} if not side.any() else _of(predicted, times, side) for side in (inside, ~inside))
    least = {"calibration_error": 0.0}
    varies, both = _varies(group), _varies(group) and bool(rest) and _varies(rest)
    found = [
        (metric, values, _interval(values, least.get(metric, -np.inf)) if varies else None)
        for metric, values in group.items()
    ]
    for metric, values in rest.items():
        difference = group[metric] - values
        found.append((metric + MINUS_REST, difference, _interval(difference) if both else None))
    return found


def _varies(measured: Mapping[str, NDArray[np.float64]]) -> bool:
    return _interval(measured["accuracy"]) is not None


def _of(predicted: Predicted, times: NDArray[np.float64], chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    rows = predicted.rows(chosen)
    found = measures(rows, times[:, chosen] * rows.weights)
    error = found["calibration_error"]
    error[1:] -= np.nanmean(error[1:]) - error[0]
    return found


def _interval(values: NDArray[np.float64], least: float = -np.inf) -> tuple[float, float] | None:
    """Percentiles of the resamples that drew someone; None where they are all alike, which says nothing of the spread.

    Args:
        least: value that the figure may have.
    """
    drawn = values[1:][~np.isnan(values[1:])]
    if not len(drawn) or np.ptp(drawn) < _ALIKE:
        return None
    low, high = np.percentile(drawn, _LIMITS)
    return max(least, float(low)), float(high)
