"""Whether sets of labels keep their promise for the patients of every class, the rare ones too."""

from collections.abc import Sequence

import numpy as np

from medclip.evaluation.protocols import Figure
from medclip.evaluation.subgroups import Answered, pooled_answers
from medclip.label_sets import family_of
from medclip.metrics.probabilities import interval

__all__ = ["CLASS_COVERAGE", "LEAST", "LEAST_PATIENTS", "class_coverage_figures"]

CLASS_COVERAGE, LEAST = "class_coverage", "least_class_coverage"
"""Metrics: of one class, which is the figure's group; and of the class with the least."""

LEAST_PATIENTS = 50
"""Of a class whose coverage is told: of 50 patients, 45 right ones (0.90) leave 0.79 to 0.96 possible (Wilson's interval)."""


def class_coverage_figures(answers: Sequence[Answered]) -> list[Figure]:
    """The share of each class's patients whose set held it, with its 95 % interval, and the least of them.

    Of the classes of `LEAST_PATIENTS` measured patients or more; of a multi-label set the least is over all its members.
    """
    figures: list[Figure] = []
    for (protocol, label_set), (predicted, _) in pooled_answers(answers).items():
        for label in predicted.classes if predicted.sets is not None else ():
            rows = predicted.rows(np.asarray([one == label for one in predicted.labels]))
            patients = len(set(rows.patients))
            if rows.sets is None or patients < LEAST_PATIENTS:
                continue
            held = float(np.average(rows.sets[:, list(rows.classes).index(label)], weights=rows.weights))
            figures.append(
                Figure(protocol, label_set, "combined", CLASS_COVERAGE, held, None, patients,
                       group=f"{label_set}={label}", interval=interval(held, patients))
            )  # fmt: skip
    least: dict[tuple[str, str], Figure] = {}
    for one in figures:
        assert one.label_set is not None, "it is of a label set"
        for name in {one.label_set, family_of(one.label_set) or one.label_set}:
            least[one.protocol, name] = min(least.get((one.protocol, name), one), one, key=lambda figure: figure.value)
    return figures + [
        Figure(protocol, name, "combined", LEAST, one.value, None, one.n, interval=one.interval)
        for (protocol, name), one in least.items()
    ]
