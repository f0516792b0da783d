"""How much each knob of training matters: one at a time, at half its value, at it, and at double, on MedPix's dev split.

``make bench-settings CASES=cases``: tower features once (some minutes), then seconds a training. The figure is the mean
recall@10 of both directions between scans and captions; the dev cases choose nothing, no epoch either.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medclip.cases import read_cases
from medclip.cases.splits import choose_fold
from medclip.training import projection
from medclip.training.attention import attention_of
from medclip.training.choosing import retrieval_of
from medclip.training.features import PictureFeatures, compute_features
from medclip.training.run import exported_towers
from medclip.training.settings import AttentionSettings, Settings
from medclip.training.towers import load_towers
from medclip.training.trainer import train_projection

KNOBS = (
    "batch",
    "learning_rate",
    "weight_decay",
    "findings_share",
    "sentence_share",
    "text_noise",
    "aligned",
    "hidden",
)
DROPOUTS = ("SCAN_DROPOUT", "TEXT_DROPOUT", "HIDDEN_DROPOUT")
ATTENTION = ("steps", "scale")


def recall(train: PictureFeatures, dev: PictureFeatures, settings: Settings, attention: AttentionSettings) -> float:
    """Mean recall@10 of both directions on dev after training on train."""
    weights = attention_of(train, seed=settings.seed, settings=attention)
    learnt = train_projection(train.pooled(weights), None, settings).projection
    found = retrieval_of(learnt, dev.pooled(weights))
    assert found is not None
    return found.mean_recall10


def trials(
    measure: Callable[[Settings, AttentionSettings], list[float]],
) -> Iterator[tuple[str, Any, list[list[float]]]]:
    """(knob, value, figures of every seed at half, at it, and at double)."""
    settings, attention = Settings(), AttentionSettings()
    plain = measure(settings, attention)

    def around(value: float) -> tuple[Any, Any]:
        return (value // 2, value * 2) if isinstance(value, int) else (value / 2, value * 2)

    for name in KNOBS:
        value = getattr(settings, name)
        half, double = (measure(replace(settings, **{name: other}), attention) for other in around(value))
        yield name, value, [half, plain, double]
    for name in ATTENTION:
        value = getattr(attention, name)
        half, double = (measure(settings, replace(attention, **{name: other})) for other in around(value))
        yield f"attention {name}", value, [half, plain, double]
    for name in DROPOUTS:
        value, found = getattr(projection, name), []
        for other in (value / 2, min(0.9, value * 2)):
            setattr(projection, name, other)
            found.append(measure(settings, attention))
        setattr(projection, name, value)
        yield name, value, [found[0], plain, found[1]]


def main() -> None:
    """Print a row a knob."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="where tower features are kept")
    options = parser.parse_args()
    fold = choose_fold(read_cases(options.cases), 0)
    with tempfile.TemporaryDirectory() as scratch:
        work = options.cache or Path(scratch)
        towers = load_towers("default")
        runner = exported_towers(towers, work / "towers")
        train, dev = (
            compute_features(
                list(part), options.cases, runner, augmentations=number, seed=0, cache=work, fingerprint="default"
            )
            for part, number in ((fold.train, Settings().augmentations), (fold.held_out, 0))
        )

    def measure(settings: Settings, attention: AttentionSettings) -> list[float]:
        return [recall(train, dev, replace(settings, seed=seed), attention) for seed in range(options.seeds)]

    torch.set_num_threads(2)
    print(f"{'knob':<20}{'value':>8}{'half':>9}{'as is':>9}{'double':>9}   sd over {options.seeds} seeds, as is")
    for name, value, found in trials(measure):
        means = "".join(f"{np.mean(one):>9.3f}" for one in found)
        print(f"{name:<20}{value:>8g}{means}   {np.std(found[1]):.3f}", flush=True)


if __name__ == "__main__":
    main()
