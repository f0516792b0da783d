"""What a reader who looks at the similar cases could gain at most: whether they hold what is right, beside chance."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import comb

import numpy as np

from medclip.archive.entries import case_of
from medclip.archive.filter_fields import facts_of
from medclip.assistant.assistant import Among, Assistant
from medclip.cases.case import Case
from medclip.diagnosis.label_answer import LabelAnswer
from medclip.embedding.posing import Posed
from medclip.evaluation.protocols import Figure, patient_weights
from medclip.index import CaseIndex

__all__ = ["EXACT", "HIT_DEPTHS", "Held", "Holdings", "chance", "gain_figures"]

HIT_DEPTHS = (1, 3, 5, 10)
"""How many similar cases are looked at: the first, a glance, half of those that are shown, and all of them."""

EXACT = "exact diagnosis"
"""Label set that stands for the diagnosis word for word. Its name has a space, lest it be taken for a label set of the
cases that is named ``diagnosis``."""

Held = tuple[str, str]
"""Label set and class that stand in a case."""


def _held_by(case: Case) -> frozenset[Held]:
    """What a reader finds in a case; of scans that differ, what any of them shows."""
    labels = {
        name.removeprefix("label."): values for name, values in facts_of(case).items() if name.startswith("label.")
    }
    exact = {(EXACT, case.outcome.exact)} if case.outcome.exact else set()
    return frozenset(exact | {(name, str(value)) for name, values in labels.items() for value in values})


@dataclass(frozen=True)
class Holdings:
    """What stands in an archive's cases."""

    of_case: Mapping[str, AbstractSet[Held]]  # by case id
    patients: Mapping[Held, int]  # who have a case that holds it
    total: int  # patients

    @classmethod
    def of(cls, index: CaseIndex) -> "Holdings":
        """What stands in an index."""
        cases = [case_of(record) for record in index.records()]
        of_case = {case.id: _held_by(case) for case in cases}
        pairs = {(held, case.patient) for case in cases for held in of_case[case.id]}
        return cls(of_case, Counter(held for held, _ in pairs), len({case.patient for case in cases}))


def chance(holders: int, total: int, depth: int) -> float:
    """Probability that `depth` of `total` patients, drawn at random and none twice, hold what `holders` of them do."""
    depth = min(depth, total)
    return 1 - comb(total - holders, depth) / comb(total, depth)


def gain_figures(
    protocol: str, assistant: Assistant, holdings: Holdings, asked: Sequence[tuple[Posed, Sequence[LabelAnswer]]]
) -> list[Figure]:
    """How often the first similar cases that are shown hold the right class, beside chance and the answer's first classes.

    An exact diagnosis counts where the archive has it at all. One patient counts once. Those shown are of different
    patients, so chance draws patients; one who has several cases holds what any of them does, which favours chance.

    Args:
        asked: queries of unseen cases, and the answers to each.
    """
    rows: dict[tuple[str, str], list[tuple[str, list[float]]]] = defaultdict(list)
    deepest = max(HIT_DEPTHS)
    shown = assistant.shown([(posed.parts, Among(k=deepest, exclude_patient=posed.patient)) for posed, _ in asked])
    for (posed, answers), hits in zip(asked, shown, strict=True):
        labels = posed.labels
        right: dict[Held, list[str] | None] = {
            (a.label_set, labels[a.label_set]): [r.label for r in a.ranked] for a in answers if a.label_set in labels
        }
        if (exact := posed.case.outcome.exact) is not None and holdings.patients.get((EXACT, exact)):
            right[EXACT, exact] = None
        for held, ranked in right.items():
            seen = [held in holdings.of_case[hit.case_id] for hit in hits]
            told: dict[str, list[float]] = {"shown": [any(seen[:depth]) for depth in HIT_DEPTHS]}
            told["chance"] = [chance(holdings.patients.get(held, 0), holdings.total, depth) for depth in HIT_DEPTHS]
            if ranked is not None:
                told["answer"] = [held[1] in ranked[:depth] for depth in HIT_DEPTHS]
            for method, values in told.items():
                rows[held[0], method].append((posed.patient, values))
    figures: list[Figure] = []
    for (label_set, method), found in rows.items():
        patients = [patient for patient, _ in found]
        shares = np.average([values for _, values in found], axis=0, weights=patient_weights(patients))
        figures += [
            Figure(protocol, label_set, method, f"hit@{depth}", float(share), None, len(set(patients)))
            for depth, share in zip(HIT_DEPTHS, shares, strict=True)
        ]
    return figures
