"""`make bench-languages`: sixty captions of MedPix's dev split, translated by us into Chinese (``captions_zh.json``).

Each must find its English original among all dev captions, and its scan among all dev scans, by a model trained with
``--text-tower multilingual``. Chance is what a random order would give.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.manifest import read_cases
from medclip.embedding.embedder import EmbeddedCase, Embedder

TRANSLATED = Path(__file__).with_name("captions_zh.json")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path, help="MedPix 2.0, imported")
    parser.add_argument("model", type=Path, help="trained on its train split with --text-tower multilingual")
    options = parser.parse_args()
    chinese = json.loads(TRANSLATED.read_text(encoding="utf-8"))
    cases = [case for case in read_cases(options.cases) if case.split == "dev"]
    serving = ServingModel(Layout(options.model).serving.root)
    embedder = Embedder(serving)
    english = {Path(s.file).stem: s.caption for case in cases for s in case.scans if s.caption}
    captions = sorted(set(english.values()))
    embedded = [item for item in embedder.cases(cases, options.cases) if isinstance(item, EmbeddedCase)]
    aligned = serving.manifest.aligned
    scans = np.concatenate([item.scans for item in embedded])[:, :aligned]
    owner = [item.case.id for item in embedded for _ in item.numbers]
    case_of = {Path(s.file).stem: case.id for case in cases for s in case.scans}
    asked = embedder.texts([*chinese.values()])
    originals = embedder.texts([english[name] for name in chinese])
    table = Table(title=f"{len(chinese)} Chinese captions", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("what is found", "among", "R@1", "R@5", "R@10", "median rank", "chance R@10", "factor"):
        table.add_column(column, justify="left" if column == "what is found" else "right")

    def row(what: str, similarity: np.ndarray, right: np.ndarray) -> None:  # type: ignore[type-arg]
        order = np.argsort(-similarity, axis=1, kind="stable")
        first = np.take_along_axis(right, order, 1).argmax(1) + 1
        total, own = right.shape[1], right.sum(1)
        misses = [np.prod([(total - n - i) / (total - i) for i in range(10)]) for n in own]
        chance = 1 - float(np.mean(misses))
        recalls = [float((first <= k).mean()) for k in (1, 5, 10)]
        cells = [
            *(f"{r:.2f}" for r in recalls),
            f"{np.median(first):g}",
            f"{chance:.2f}",
            f"{recalls[2] / chance:.1f} x",
        ]
        table.add_row(what, str(total), *cells)

    names = [*chinese]
    row(
        "the English original",
        asked @ embedder.texts(captions).T,
        np.asarray([[english[n] == c for c in captions] for n in names]),
    )
    right = np.asarray([[case_of[n] == o for o in owner] for n in names])
    row("a scan of its case, asked in Chinese", asked[:, :aligned] @ scans.T, right)
    row("the same, asked in English", originals[:, :aligned] @ scans.T, right)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
