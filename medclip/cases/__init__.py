"""Cases: what a patient's presentation is, how it is stored, checked, split and imported."""

from medclip.cases.case import Case, Labels, Measurement, Note, Outcome, Scan
from medclip.cases.manifest import read_cases, write_cases

__all__ = ["Case", "Labels", "Measurement", "Note", "Outcome", "Scan", "read_cases", "write_cases"]
