"""Where vectors live and are found. Knows nothing of scans or reports; `CaseIndex` is the only door."""

from medclip.index.case_index import CaseIndex, Hit, Record, VectorView

__all__ = ["CaseIndex", "Hit", "Record", "VectorView"]
