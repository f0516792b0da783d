"""Training of the fuser on what the projection gives: one joint loss of alignment, labels and similarity.

Every step draws two views of each case of a batch: each view of some of its modalities, some of its scans as themselves
or as augmentations, one of its texts or two, some of its measurements. So the network meets every subset that a
query may come with (modality dropout), and the two views of a case must find each other whatever they are made of.

How many steps are taken is chosen first, on patients left out: where the labels can be learnt from few cases the network
goes on to the end, and where it would only learn them by heart it stops early. Then it is trained on all of them.

Scan and text vectors enter as constants: labels shape the joint block alone, never the alignment of scans with texts.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medclip.fusion import MODALITIES, Fuser
from medclip.fusion.base import FuserShape, build_network, require_fuser
from medclip.fusion.case_vector import unit
from medclip.label_sets import family_of
from medclip.modalities.measurements.coding import MeasurementCoding, fit_coding
from medclip.training.features import CaseFeatures
from medclip.training.losses import contrastive_loss, supervised_contrastive_loss
from medclip.training.projection import Projection
from medclip.training.settings import AVERAGING_START, FuserSettings
from medclip.training.trainer import set_rate

__all__ = ["TrainedFuser", "embed_features", "run_network", "train_fuser"]

Array = NDArray[np.float32]


def run_network(network: nn.Module, tokens: Array) -> Array:
    """(n, modalities, token + 1) of `Fuser.tokens` through a fuser's network, in eval mode: (n, joint) unit vectors."""
    packed = torch.from_numpy(tokens)
    with torch.inference_mode():
        return np.asarray(network(packed[..., :-1], packed[..., -1]).numpy(), np.float32)


@dataclass(frozen=True)
class TrainedFuser:
    """A fuser with what it needs to know of measurements."""

    settings: FuserSettings
    coding: MeasurementCoding
    shape: FuserShape
    network: nn.Module | None  # None for sum
    aligned: int  # width of the block that the projection has trained
    gauge: int  # width of the block that says how far the features point away from the training cases'

    def fuser(self) -> Fuser:
        """The same in numpy, its network run by torch."""
        base = self.shape.token - self.coding.width
        if self.network is None:
            return Fuser(base, self.coding.width, aligned=self.aligned, gauge=self.gauge)
        run = partial(run_network, self.network)
        joint, share = self.shape.joint, self.settings.share
        return Fuser(base, self.coding.width, joint, share, run, aligned=self.aligned, gauge=self.gauge)


def embed_features(projection: Projection, features: CaseFeatures, augmentations: int = 0) -> tuple[Array, Array]:
    """(1 + augmentations, s, base) vectors of the scans, then as augmented, and (t, base) of the texts."""
    with torch.inference_mode():
        scans = [projection.embed_scan(torch.from_numpy(own)).numpy() for own in features.scans[: augmentations + 1]]
        return np.stack(scans), projection.embed_text(torch.from_numpy(features.texts)).numpy()


def _padded(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Ragged rows as one table, padded with −1."""
    out = np.full((len(rows), max((len(row) for row in rows), default=0) or 1), -1, np.int64)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


class _Views:
    """Draws views of cases as tokens."""

    def __init__(
        self, projection: Projection, features: CaseFeatures, coding: MeasurementCoding, settings: FuserSettings
    ) -> None:
        rows, cases = features.rows, range(len(features.rows.cases))
        self._scans, self._texts = embed_features(projection, features, len(features.scans) - 1)
        self._scan_rows = _padded([np.flatnonzero(rows.scan_case == i) for i in cases])
        self._history = _padded([rows.texts(i, "history")[:1] for i in cases])[:, 0]
        kinds = ("report", "findings", "caption", "sentence")
        self._report = _padded([np.concatenate([rows.texts(i, kind) for kind in kinds]) for i in cases])
        self._scores = np.stack([coding.scores(case.measured) for case in rows.cases])
        self._coding, self._settings = coding, settings
        self.has = np.stack(
            [
                (self._scan_rows >= 0).any(1),
                (self._history >= 0) | (self._report >= 0).any(1),
                ~np.isnan(self._scores).all(1) if coding.columns else np.zeros(len(cases), bool),
            ],
            axis=1,
        )

    def _scan(self, cases: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Mean vector of some of each case's scans."""
        rows = self._scan_rows[cases]
        order = np.where(rows >= 0, rng.random(rows.shape), 2).argsort(1)[:, : self._settings.scans]
        rows = np.take_along_axis(rows, order, 1)
        wanted = 1 + (rng.random(len(cases)) * (rows >= 0).sum(1)).astype(np.int64)
        chosen = (rows >= 0) & (np.arange(rows.shape[1]) < wanted[:, None])
        augmentations = rng.integers(0, len(self._scans), rows.shape)
        vectors = self._scans[augmentations, rows] * chosen[..., None]
        return np.asarray(vectors.sum(1) / np.maximum(chosen.sum(1, keepdims=True), 1), np.float32)

    def _text(self, cases: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Mean vector of each case's history, one text of its report, or both."""
        history, reports = self._history[cases], self._report[cases]
        count = (reports >= 0).sum(1)
        report = reports[np.arange(len(cases)), (rng.random(len(cases)) * count).astype(np.int64)]
        draw = rng.random(len(cases))
        with_history = (history >= 0) & ((draw < self._settings.history) | (count == 0))
        with_report = (count > 0) & ((draw > 1 - self._settings.report) | (history < 0))
        summed = self._texts[history] * with_history[:, None] + self._texts[report] * with_report[:, None]
        return np.asarray(summed, np.float32)

    def draw(self, cases: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(n, modalities, token) vectors of one view of each case, and (n, modalities) which are there."""
        s = self._settings
        has = self.has[cases]
        whole = rng.random((len(cases), 1)) < s.whole
        shown = (whole | (rng.random(has.shape) < s.modality_kept)) & has
        shown[~shown.any(1)] = has[~shown.any(1)]
        base, width = self._scans.shape[2], self._coding.width
        tokens = np.zeros((len(cases), len(MODALITIES), base + width), np.float32)
        noise = rng.normal(0, s.noise / base**0.5, (2, len(cases), base)).astype(np.float32)
        tokens[:, 0, :base] = unit(self._scan(cases, rng)) + noise[0]
        tokens[:, 1, :base] = unit(self._text(cases, rng)) + noise[1]
        if width:
            dropped = rng.random((len(cases), len(self._coding.columns))) > s.value_kept
            coded = self._coding.code(np.where(dropped, np.nan, self._scores[cases]))
            tokens[:, 2, base:] = coded
            shown[:, 2] &= coded.any(1)
        present = shown.astype(np.float32)
        return torch.from_numpy(unit(tokens) * present[..., None]), torch.from_numpy(present)


@dataclass(frozen=True)
class _LabelSet:
    classes: int
    labels: NDArray[np.int64]  # (cases,), −1 where unknown
    weights: Tensor  # (classes,)
    share: float  # of the loss on labels; the members of a multi-label set have that of one set together


def _label_sets(features: CaseFeatures) -> dict[str, _LabelSet]:
    """Every label set of at least two classes; a class weighs by the inverse root of its frequency."""
    cases = features.rows.cases
    out: dict[str, _LabelSet] = {}
    for name in sorted({name for case in cases for name in case.case_labels}):
        classes = sorted({case.case_labels[name] for case in cases if name in case.case_labels})
        if len(classes) < 2:
            continue
        position = {label: i for i, label in enumerate(classes)}
        labels = np.asarray([position.get(case.case_labels.get(name, ""), -1) for case in cases])
        counts = np.bincount(labels[labels >= 0], minlength=len(classes))
        out[name] = _LabelSet(len(classes), labels, torch.from_numpy(1 / np.sqrt(counts)).float(), 1.0)
    members = Counter(family_of(name) or name for name in out)
    return {name: replace(own, share=1 / members[family_of(name) or name] / len(members)) for name, own in out.items()}


def train_fuser(
    projection: Projection,
    features: CaseFeatures,
    settings: FuserSettings,
    *,
    seed: int = 0,
    without: str | None = None,
) -> TrainedFuser:
    """Fit the coding of measurements and, unless the fuser is ``sum``, its network; the last weights are kept.

    Args:
        without: a modality that is hidden, to measure what it gives.

    Raises:
        BundleError: there is no such fuser.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is small: more threads spend their time waiting for each other
    try:
        return _train(projection, features, settings, seed, without)
    finally:
        torch.set_num_threads(threads)


def _train(
    projection: Projection, features: CaseFeatures, settings: FuserSettings, seed: int, without: str | None
) -> TrainedFuser:
    coding = fit_coding(features.rows.cases)
    shape = FuserShape(projection.shape.width + coding.width, settings.hidden, settings.joint, settings.drop)
    if settings.name == "sum":
        return TrainedFuser(settings, coding, shape, None, projection.shape.aligned, projection.shape.gauge)
    require_fuser(settings.name)
    views = _Views(projection, features, coding, settings)
    if without is not None:
        views.has[:, MODALITIES.index(without)] = False
    fit = _Fit(settings, shape, views, _label_sets(features), seed)
    usable = np.flatnonzero(views.has.any(1))
    patients = sorted({features.rows.cases[i].patient for i in usable})
    chosen = np.random.default_rng((seed, 2)).permutation(len(patients))[: round(settings.held * len(patients))]
    held_patients = {patients[i] for i in chosen}
    held = np.asarray([features.rows.cases[i].patient in held_patients for i in usable], bool)
    steps = settings.steps
    if fit.sets and held.sum() >= settings.least_held:
        steps = fit.run(usable[~held], settings.steps, held=usable[held]).best
    network = fit.run(usable, steps).network
    return TrainedFuser(settings, coding, shape, network, projection.shape.aligned, projection.shape.gauge)


@dataclass(frozen=True)
class _Fitted:
    network: nn.Module
    best: int  # the step of least loss on the cases held out; the last where none are


class _Fit:
    """One network and its classifiers, fitted as often as asked."""

    def __init__(
        self, settings: FuserSettings, shape: FuserShape, views: _Views, sets: dict[str, _LabelSet], seed: int
    ) -> None:
        self.settings, self.shape, self.views, self.sets, self.seed = settings, shape, views, sets, seed

    def run(self, rows: NDArray[np.int64], steps: int, held: NDArray[np.int64] | None = None) -> _Fitted:
        """Fit on some cases, by the schedule of all steps, and stop after `steps`; the moving average is kept."""
        s = self.settings
        torch.manual_seed(self.seed)
        rng = np.random.default_rng((self.seed, 1))
        network = build_network(s.name, self.shape)
        assert network is not None
        classifiers = nn.ModuleList(nn.Linear(s.joint, found.classes) for found in self.sets.values())
        trained = nn.ModuleList([network, classifiers]).train()
        average = copy.deepcopy(trained).eval()
        optimiser = torch.optim.AdamW(trained.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        order = np.empty(0, np.int64)
        size = min(s.batch, len(rows))
        losses: list[float] = []
        for step in range(steps):
            set_rate(optimiser, [s.learning_rate], step, s.steps)
            if len(order) < size:
                order = rng.permutation(rows)
            batch, order = np.split(order, [size])
            loss = self._loss(network, classifiers, batch, rng)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay = min(s.averaging, (step + 1) / (step + 1 + AVERAGING_START))
            with torch.no_grad():
                for kept, parameter in zip(average.parameters(), trained.parameters(), strict=True):
                    kept.lerp_(parameter, 1 - decay)
            if held is not None and (step + 1) % s.check_every == 0:
                losses.append(self._held_loss(average, held))
                if len(losses) - int(np.argmin(losses)) > s.patience:
                    break
        best = (int(np.argmin(losses)) + 1) * s.check_every if losses else steps
        return _Fitted(average[0], best)

    def _loss(
        self, network: nn.Module, classifiers: nn.ModuleList, batch: NDArray[np.int64], rng: np.random.Generator
    ) -> Tensor:
        weights = self.settings.weights
        first, second = (network(*self.views.draw(batch, rng)) for _ in range(2))
        loss = weights.alignment * contrastive_loss(
            first, second, torch.from_numpy(batch), torch.tensor(self.settings.pair_scale)
        )
        joint = torch.cat([first, second])
        loss = loss + weights.labels * self._label_loss(classifiers, joint, np.tile(batch, 2))
        for found in self.sets.values():
            labels = torch.from_numpy(np.tile(found.labels[batch], 2))
            similar = supervised_contrastive_loss(joint, labels, self.settings.pair_scale)
            loss = loss + weights.similarity * found.share * similar
        return loss

    def _label_loss(self, classifiers: nn.ModuleList, joint: Tensor, rows: NDArray[np.int64]) -> Tensor:
        loss = joint.sum() * 0
        for classifier, found in zip(classifiers, self.sets.values(), strict=True):
            labels = torch.from_numpy(found.labels[rows])
            if bool((labels >= 0).any()):
                loss = loss + found.share * functional.cross_entropy(
                    classifier(joint * self.settings.label_scale),
                    labels,
                    found.weights,
                    ignore_index=-1,
                    label_smoothing=self.settings.smoothing,
                )
        return loss

    def _held_loss(self, average: nn.ModuleList, held: NDArray[np.int64]) -> float:
        """Label loss on views of cases held out, the same views at each step."""
        rng = np.random.default_rng((self.seed, 3))
        rows = np.tile(held, self.settings.held_views)
        with torch.inference_mode():
            joint = average[0](*self.views.draw(rows, rng))
            return float(self._label_loss(average[1], joint, rows))  # type: ignore[arg-type]
