"""Measuring the whole way, training included, on cases that each fold has not seen."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medclip.archive import write_index
from medclip.assistant import Assistant
from medclip.cases.case import Case
from medclip.cases.splits import Fold, kfold, published_split
from medclip.diagnosis.diagnoser import STRENGTH
from medclip.diagnosis.probe import fit_probe
from medclip.diagnosis.store import load_diagnosers
from medclip.embedder import EmbeddedCase, View, ViewKind, fuse
from medclip.errors import CaseError
from medclip.evaluation.protocols import LABEL_PROTOCOLS, Figure, Predicted, average, classification_figures
from medclip.index import CaseIndex
from medclip.measure import caption_figures, measure_labels, pose
from medclip.training.features import CaseFeatures, compute_features
from medclip.training.projection import Projection
from medclip.training.run import Reporter, exported_towers
from medclip.training.towers import load_towers
from medclip.training.trainer import Settings, train_projection

__all__ = ["cross_validate"]

Array = NDArray[np.float32]


def _embedded(features: CaseFeatures, scans: Array, texts: Array) -> list[EmbeddedCase]:
    """Cases with their views, from one vector a scan and one a text, as `Embedder.cases` makes them."""
    rows = features.rows
    out = []
    for i, case in enumerate(rows.cases):
        own = np.flatnonzero(rows.scan_case == i)
        views = [View("scan", number, scans[row]) for number, row in enumerate(own)]
        named: tuple[ViewKind, ...] = ("report", "history")
        views += [View(kind, 0, texts[row]) for kind in named for row in rows.texts(i, kind)]
        if not views:
            continue
        written = [view.vector for view in views if view.kind != "scan"]
        views.append(View("fused", 0, fuse(scans[own], written)))
        out.append(EmbeddedCase(case, tuple(views), {}))
    return out


def _project(projection: Projection, features: CaseFeatures) -> tuple[Array, Array]:
    with torch.inference_mode():
        scans = projection.embed_scan(torch.from_numpy(features.scans[0])).numpy()
        return scans, projection.embed_text(torch.from_numpy(features.texts)).numpy()


def _frozen(train: CaseFeatures, features: CaseFeatures) -> tuple[Array, Array]:
    """The towers' own features as vectors: standardised on the training cases, scans and texts in separate blocks."""
    blocks = []
    widths = (features.scans.shape[2], features.texts.shape[1])
    for side, (own, reference) in enumerate(((features.scans[0], train.scans[0]), (features.texts, train.texts))):
        scale = reference.std(0) + 1e-6 if side == 0 else reference.std(0).mean() + 1e-6
        x = (own - reference.mean(0)) / scale
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        blocks.append(np.pad(x, ((0, 0), (widths[0] * side, widths[1] * (1 - side)))).astype(np.float32))
    return blocks[0], blocks[1]


def _frozen_figures(train: CaseFeatures, unseen: CaseFeatures) -> list[Figure]:
    """The same linear probe on the frozen towers' features, under every label protocol and label set."""
    learnt, asked = (_embedded(f, *_frozen(train, f)) for f in (train, unseen))
    figures: list[Figure] = []
    for protocol in LABEL_PROTOCOLS:
        known, queries = ([p for case in part for p in pose(case, protocol)] for part in (learnt, asked))
        for label_set in sorted({name for p in queries for name in p.labels}):
            owners: dict[str, set[str]] = {}
            for p in known:
                if label_set in p.labels:
                    owners.setdefault(p.labels[label_set], set()).add(p.patient)
            classes = sorted(label for label, patients in owners.items() if len(patients) > 1)
            rows = [p for p in known if p.labels.get(label_set) in classes]
            right = [p for p in queries if label_set in p.labels]
            if len(classes) < 2 or not right:
                continue
            number = {label: i for i, label in enumerate(classes)}
            probe = fit_probe(
                np.stack([p.vector for p in rows]),
                np.asarray([number[p.labels[label_set]] for p in rows], np.int64),
                np.ones(len(rows)),
                len(classes),
                STRENGTH,
            )
            probabilities = probe.probabilities(np.stack([p.vector for p in right]))
            labels = [p.labels[label_set] for p in right]
            figures += classification_figures(protocol, label_set, "frozen", Predicted(classes, probabilities, labels))
    return figures


def _measure_fold(
    features: CaseFeatures, fold: Fold, settings: Settings, device: str, report: Reporter
) -> list[Figure]:
    train, unseen = features.select(fold.train), features.select(fold.unseen)
    trained = train_projection(
        train,
        None,
        settings,
        device=device,
        progress=lambda epoch: report.epoch(epoch, settings.epochs),
    )
    scans, texts = _project(trained.projection, unseen)
    rows = unseen.rows
    shown = rows.caption_row[rows.caption_row >= 0]
    figures = caption_figures(scans, rows.scan_case, texts[shown], rows.text_case[shown])
    with tempfile.TemporaryDirectory() as folder:
        write_index(_embedded(train, *_project(trained.projection, train)), "cross-validation", Path(folder))
        index = CaseIndex.open(Path(folder))
        assistant = Assistant(index, load_diagnosers(index.attachment("probe")), None)
        figures += measure_labels(assistant, _embedded(unseen, scans, texts))
        index.close()
    return figures + _frozen_figures(train, unseen)


def cross_validate(
    cases: Sequence[Case],
    cases_folder: Path,
    *,
    folds: int | None,
    towers_name: str,
    settings: Settings,
    device: str = "cpu",
    threads: int | None = None,
    report: Reporter | None = None,
) -> list[Figure]:
    """Train and measure on the published train and dev split, or on `folds` patient-disjoint folds.

    The unseen cases choose nothing: every fold trains for the same number of epochs.

    Raises:
        CaseError: the cases name no dev split and no folds are asked for, or are too few.
    """
    report = report or Reporter()
    published = published_split(cases) if folds is None else None
    if folds is None and published is None:
        raise CaseError("the cases name no dev split; measure by cross-validation with --folds 5")
    parts = [published] if published is not None else kfold(cases, folds or 0, settings.seed)
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        report.stage("exporting the towers")
        towers = load_towers(towers_name)
        runner = exported_towers(towers, Path(scratch) / "towers", threads=threads)
        report.stage("reading scans and texts")
        chosen = [case for part in parts[:1] for case in (*part.train, *part.unseen)]
        features = compute_features(
            chosen, cases_folder, runner, copies=settings.copies, seed=settings.seed, cache=Path(scratch),
            fingerprint=towers_name, progress=report.features,
        )  # fmt: skip
        measured = []
        for number, part in enumerate(parts, start=1):
            report.stage(f"fold {number} of {len(parts)}" if len(parts) > 1 else "training on train, measuring on dev")
            measured.append(_measure_fold(features, part, settings, device, report))
    return average(measured)
