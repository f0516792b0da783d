"""What the name of a label set says.

A label set is single-label: one of several classes holds. A multi-label set is a *family* of label sets named
``FAMILY/CLASS``, each with the classes `PRESENT` and `ABSENT`: several may be present, and each may be unknown by itself,
so each is voted on, probed and calibrated by itself. Its figures are means over its members.
"""

__all__ = ["ABSENT", "PRESENT", "REPORT_FAMILY", "class_name", "family_of", "is_verified"]

PRESENT, ABSENT = "present", "absent"

REPORT_FAMILY = "findings-in-report"
"""The family that ``medclip cases label`` reads from reports. Nothing else is ever written there, nor it anywhere else."""


def family_of(label_set: str) -> str | None:
    """The family of a label set; None for a single-label set."""
    family, slash, _ = label_set.partition("/")
    return family if slash else None


def class_name(label_set: str, value: str) -> str:
    """What the class that a label states is called: of a member of a family, the member's own name."""
    return label_set.partition("/")[2] if family_of(label_set) else value


def is_verified(label_set: str) -> bool:
    """Whether people gave its labels; false where a program read them from reports."""
    return family_of(label_set) != REPORT_FAMILY
