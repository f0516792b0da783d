"""Attention over the pictures of one scan: the slices of a volume, the crops of a picture (Ilse et al. 2018, arXiv 1802.04712).

What a slice weighs is learnt without labels: the pictures of a case, pooled by attention, must find the case's report
among the others'. A case with several scans of one picture each teaches as much as a volume does. The heads that the loss
needs are thrown away; the weights alone are kept, and a scan of one picture is what it was.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from medclip.training.features import PictureFeatures
from medclip.training.losses import contrastive_loss
from medclip.training.settings import AttentionSettings

__all__ = ["attention_of", "fit_attention"]

Array = NDArray[np.float32]


def attention_of(features: PictureFeatures, *, seed: int = 0, settings: AttentionSettings | None = None) -> Array:
    """(d,) attention weights, learnt from the scans as they are and the reports of these cases."""
    rows = features.rows
    first = [next(iter(rows.texts(i, "report")), -1) for i in range(len(rows.cases))]
    told = np.flatnonzero(np.asarray(first) >= 0)
    number = np.full(len(rows.cases), -1, np.int64)
    number[told] = np.arange(len(told))
    owner = number[rows.scan_case[features.picture_scan]]
    return fit_attention(
        features.pictures[0], owner, features.texts[np.asarray(first)[told]], seed=seed, settings=settings
    )


def fit_attention(
    pictures: Array,
    owner: NDArray[np.int64],
    reports: Array,
    *,
    seed: int = 0,
    settings: AttentionSettings | None = None,
) -> Array:
    """(d,) weights w: a picture of features x weighs exp(w·x), of all those of its scan. Zeros: all weigh the same.

    Args:
        pictures: (p, d) features.
        owner: (p,) row of `reports` that each belongs to, or −1.
        reports: (c, t) features of the reports of cases.

    Returns:
        Zeros where too few cases have a report and several pictures.
    """
    s = settings or AttentionSettings()
    bags = [np.flatnonzero(owner == case) for case in range(len(reports))]
    bags = [bag for bag in bags if len(bag) > 1]
    if len(bags) < s.least_cases:
        return np.zeros(pictures.shape[1], np.float32)
    rng = np.random.default_rng((seed, 2))
    torch.manual_seed(seed)
    mean, spread = pictures.mean(0), pictures.std(0) + 1e-6
    x = torch.from_numpy((pictures - mean) / spread)
    y = torch.from_numpy(reports - reports.mean(0)) / float(reports.std(0).mean() + 1e-6)
    attend = nn.Linear(x.shape[1], 1, bias=False)
    nn.init.zeros_(attend.weight)
    drop = nn.Dropout(s.dropout)
    heads = nn.ModuleList(nn.Linear(width, s.width) for width in (x.shape[1], y.shape[1]))
    parameters = [*attend.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay)
    for _ in range(s.steps):
        chosen = [rng.permutation(bags[i])[: s.most] for i in rng.permutation(len(bags))[: s.batch]]
        rows = torch.from_numpy(np.concatenate(chosen))
        place = torch.from_numpy(np.repeat(np.arange(len(chosen)), [len(bag) for bag in chosen]))
        weight = attend(x[rows])[:, 0].clamp(-s.limit, s.limit).exp()
        total = torch.zeros(len(chosen)).index_add(0, place, weight)
        pooled = torch.zeros(len(chosen), x.shape[1]).index_add(0, place, x[rows] * (weight / total[place])[:, None])
        cases = torch.from_numpy(owner[[bag[0] for bag in chosen]])
        one, other = (
            functional.normalize(head(part), dim=1) for head, part in zip(heads, (drop(pooled), y[cases]), strict=True)
        )
        loss = contrastive_loss(one, other, cases, torch.tensor(s.scale))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return np.asarray(attend.weight.detach().numpy()[0] / spread, np.float32)
