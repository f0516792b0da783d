"""What the check of a cases folder says."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["CheckReport", "Problem"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One kind of fault and the cases that have it."""

    kind: str
    severity: Severity  # an error makes the check fail; a warning is for the user to judge
    message: str
    case_ids: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)  # of them, where the fault lies between two
    places: list[str] = field(default_factory=list)  # scan and part of its picture, where the fault lies in pixels

    @property
    def count(self) -> int:
        return len(self.case_ids)


@dataclass(frozen=True)
class CheckReport:
    """Counts, label sets and problems of a cases folder."""

    cases: int
    patients: int
    scans: int
    synthetic: int
    with_text: dict[str, int]
    splits: dict[str, int]
    label_sets: dict[str, dict[str, int]]  # label set → class → cases (a case counts once a class)
    problems: list[Problem]
    burned_in: bool = False  # whether words burnt into the scans were looked for

    @property
    def ok(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)
