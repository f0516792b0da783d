"""Where vectors live and are found. Knows nothing of scans or reports; `CaseIndex` is the only door."""

from medclip.index.case_index import CaseIndex
from medclip.index.planner import Demands
from medclip.index.records import Entry, Hit, Record, VectorView

__all__ = ["CaseIndex", "Demands", "Entry", "Hit", "Record", "VectorView"]
