"""Training of the projection on cached tower features.

A batch is a set of scans, each as itself or as one of its augmentations, beside one text of its case: its caption
most of the time, else the findings or one sentence. Texts get Gaussian noise. What each of these is worth stands in
docs/figures.md under "What helped".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medclip.errors import CaseError
from medclip.training.checkpoint import Checkpoint, State, optimiser_tensors, restore_optimiser
from medclip.training.choosing import NO_DEV, Choice, choose_by, retrieval_of
from medclip.training.features import CaseFeatures, CaseRows
from medclip.training.losses import contrastive_loss
from medclip.training.projection import GAUGED, Projection, Shape
from medclip.training.settings import AVERAGING_START, MOST_SCALE, WARM_UP, Settings

__all__ = ["Batch", "Epoch", "Sampler", "Trained", "set_rate", "train_projection"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; recall is on the dev cases."""

    number: int  # counted from 1
    loss: float
    recall: float | None  # mean of recall@10 of both directions between scans and texts; None where nothing can choose


@dataclass(frozen=True)
class Batch:
    """Rows of one batch, each (b,): which copy of which scan beside which text."""

    augmentations: NDArray[np.int64]
    scans: NDArray[np.int64]
    texts: NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """The best projection and how training went."""

    projection: Projection
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0  # number of the epoch whose weights were kept
    choice: Choice = NO_DEV  # what chose it


class Sampler:
    """Draws batches; every draw depends on the seed and the epoch alone, so that a resumed run repeats it."""

    def __init__(
        self, rows: CaseRows, *, seed: int, batch: int, augmentations: int, findings_share: float, sentence_share: float
    ) -> None:
        self._rows, self._seed, self._size, self._augmentations = rows, seed, batch, augmentations
        self._findings, self._sentence = findings_share, sentence_share
        cases = range(len(rows.cases))
        self._by_kind = {kind: [rows.texts(c, kind) for c in cases] for kind in ("findings", "sentence", "history")}
        fallback = [
            next((own[0] for kind in ("findings", "history") if len(own := self._by_kind[kind][c])), -1) for c in cases
        ]
        own = rows.caption_row
        self._own = np.where(own >= 0, own, np.asarray(fallback, np.int64)[rows.scan_case])
        self.scans = np.flatnonzero(self._own >= 0)
        if len({int(rows.scan_case[scan]) for scan in self.scans}) < 2:
            raise CaseError(
                "fewer than two cases have both a scan and a readable text; the alignment cannot be trained"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.scans) // self._size)

    def _text(self, scan: int, draw: float, rng: np.random.Generator) -> int:
        case = int(self._rows.scan_case[scan])
        kind = "findings" if draw < self._findings else "sentence" if draw > 1 - self._sentence else ""
        rows = self._by_kind[kind][case] if kind else np.empty(0, np.int64)
        return int(rng.choice(rows)) if len(rows) else int(self._own[scan])

    def epoch(self, number: int) -> list[Batch]:
        """The batches of one epoch."""
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(self.scans)
        size = min(self._size, len(order))
        batches = []
        for start in range(0, len(order) - size + 1, size):
            scans = order[start : start + size]
            augmentations = rng.integers(0, self._augmentations + 1, size)
            texts = [self._text(int(i), float(u), rng) for i, u in zip(scans, rng.random(size), strict=True)]
            batches.append(Batch(augmentations, scans, np.asarray(texts, np.int64)))
        return batches


def train_projection(
    train: CaseFeatures,
    dev: CaseFeatures | None,
    settings: Settings,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """Train a projection on `train`.

    With `dev`, the epoch of best recall on it is kept, and training stops when it no longer improves; without, or where
    nothing of it can choose (`choose_by`), training runs to the last epoch, which is kept: a figure measured on held-out
    cases must have chosen nothing.

    Raises:
        CaseError: there are too few scans with a text, or the checkpoint was begun with other settings.
    """
    choice = NO_DEV if dev is None else choose_by(dev.rows)
    chooser = dev if choice.possible else None
    torch.manual_seed(settings.seed)
    sampler = Sampler(
        train.rows,
        seed=settings.seed,
        batch=settings.batch,
        augmentations=len(train.scans) - 1,
        findings_share=settings.findings_share,
        sentence_share=settings.sentence_share,
    )
    projection = Projection(_shape(train, settings))
    projection.fit_statistics(train.scans[0], train.texts, train.rows.text_kind)
    projection.attention.copy_(torch.from_numpy(train.attention))
    projection.to(device)
    optimiser = torch.optim.AdamW(
        projection.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = {name: p.detach().clone() for name, p in projection.named_parameters()}
    best_weights = dict(average)
    epochs: list[Epoch] = []
    best = 0
    saved = Checkpoint(checkpoint, asdict(settings))
    if (state := saved.load()) is not None:
        epochs, best = [Epoch(**epoch) for epoch in state.facts["epochs"]], state.facts["best"]
        projection.load_state_dict(state.groups["now"])
        average = {name: t.to(device) for name, t in state.groups["average"].items()}
        best_weights = {name: t.to(device) for name, t in state.groups["best"].items()}
        restore_optimiser(optimiser, state.groups["optimiser"])
    scans, texts = (torch.from_numpy(x).to(device) for x in (train.scans, train.texts))
    cases = torch.from_numpy(train.rows.scan_case).to(device)
    noise = settings.text_noise * projection.text.scale.mean()
    steps = sampler.steps
    for number in range(len(epochs) + 1, settings.epochs + 1):
        if chooser is not None and epochs and number - 1 - best >= settings.patience:
            break
        generator = torch.Generator().manual_seed(settings.seed * 100_003 + number)
        torch.manual_seed(settings.seed * 100_003 + number)  # dropout
        losses = []
        for step, batch in enumerate(sampler.epoch(number)):
            set_rate(optimiser, [settings.learning_rate], (number - 1) * steps + step, settings.epochs * steps)
            projection.train()
            picked = texts[batch.texts]
            picked = picked + noise * torch.randn(picked.shape, generator=generator).to(device)
            loss = contrastive_loss(
                projection.aligned_scan(scans[batch.augmentations, batch.scans]),
                projection.aligned_text(picked),
                cases[batch.scans],
                projection.log_scale.exp().clamp(max=MOST_SCALE),
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            done = (number - 1) * steps + step + 1
            decay = min(settings.averaging, done / (done + AVERAGING_START))
            with torch.no_grad():
                for name, parameter in projection.named_parameters():
                    average[name].lerp_(parameter, 1 - decay)
        recall = None if chooser is None else _recall_with(projection, average, chooser)
        epochs.append(Epoch(number, float(np.mean(losses)), recall))
        if not best or recall is None or recall > (epochs[best - 1].recall or 0.0):
            best, best_weights = number, {name: p.clone() for name, p in average.items()}
        saved.save(
            State(
                groups={
                    "now": projection.state_dict(),
                    "average": average,
                    "best": best_weights,
                    "optimiser": optimiser_tensors(optimiser),
                },
                facts={"epochs": [asdict(epoch) for epoch in epochs], "best": best},
            )
        )
        progress(epochs[-1])
    projection.load_state_dict(best_weights, strict=False)
    return Trained(projection.cpu().eval(), epochs, best, choice)


def _shape(features: CaseFeatures, settings: Settings) -> Shape:
    d_scan, d_text = features.scans.shape[-1], features.texts.shape[-1]
    return Shape(
        scan_features=d_scan,
        text_features=d_text,
        aligned=settings.aligned,
        hidden=settings.hidden,
        scan_kept=min(settings.scan_kept, d_scan),
        text_kept=min(settings.text_kept, d_text),
        aligned_share=settings.aligned_share,
        gauge=len(GAUGED),
    )


def set_rate(optimiser: torch.optim.Optimizer, peaks: Sequence[float], step: int, total: int) -> None:
    """Linear warm-up over `WARM_UP` steps, then a cosine to zero (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    share = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / total))
    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
        group["lr"] = peak * share


def _recall_with(projection: Projection, weights: dict[str, Tensor], dev: CaseFeatures) -> float | None:
    """Mean recall@10 of both directions on `dev` with the averaged weights."""
    current = {name: p.detach().clone() for name, p in projection.named_parameters()}
    projection.load_state_dict(weights, strict=False)
    measured = retrieval_of(projection, dev)
    projection.load_state_dict(current, strict=False)
    return None if measured is None else measured.mean_recall10
