"""Measuring the whole way, training included, on cases that each fold has not seen."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medclip.archive.build import Place, create_index, write_index
from medclip.archive.entries import entry_of
from medclip.archive.layout import PROBE
from medclip.archive.novelty import read_novelty
from medclip.assistant.assistant import Assistant
from medclip.bundle.orientation import Orientation
from medclip.bundle.serving import ServingTowers
from medclip.cases.case import Case
from medclip.cases.splits import Fold, kfold, published_split
from medclip.diagnosis.diagnoser import BALANCE, STRENGTH, Diagnoser, shared_classes
from medclip.diagnosis.probe import fit_probe
from medclip.diagnosis.store import load_diagnosers
from medclip.embedding.embedder import EmbeddedCase, unknown_measurements
from medclip.errors import CaseError
from medclip.evaluation.baseline import baseline_figures
from medclip.evaluation.class_coverage import class_coverage_figures
from medclip.evaluation.held_out import caption_figures, measure_labels, measure_shown, pose_under
from medclip.evaluation.protocols import (
    LABEL_PROTOCOLS,
    SUBSETS,
    Figure,
    Predicted,
    average,
    classification_figures,
    with_families,
)
from medclip.evaluation.subgroups import Answered, subgroup_figures
from medclip.fusion import Fuser, fuser_names
from medclip.fusion.base import require_fuser
from medclip.index import CaseIndex
from medclip.modalities.measurements.coding import MeasurementCoding, fit_coding
from medclip.training.attention import attention_of
from medclip.training.baseline import BASELINE, Pictures, read_pictures
from medclip.training.distil import distil_image_tower
from medclip.training.features import CaseFeatures, compute_features
from medclip.training.joint import TrainedFuser, embed_features, train_fuser
from medclip.training.orientation import fit_orientation, turned_features
from medclip.training.projection import Projection
from medclip.training.run import Reporter, exported_towers
from medclip.training.settings import BaselineSettings, DistilSettings, FuserSettings, Settings
from medclip.training.towers import Towers, load_towers
from medclip.training.trainer import Epoch, train_projection

__all__ = ["Observer", "cross_validate", "training_note"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float32]


def _left_out(features: CaseFeatures, coding: MeasurementCoding) -> dict[str, str]:
    """Case id → why nothing of it can be embedded, as `Embedder.cases` says of it."""
    rows = features.rows
    shown = {*rows.scan_case.tolist(), *rows.text_case[np.isin(rows.text_kind, ("report", "history"))].tolist()}
    unknown = {case.id: unknown_measurements(case, coding) for i, case in enumerate(rows.cases) if i not in shown}
    return {name: why or "none of its texts can be read" for name, why in unknown.items() if why is not None}


def _embedded(features: CaseFeatures, scans: Array, texts: Array, coding: MeasurementCoding) -> list[EmbeddedCase]:
    """Embedded cases, from one vector a scan and one a text, as `Embedder.cases` makes them."""
    rows, left_out = features.rows, _left_out(features, coding)
    out = []
    for i, case in enumerate(rows.cases):
        if case.id in left_out:
            continue
        own = np.flatnonzero(rows.scan_case == i)
        report, history = (texts[rows.texts(i, kind)[:1]] for kind in ("report", "history"))
        values = coding.encode(case.measured)
        out.append(EmbeddedCase(case, tuple(range(len(own))), scans[own], report, history, values))
    return out


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


def _frozen_figures(train: CaseFeatures, held_out: CaseFeatures, protocols: Sequence[str]) -> list[Figure]:
    """A plain linear probe on all that the frozen towers give, a row a query, under every label protocol and label set."""
    coding = fit_coding(train.rows.cases)
    if left_out := _left_out(train, coding) | _left_out(held_out, coding):
        name, why = next(iter(left_out.items()))
        _log.warning("%d cases are left out; the first, %s: %s", len(left_out), name, why)
    learnt, asked = (_embedded(f, *_frozen(train, f), coding) for f in (train, held_out))
    fuser = Fuser(train.scans.shape[2] + train.texts.shape[1], coding.width)
    figures: list[Figure] = []
    for protocol in protocols:
        known, queries = (pose_under(protocol, part, fuser) for part in (learnt, asked))
        for label_set in sorted({name for p in queries for name in p.labels}):
            classes = [*shared_classes((p.labels[label_set], p.patient) for p in known if label_set in p.labels)]
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
                BALANCE,
            )
            probabilities = probe.probabilities(np.stack([p.vector for p in right]))
            labels = [p.labels[label_set] for p in right]
            predicted = Predicted(classes, probabilities, labels, [p.patient for p in right])
            figures += classification_figures(protocol, label_set, "frozen", predicted)
    return with_families(figures)


def _stripped(case: EmbeddedCase, modality: str) -> EmbeddedCase:
    """The case, less one modality."""
    if modality == "scan":
        return replace(case, numbers=(), scans=case.scans[:0])
    if modality == "text":
        return replace(case, report=case.report[:0], history=case.history[:0])
    return replace(case, measurements=np.zeros_like(case.measurements))


@dataclass(frozen=True)
class _Work:
    """One fold with its trained projection."""

    train: CaseFeatures
    held_out: CaseFeatures
    projection: Projection
    settings: Settings
    orientation: Orientation | None  # how a scan lies


@contextmanager
def _indexed(
    trained: TrainedFuser, work: _Work, diagnosers: Sequence[Diagnoser] | None = None, *, without: str | None = None
) -> Iterator[Assistant]:
    """An index of the training cases, less a modality if one is named.

    Args:
        diagnosers: for an index that is only to show cases: those of another, for their classes; else they are fitted.
    """
    fuser, learnt = trained.fuser(), _whole(work.projection, work.train, trained)
    if without is not None:
        learnt = [case for case in (_stripped(case, without) for case in learnt) if case.parts.there]
    with tempfile.TemporaryDirectory() as name:
        folder, novelty = Path(name), None
        if diagnosers is None:
            write_index(learnt, fuser, "cross-validation", folder, orientation=work.orientation)
            diagnosers = load_diagnosers(folder / PROBE)
            novelty = read_novelty(folder / PROBE, fuser, work.orientation)
        else:
            create_index((entry_of(case, fuser) for case in learnt), "cross-validation", folder, Place())
        index = CaseIndex.open(folder)
        yield Assistant(index, diagnosers, novelty, fuser, None)
        index.close()


def _asked(work: _Work, trained: TrainedFuser) -> list[EmbeddedCase]:
    return _whole(work.projection, work.held_out, trained)


def _whole(projection: Projection, features: CaseFeatures, trained: TrainedFuser) -> list[EmbeddedCase]:
    scans, texts = embed_features(projection, features)
    return _embedded(features, scans[0], texts, trained.coding)


_LACKING = {"scan": "history+measurements", "text": "scan+measurements", "measurements": "scan+history"}
"""Modality → the protocol whose queries show everything but it (and the report)."""


def _measure_fold(work: _Work, fuser: FuserSettings, keep: Callable[[Answered], None]) -> list[Figure]:
    """Retrieval, and every label protocol by every method."""
    scans, texts = embed_features(work.projection, work.held_out)
    rows = work.held_out.rows
    shown = rows.caption_row[rows.caption_row >= 0]
    figures = caption_figures(scans[0], rows.scan_case, texts[shown], rows.text_case[shown])
    fused = train_fuser(work.projection, work.train, fuser, seed=work.settings.seed)
    with _indexed(fused, work) as assistant:
        figures += measure_labels(assistant, _asked(work, fused), keep=keep)
    return figures + _frozen_figures(work.train, work.held_out, LABEL_PROTOCOLS)


def _ablate_fold(work: _Work, fuser: FuserSettings, pictures: Pictures, report: Reporter) -> list[Figure]:
    """What every fuser shows for every subset of the modalities, beside the answer, the baseline, the frozen towers' probe
    and the majority class. The answer is the same whatever the fuser."""
    figures = _frozen_figures(work.train, work.held_out, SUBSETS)
    report.stage(f"the {BASELINE} baseline")
    fold = Fold(work.train.rows.cases, work.held_out.rows.cases)
    figures += baseline_figures(fold, pictures, BaselineSettings(seed=work.settings.seed), report.features)
    diagnosers: list[Diagnoser] | None = None
    for name in sorted(fuser_names(), key=lambda name: name != "sum"):
        report.stage(f"the {name} fuser")
        fused = train_fuser(work.projection, work.train, replace(fuser, name=name), seed=work.settings.seed)
        with _indexed(fused, work, diagnosers) as assistant:
            asked = _asked(work, fused)
            figures += measure_shown(assistant, asked, name, SUBSETS)
            if name == "sum":
                diagnosers = assistant.diagnosers
                measured = measure_labels(assistant, asked, SUBSETS)
                figures += [replace(f, method="answer") for f in measured if f.method == "combined"]
                figures += [f for f in measured if f.method == "majority"]
    return figures + _blind_figures(work, fuser, diagnosers or [], report)


def _blind_figures(
    work: _Work, fuser: FuserSettings, diagnosers: Sequence[Diagnoser], report: Reporter
) -> list[Figure]:
    """What a model trained without a modality shows for queries that lack it; beside it, a whole model should lose little."""
    figures: list[Figure] = []
    for modality, protocol in _LACKING.items():
        report.stage(f"the {fuser.name} fuser without {modality}")
        blind = train_fuser(work.projection, work.train, fuser, seed=work.settings.seed, without=modality)
        with _indexed(blind, work, diagnosers, without=modality) as assistant:
            figures += measure_shown(assistant, _asked(work, blind), f"{fuser.name}, never seen", (protocol,))
    return figures


def training_note(settings: Settings) -> str:
    """How the model that is measured is trained, where it is not as `train_model` does: one sentence for the reader."""
    return (
        f"The measured projection was trained for {settings.epochs} epochs, no dev set chose one; "
        "medclip train keeps the epoch that is best on dev cases."
    )


@dataclass(frozen=True)
class Observer:
    """Who else wants to see what a measurement goes through."""

    exported: Callable[[Towers, ServingTowers, Path], None] = lambda _towers, _served, _folder: None
    answered: Callable[[Sequence[Answered]], None] = lambda _answers: None


def cross_validate(
    cases: Sequence[Case],
    cases_folder: Path,
    *,
    folds: int | None,
    towers_name: str,
    crops: bool = False,
    settings: Settings,
    fuser: FuserSettings | None = None,
    ablate: bool = False,
    by: Sequence[str] = (),
    distil: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    report: Reporter | None = None,
    observer: Observer | None = None,
) -> list[Figure]:
    """Train and measure on the published train and dev split, or on `folds` patient-disjoint folds.

    The held-out cases choose nothing: every fold trains for the same number of epochs.

    Args:
        fuser: what to fuse with; for `ablate`, the settings of every fuser but its name.
        ablate: measure every fuser on every subset of the modalities instead; the method of a figure is then the fuser.
        by: fields (`read_fields`) by whose groups the answers of all folds are measured, too; not with `ablate`.
        distil: towers that the image tower learns from first, on the training cases alone; not with `folds`.
        observer: is shown the exported towers, and all answers.

    Raises:
        CaseError: the cases name no dev split and no folds are asked for, or are too few.
        BundleError: the fuser or the towers are not known.
    """
    report, fuser, observer = report or Reporter(), fuser or FuserSettings(), observer or Observer()
    require_fuser(fuser.name)
    published = published_split(cases) if folds is None else None
    if folds is None and published is None:
        raise CaseError("the cases name no dev split; measure by cross-validation with --folds 5")
    if distil is not None and published is None:
        raise CaseError(
            "--distil would learn once for every fold; measure it on the train and dev split, without --folds"
        )
    parts = [published] if published is not None else kfold(cases, folds or 0, settings.seed)
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        report.stage("exporting the towers")
        towers = load_towers(towers_name, crops=crops)
        if distil is not None:
            report.stage(f"learning from {distil}")
            seen_alone = Fold(parts[0].train, ())  # the held-out cases choose nothing: the last epoch is kept
            distil_image_tower(
                towers, distil, seen_alone, cases_folder, DistilSettings(seed=settings.seed), device=device,
                work=Path(scratch) / "distilling",
                progress=lambda epoch, total: report.epoch(Epoch(epoch.number, epoch.loss, None), total),
            )  # fmt: skip
        runner = exported_towers(towers, Path(scratch) / "towers", threads=threads, kept=distil is None)
        observer.exported(towers, runner, Path(scratch) / "towers")
        report.stage("reading scans and texts")
        chosen = [case for part in parts[:1] for case in (*part.train, *part.held_out)]
        features = compute_features(
            chosen, cases_folder, runner, augmentations=settings.augmentations, seed=settings.seed, cache=Path(scratch),
            fingerprint=towers_name, progress=report.features,
        )  # fmt: skip
        report.stage("reading scans, turned")
        turned = turned_features(
            chosen, cases_folder, runner, seed=settings.seed, cache=Path(scratch), fingerprint=towers_name,
            progress=report.features,
        )  # fmt: skip
        pictures = read_pictures(chosen, cases_folder, report.features) if ablate else {}
        measured, answers = [], list[Answered]()
        for number, part in enumerate(parts, start=1):
            report.stage(f"fold {number} of {len(parts)}" if len(parts) > 1 else "training on train, measuring on dev")
            seen, asked = features.select(part.train), features.select(part.held_out)
            attention = attention_of(seen, seed=settings.seed)
            train, held_out = seen.pooled(attention), asked.pooled(attention)
            projection = train_projection(
                train,
                None,
                settings,
                device=device,
                progress=lambda epoch: report.epoch(epoch, settings.epochs),
            ).projection
            fuser_alone = train_fuser(projection, train, FuserSettings()).fuser()
            orientation = fit_orientation(turned.select(part.train), projection, fuser_alone)
            work = _Work(train, held_out, projection, settings, orientation)
            measured.append(
                _ablate_fold(work, fuser, pictures, report) if ablate else _measure_fold(work, fuser, answers.append)
            )
    observer.answered(answers)
    return [*average(measured), *class_coverage_figures(answers), *subgroup_figures(answers, by)]
