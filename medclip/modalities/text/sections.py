"""Sections of a free-text radiology report: history, findings and impression, by their headings.

The headings are those of the reporting templates of the RSNA (radreport.org) and their usual variants.
"""

import re
from dataclasses import dataclass

__all__ = ["Sections", "split_sections"]

_HISTORY = ("clinical history", "clinical information", "clinical indication", "clinical details", "patient history",
            "history of present illness", "reason for exam(?:ination)?", "reason for (?:the )?study", "indications?",
            "history", "hx")  # fmt: skip
_FINDINGS = ("findings(?: and impression)?", "report", "description", "observations?")
_IMPRESSION = ("impressions?", "conclusions?", "opinion", "summary", "interpretation", "assessment")
_OTHER = ("comparisons?", "techniques?", "procedure", "exam(?:ination)?", "study", "views?", "contrast", "protocol",
          "recommendations?", "addendum", "signed by", "dictated by", "electronically signed(?: by)?")  # fmt: skip

_KINDS = {"history": _HISTORY, "findings": _FINDINGS, "impression": _IMPRESSION, "other": _OTHER}
_HEADING = re.compile(
    r"(?:(?<=\n)|^|(?<=[.;]\s)|(?<=[.;]\s\s))[ \t*#]*(?:"
    + "|".join(f"(?P<{kind}>{'|'.join(words)})" for kind, words in _KINDS.items())
    + r")[ \t]*(?:\*\*)?[ \t]*(?::|\n|-[ \t])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sections:
    """A report in parts; a part that is not there is empty."""

    history: str = ""
    findings: str = ""
    impression: str = ""


def split_sections(report: str) -> Sections:
    """Split a report at its headings; comparison, technique and signatures are left out.

    What stands before the first heading belongs to the findings, and so does a report without any heading.
    """
    text = report.replace("\r\n", "\n").replace("\r", "\n")
    parts: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    kind, start = "findings", 0
    for heading in _HEADING.finditer(text):
        parts[kind].append(text[start : heading.start()])
        kind, start = str(heading.lastgroup), heading.end()
    parts[kind].append(text[start:])
    joined = {kind: "\n".join(part.strip() for part in found if part.strip()) for kind, found in parts.items()}
    return Sections(joined["history"], joined["findings"], joined["impression"])
