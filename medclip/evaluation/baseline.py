"""The reference design, trained and measured under the protocol that it can answer."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from medclip.cases.case import Case
from medclip.cases.manifest import read_cases
from medclip.cases.splits import Fold, choose_fold
from medclip.evaluation.protocols import Figure, Predicted, classification_figures, with_families
from medclip.files.outputs import new_folder
from medclip.training.baseline import BASELINE, MANIFEST, Baseline, Pictures, fit_baseline, read_pictures, save_baseline
from medclip.training.settings import BaselineSettings

__all__ = ["baseline_figures", "train_baseline"]

_PROTOCOL = "scan+history"
"""The design asks with a scan and a text, so it is measured where a query has both and nothing else."""


def _measure(baseline: Baseline, held_out: Sequence[Case], pictures: Pictures) -> list[Figure]:
    held_out = [case for case in held_out if pictures[case.id]]
    figures: list[Figure] = []
    for name, probabilities in baseline.probabilities(held_out, pictures).items():
        known = [i for i, case in enumerate(held_out) if name in case.case_labels]
        labels = [held_out[i].case_labels[name] for i in known]
        if known:
            patients = [held_out[i].patient for i in known]
            predicted = Predicted(baseline.classes[name], probabilities[known], labels, patients)
            figures += classification_figures(_PROTOCOL, name, BASELINE, predicted)
    return with_families(figures)


def baseline_figures(
    fold: Fold,
    pictures: Pictures,
    settings: BaselineSettings,
    progress: Callable[[int, int], None] = lambda _i, _n: None,
) -> list[Figure]:
    """Train on a fold's cases, and measure on those held out."""
    return _measure(fit_baseline(fold.train, pictures, settings, progress), fold.held_out, pictures)


def train_baseline(
    folder: Path,
    out: Path,
    settings: BaselineSettings,
    *,
    force: bool = False,
    stage: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _i, _n: None,
) -> list[Figure]:
    """Train the baseline on scans and histories of the train cases, write it, and return its figures on the dev cases.

    Raises:
        CaseError: the cases cannot be read or trained on.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    cases = read_cases(folder)
    fold = choose_fold(cases, settings.seed)
    with new_folder(out, force=force, marker=MANIFEST) as target:
        stage("reading scans")
        pictures = read_pictures([*fold.train, *fold.held_out], folder, progress)
        stage("training the baseline")
        trained = fit_baseline(fold.train, pictures, settings, progress)
        figures = _measure(trained, fold.held_out, pictures)
        save_baseline(trained, settings, {"dev": [asdict(figure) for figure in figures]}, target)
    return figures
