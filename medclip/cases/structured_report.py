"""DICOM structured reports (PS3.3 A.35) → the sections of a report."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from medclip.modalities.text.sections import Sections, split_sections

__all__ = ["report_sections"]

_DEEPEST = 20
_HISTORY = ("history", "indication", "reason", "clinical information", "request")
_IMPRESSION = ("impression", "conclusion", "interpretation", "summary", "assessment", "opinion")
_LEFT_OUT = ("procedure", "technique", "comparison", "recommendation", "observer", "subject", "language")
_CONTEXT = {"HAS OBS CONTEXT", "HAS ACQ CONTEXT"}  # who observed whom, and on what device


def _meaning(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeMeaning", "")).lower() if names else ""


def _text(item: Dataset) -> str:
    kind = item.get("ValueType")
    if kind == "TEXT":
        return str(item.get("TextValue", "")).strip()
    if kind == "CODE" and item.get("ConceptCodeSequence"):
        return str(item.ConceptCodeSequence[0].get("CodeMeaning", "")).strip()
    if kind == "NUM" and item.get("MeasuredValueSequence"):
        value = item.MeasuredValueSequence[0]
        units = value.get("MeasurementUnitsCodeSequence")
        unit = str(units[0].get("CodeValue", "")) if units else ""
        return f"{_meaning(item)} {value.get('NumericValue', '')} {unit}".strip()
    return ""


def _lines(item: Dataset, under: str, deep: int) -> Iterator[tuple[str, str]]:
    """(the headings that a text stands under, the text), depth first; persons, dates and references are left out."""
    for child in item.get("ContentSequence") or []:
        if child.get("RelationshipType") in _CONTEXT:
            continue
        headings = f"{under} / {_meaning(child)}"
        if text := _text(child):
            yield headings, text
        if deep < _DEEPEST:
            yield from _lines(child, headings, deep + 1)


def report_sections(report: Dataset) -> Sections:
    """The texts, codes and measured values of a structured report, by the headings that they stand under.

    Observer, subject and procedure contexts are left out. A text with headings of its own is split at them.
    """
    parts: dict[str, list[str]] = {"history": [], "findings": [], "impression": []}
    for headings, text in _lines(report, "", 0):
        if any(word in headings for word in _LEFT_OUT):
            continue
        if any(word in headings for word in _HISTORY):
            parts["history"].append(text)
        elif any(word in headings for word in _IMPRESSION):
            parts["impression"].append(text)
        else:
            found = split_sections(text)
            for kind, part in parts.items():
                part += [value] if (value := getattr(found, kind)) else []
    return Sections(*("\n".join(parts[kind]) for kind in ("history", "findings", "impression")))
