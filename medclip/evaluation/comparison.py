"""``medclip train --compare``: several towers on the same cases, measured alike, so that a group can choose."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medclip.bundle.layout import ServingLayout
from medclip.bundle.serving import ServingTowers
from medclip.cases.case import Case
from medclip.errors import CaseError
from medclip.evaluation.protocols import Figure, Predicted
from medclip.evaluation.subgroups import Answered, paired_differences, pooled_answers
from medclip.modalities.text.clean import readable

if TYPE_CHECKING:
    from medclip.training.run import Reporter
    from medclip.training.settings import Settings
    from medclip.training.towers import Towers

__all__ = ["Compared", "Cost", "Difference", "compare_towers"]

_REPEATS = 15  # of which the median is told


@dataclass(frozen=True)
class Cost:
    """What serving towers takes, by onnxruntime on one thread."""

    scan_seconds: (
        float  # a prepared picture, with its crops where a model reads them; decoding is apart, and the same for all
    )
    text_seconds: float  # a text of the cases, median
    megabytes: float  # of both graphs and the tokenizer


@dataclass(frozen=True)
class Difference:
    """To the first towers: of a metric of the answer, by patients."""

    protocol: str
    label_set: str
    metric: str
    value: float
    interval: tuple[float, float] | None  # 95 %; None where no draw of patients differs


@dataclass(frozen=True)
class Compared:
    """One of the towers."""

    name: str
    origin: str  # whose weights these are
    licence: str
    cost: Cost
    figures: Sequence[Figure]
    differences: Sequence[Difference]  # nothing for the first


@dataclass
class _Seen:
    """What `medclip.evaluation.crossval.Observer` was shown."""

    origin: str = ""
    licence: str = ""
    cost: Cost | None = None
    answers: list[Answered] = field(default_factory=list)


def compare_towers(
    names: Sequence[str],
    cases: Sequence[Case],
    cases_folder: Path,
    *,
    folds: int | None,
    crops: bool = False,
    settings: "Settings",
    device: str = "cpu",
    threads: int | None = None,
    report: "Callable[[str], Reporter] | None" = None,
) -> list[Compared]:
    """Train with each of several towers and measure them on the same held-out cases, by the same seed.

    Every figure is one that ``medclip evaluate --towers NAME`` gives. All names are loaded before the first is trained.

    Args:
        names: two or more, as for ``--towers``; differences are to the first.
        report: name → what to tell of its progress.

    Raises:
        BundleError: towers are not known, or cannot be loaded.
        CaseError: fewer than two names, one named twice, or what `cross_validate` refuses.
    """
    from medclip.evaluation.crossval import Observer, cross_validate
    from medclip.training.run import Reporter
    from medclip.training.towers import load_towers

    if len(names) < 2:
        raise CaseError("--compare: name two towers or more, as in  --compare default multilingual")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CaseError(f"--compare: {twice} is named twice; name each towers once")
    for name in names:
        load_towers(name, crops=crops)
    texts = [text for case in cases for text in (case.report, case.note_text("history")) if text][:_REPEATS]
    found: list[Compared] = []
    reference: dict[tuple[str, str], Predicted] = {}
    for name in names:
        seen = _Seen()

        def exported(towers: "Towers", served: ServingTowers, folder: Path, seen: _Seen = seen) -> None:
            seen.origin, seen.licence = towers.origin, towers.licence
            seen.cost = _cost(served, folder, texts)

        figures = cross_validate(
            cases,
            cases_folder,
            folds=folds,
            towers_name=name,
            crops=crops,
            settings=settings,
            device=device,
            threads=threads,
            report=report(name) if report else Reporter(),
            observer=Observer(exported, seen.answers.extend),
        )
        answers = {key: predicted for key, (predicted, _) in pooled_answers(seen.answers).items()}
        differences = [
            Difference(*key, metric, value, interval)
            for key in answers
            if key in reference
            for metric, (value, interval) in paired_differences(reference[key], answers[key]).items()
        ]
        reference = reference or answers
        assert seen.cost is not None, "towers are exported before anything is measured"
        found.append(Compared(name, seen.origin, seen.licence, seen.cost, figures, differences))
    return found


def _cost(served: ServingTowers, folder: Path, texts: Sequence[str]) -> Cost:
    size = served.preprocessing.size
    picture = np.random.default_rng(0).integers(0, 256, (1, size, size), np.uint8)
    pictures = np.repeat(picture, 1 + served.preprocessing.cut**2, 0)
    layout = ServingLayout(folder)
    files = (layout.scan_tower, layout.text_tower, layout.tokenizer)
    read = [cleaned for text in texts if (cleaned := readable(text, served.scripts)) is not None]
    return Cost(
        scan_seconds=_median([lambda: served.scan_features(pictures)] * _REPEATS),
        text_seconds=_median([lambda text=text: served.text_features([text]) for text in read]),  # type: ignore[misc]
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
    )


def _median(actions: Sequence[Callable[[], object]]) -> float:
    """Median seconds of some actions, after the first was run once; NaN of none."""
    if not actions:
        return float("nan")
    actions[0]()
    taken = []
    for action in actions:
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
