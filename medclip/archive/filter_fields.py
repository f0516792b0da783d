"""What ``--where`` can filter on."""

from collections import defaultdict

from medclip.cases.case import Case
from medclip.index.records import Fact

__all__ = ["FIELDS", "facts_of"]

FIELDS = {"age": "number", "sex": "text", "modality": "text", "plane": "text", "source": "text", "synthetic": "text"}
"""What a filter may always ask for; the labels (``label.NAME``) come with the cases."""


def facts_of(case: Case) -> dict[str, Fact]:
    """What filters may ask of a case; where its scans differ, each of their values counts."""
    many: dict[str, set[str]] = defaultdict(set)
    for scan in case.scans:
        many["modality"] |= {scan.modality} if scan.modality else set()
        many["plane"] |= {scan.plane} if scan.plane else set()
        for name, label in case.scan_labels(scan).items():
            many[f"label.{name}"].add(label)
    for name, label in case.case_labels.items():
        many[f"label.{name}"].add(label)
    for name, value in (("sex", case.sex), ("source", case.source)):
        many[name] |= {value} if value else set()
    facts: dict[str, Fact] = {name: tuple(sorted(values)) for name, values in many.items() if values}
    if case.age is not None:
        facts["age"] = (float(case.age),)
    return {**facts, "synthetic": ("yes" if case.synthetic else "no",)}
