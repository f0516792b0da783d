"""When an answer is withheld."""

__all__ = ["LEAST_PROBABILITY", "named"]

LEAST_PROBABILITY = 0.5
"""Below it an answer is more likely wrong than right, so it is withheld."""


def named(label: str, probability: float) -> str | None:
    """The label, or None where the answer is withheld: `probability` is that of the most probable class, calibrated."""
    return label if probability >= LEAST_PROBABILITY else None
