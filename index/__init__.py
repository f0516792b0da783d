"""Where vectors live and are found. Knows nothing of scans or reports; `CaseIndex` is the only door."""

from medclip.index.case_index import CaseIndex
from medclip.index.entry import Entry, Hit, Record, VectorView
from medclip.index.planner import Demands

__all__ = ["CaseIndex", "Demands", "Entry", "Hit", "Record", "VectorView"]
