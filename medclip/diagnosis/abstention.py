"""When an answer is withheld, and when a figure is not quoted."""

__all__ = ["LEAST_PATIENTS", "least_probability", "named"]

LEAST_PATIENTS = 30
"""Patients on whom a figure must have been measured to be quoted: of fewer, even 30 right ones of 30 leave anything from
0.89 up possible (Wilson's 95 % interval)."""

_LEAST = 0.5
"""Below it an answer is more likely wrong than right."""

_LEAST_OF_TWO = 2 / 3
"""Of two classes one always has half; it must be twice as probable as the other."""


def least_probability(classes: int) -> float:
    """From which probability of the most probable of so many classes an answer is given."""
    return _LEAST_OF_TWO if classes == 2 else _LEAST


def named(label: str, probability: float, classes: int, *, alone: bool) -> str | None:
    """The label, or None where the answer is withheld.

    Args:
        probability: of the most probable class, calibrated.
        alone: whether by the set that keeps its coverage every other class is ruled out, and this one is not.
    """
    return label if alone or probability >= least_probability(classes) else None
