"""`--unfreeze`: the towers themselves are tuned, on pixels and tokens, before the projection is trained."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclip.cases.splits import Fold
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.modalities.text.encoder import TextTower
from medclip.modalities.text.tokens import TextTokenizer
from medclip.training.augmentation import augment
from medclip.training.checkpoint import Checkpoint, State, optimiser_tensors, restore_optimiser
from medclip.training.choosing import choose_by, retrieval_of
from medclip.training.features import CaseFeatures, gather
from medclip.training.losses import contrastive_loss
from medclip.training.projection import Projection, Shape
from medclip.training.settings import MOST_SCALE, TuneSettings
from medclip.training.towers import Towers, copy_tokenizer
from medclip.training.trainer import Epoch, Sampler, set_rate

__all__ = ["tune_towers"]


class _Data:
    """Pixels and tokens of one side of a fold, read as they are needed."""

    def __init__(self, fold_cases: Sequence[Any], folder: Path, towers: Towers, tokenizer: TextTokenizer) -> None:
        self.rows, self.texts = gather(fold_cases, towers.reading.scripts)
        self.files = [folder / scan.file for case in fold_cases for scan in case.scans]
        self.how, self.tokenizer = towers.preprocessing, tokenizer

    def pictures(self, rows: Sequence[int], seed: tuple[int, ...] | None) -> Tensor:
        """(n, size, size) uint8: the middle slice; where a seed is given any slice, augmented."""
        out = []
        for row in rows:
            read = read_scan(self.files[row])
            if seed is None:
                out.append(prepare_scan(read.middle, self.how))
            else:
                rng = np.random.default_rng((*seed, int(row)))
                out.append(augment(read.pictures[rng.integers(len(read.pictures))], self.how, rng))
        return torch.from_numpy(np.stack(out))

    def tokens(self, rows: Sequence[int]) -> Tensor:
        """(n, tokens) int64: the first window of each text; tuning reads no further."""
        windows = self.tokenizer.windows([self.texts[row] for row in rows])
        first = np.searchsorted(windows.owner, np.arange(len(rows)))
        return torch.from_numpy(windows.ids[first])


def _features(data: _Data, scan_tower: ScanTower, text_tower: TextTower, device: str, batch: int) -> CaseFeatures:
    """Features by the towers as they are now."""
    with torch.inference_mode():
        scans = [
            scan_tower(data.pictures(range(i, min(i + batch, len(data.files))), None).to(device)).cpu()
            for i in range(0, len(data.files), batch)
        ]
        texts = [
            text_tower(data.tokens(range(i, min(i + batch, len(data.texts)))).to(device)).cpu()
            for i in range(0, len(data.texts), batch)
        ]
    seen = torch.cat(scans).numpy()
    return CaseFeatures(data.rows, seen[None], torch.cat(texts).numpy(), np.zeros(seen.shape[1], np.float32))


def tune_towers(
    towers: Towers,
    fold: Fold,
    folder: Path,
    settings: TuneSettings,
    *,
    device: str,
    checkpoint: Path,
    progress: Callable[[Epoch, int], None],
) -> None:
    """Tune both towers in place by the contrastive loss; the epoch of best dev recall is kept, or the last (`choose_by`).

    Batch-norm statistics stay those of pretraining. Pixels are augmented anew each epoch (`augment`: no flips).
    """
    torch.manual_seed(settings.seed)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    copy_tokenizer(towers, checkpoint.parent)
    tokenizer = TextTokenizer(checkpoint.parent / "tokenizer.json", towers.reading)
    train, dev = (_Data(cases, folder, towers, tokenizer) for cases in (fold.train, fold.held_out))
    whole = towers.preprocessing.model_copy(update={"crops": 0})
    scan_tower = ScanTower(towers.model.visual, whole).to(device).eval()
    text_tower = TextTower(towers.model, towers.reading).to(device).eval()
    sampler = Sampler(
        train.rows,
        seed=settings.seed,
        batch=settings.batch,
        augmentations=0,
        findings_share=settings.findings_share,
        sentence_share=settings.sentence_share,
    )
    projection = Projection(
        Shape(scan_tower.width, text_tower.width, aligned=256, hidden=512, scan_kept=1, text_kept=1, aligned_share=1.0)
    )
    first = _features(train, scan_tower, text_tower, device, settings.batch)
    projection.fit_statistics(first.scans[0], first.texts, first.rows.text_kind)
    projection.to(device)
    towers.model.requires_grad_(True)
    visual = list(scan_tower.visual.parameters())
    words = [p for name, p in towers.model.named_parameters() if not name.startswith(("visual.", "logit_"))]
    groups = [visual, words]
    peaks = [settings.scan_rate, settings.text_rate, settings.head_rate]
    optimiser = torch.optim.AdamW(
        [{"params": p} for p in (*groups, list(projection.parameters()))], weight_decay=settings.weight_decay
    )
    cases = torch.from_numpy(train.rows.scan_case).to(device)
    best_weights = {name: t.clone() for name, t in towers.model.state_dict().items()}
    epochs: list[Epoch] = []
    best, chosen = 0, choose_by(dev.rows).possible
    saved = Checkpoint(checkpoint, asdict(settings))
    if (state := saved.load()) is not None:
        epochs, best = [Epoch(**epoch) for epoch in state.facts["epochs"]], state.facts["best"]
        towers.model.load_state_dict(state.groups["now"])
        projection.load_state_dict(state.groups["projection"])
        restore_optimiser(optimiser, state.groups["optimiser"])
        best_weights = state.groups["best"]
    for number in range(len(epochs) + 1, settings.epochs + 1):
        torch.manual_seed(settings.seed * 100_003 + number)
        losses = []
        for step, batch in enumerate(sampler.epoch(number)):
            done, total = (number - 1) * sampler.steps + step, settings.epochs * sampler.steps
            set_rate(optimiser, peaks, done, total)
            projection.train()
            pictures = train.pictures(batch.scans.tolist(), (settings.seed, number)).to(device)
            loss = contrastive_loss(
                projection.aligned_scan(scan_tower(pictures)),
                projection.aligned_text(text_tower(train.tokens(batch.texts.tolist()).to(device))),
                cases[batch.scans],
                projection.log_scale.exp().clamp(max=MOST_SCALE),
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([p for group in groups for p in group], 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
        recall = None
        if chosen:
            measured = retrieval_of(projection, _features(dev, scan_tower, text_tower, device, settings.batch))
            recall = None if measured is None else measured.mean_recall10
        epochs.append(Epoch(number, float(np.mean(losses)), recall))
        if best == 0 or recall is None or recall > (epochs[best - 1].recall or 0.0):
            best, best_weights = number, {name: t.clone() for name, t in towers.model.state_dict().items()}
        saved.save(
            State(
                groups={
                    "now": towers.model.state_dict(),
                    "projection": projection.state_dict(),
                    "optimiser": optimiser_tensors(optimiser),
                    "best": best_weights,
                },
                facts={"epochs": [asdict(epoch) for epoch in epochs], "best": best},
            )
        )
        progress(epochs[-1], settings.epochs)
    towers.model.load_state_dict(best_weights)
    towers.model.requires_grad_(False).cpu().eval()
