"""`medclip train`: cases and towers → a model folder."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclip.bundle.layout import FORMAT, Layout, ServingLayout, ServingManifest
from medclip.bundle.serving import ServingModel, ServingTowers
from medclip.cases.case import Case
from medclip.cases.splits import Fold, choose_fold
from medclip.errors import BundleError, MissingDependencyError
from medclip.files.outputs import check_free, named_failures, new_folder, replaced_file
from medclip.files.plain import digest_of
from medclip.files.workplaces import cleared
from medclip.fusion.base import require_fuser
from medclip.modalities.measurements.coding import MeasurementCoding
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.text.clean import require_readable
from medclip.modalities.text.encoder import TextTower
from medclip.modalities.text.tokens import TextTokenizer
from medclip.training.attention import attention_of
from medclip.training.card import Provenance
from medclip.training.choosing import Choice, measured_kind, retrieval_of
from medclip.training.distil import Distilled, distil_image_tower
from medclip.training.export import export_fuser, export_graph, export_heads
from medclip.training.features import CaseFeatures, Progress, TowerRunner, compute_features
from medclip.training.joint import train_fuser
from medclip.training.kept_graphs import kept_graph
from medclip.training.orientation import fit_orientation, told, turned_features
from medclip.training.save import save_bundle
from medclip.training.settings import DistilSettings, FuserSettings, OrientationSettings, Settings, TuneSettings
from medclip.training.timing import Stopwatch, Work
from medclip.training.towers import Towers, copy_tokenizer, load_towers
from medclip.training.trainer import Epoch, Trained, train_projection
from medclip.training.unfinished import request_of, unfinished_of, working
from medclip.training.unfreeze import tune_towers

__all__ = ["Reporter", "TrainingReport", "exported_towers", "train_model"]


@dataclass(frozen=True)
class Reporter:
    """What the command line shows while training runs."""

    stage: Callable[[str], None] = lambda _: None
    features: Progress = lambda _done, _total: None
    epoch: Callable[[Epoch, int], None] = lambda _epoch, _total: None


@dataclass(frozen=True)
class TrainingReport:
    """What a training came to."""

    train_cases: int
    dev_cases: int
    train_scans: int
    best_epoch: int
    epochs: int
    choice: Choice  # what chose the epoch
    figures: dict[str, float]  # retrieval on the dev cases, by name
    seconds: dict[str, float]  # by stage, in their order; of a resumed training those of the run that ended it
    distilled: Distilled | None  # what learning from another tower came to, where that was asked
    work: dict[str, float]  # seconds of reading scans and texts, by kind of work, summed over the threads that do it


def _token_sample(towers: Towers, tokenizer: Path) -> Tensor:
    texts = [
        require_readable(t, None) for t in ("Axial CT of the chest.", "No effusion; a 2 cm nodule, right upper lobe.")
    ]
    return torch.from_numpy(TextTokenizer(tokenizer, towers.reading).windows(texts).ids)


def _picture_sample(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, size, size), dtype=torch.uint8, generator=generator)


def exported_towers(towers: Towers, folder: Path, *, threads: int | None = None, kept: bool = True) -> ServingTowers:
    """Export the towers into `folder` (unless they are there) and open them in onnxruntime.

    Args:
        kept: in the user's cache folder, too, for the next training; not for towers that are of this training alone.
    """
    layout = ServingLayout(folder)
    if not layout.manifest.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy_tokenizer(towers, folder)
        scan = ScanTower(towers.model.visual, towers.preprocessing)
        text = TextTower(towers.model, towers.reading)
        export = kept_graph if kept else export_graph
        export(scan, _picture_sample(scan.size), layout.scan_tower)
        tokens = _token_sample(towers, layout.tokenizer)
        export(text, tokens, layout.text_tower, free_length=not towers.reading.fixed_length)
        manifest = ServingManifest(
            format=FORMAT,
            preprocessing=towers.preprocessing,
            reading=towers.reading,
            base=0,
            aligned=0,
            aligned_share=0,
            measurements=MeasurementCoding(),
            fuser="sum",
            joint=0,
            joint_share=0,
            adds_texts=False,
            synthetic=False,
            sha256={file.name: digest_of(file) for file in (layout.scan_tower, layout.text_tower, layout.tokenizer)},
        )
        with replaced_file(layout.manifest) as partial:  # which says that all the rest is there
            partial.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    manifest = ServingManifest.model_validate_json(layout.manifest.read_bytes())
    return ServingTowers(folder, manifest, threads)


class _TorchRunner:
    """The towers as torch modules on a GPU."""

    def __init__(self, towers: Towers, tokenizer: Path, device: str, threads: int) -> None:
        self.preprocessing, self.scripts, self.threads = towers.preprocessing, towers.reading.scripts, threads
        self._device = device
        self._scan = ScanTower(towers.model.visual, towers.preprocessing).to(device).eval()
        self._text = TextTower(towers.model, towers.reading).to(device).eval()
        self._tokenizer = TextTokenizer(tokenizer, towers.reading)

    def scan_features(
        self, pictures: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        with torch.inference_mode():
            return np.asarray(self._scan(torch.from_numpy(pictures).to(self._device)).cpu().numpy(), np.float32)

    def text_features(self, texts: Sequence[str]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        from medclip.modalities.text.tokens import pool_windows

        pooled = []
        for start in range(0, len(texts), 64):
            batch = texts[start : start + 64]
            windows = self._tokenizer.windows(batch)
            with torch.inference_mode():
                features = self._text(torch.from_numpy(windows.ids).to(self._device)).cpu().numpy()
            pooled.append(pool_windows(features, windows, len(batch)))
        return np.concatenate(pooled)


def _runner(towers: Towers, served: ServingTowers, folder: Path, device: str) -> TowerRunner:
    if device == "cpu":
        return served
    return _TorchRunner(towers, ServingLayout(folder).tokenizer, device, served.threads)


def _figures(trained: Trained, dev: CaseFeatures) -> dict[str, float]:
    kind, measured = measured_kind(dev.rows), retrieval_of(trained.projection, dev)
    if measured is None:
        return {}
    figures: dict[str, float] = {}
    for name, found in ((f"{kind}-to-scan", measured.text_to_scan), (f"scan-to-{kind}", measured.scan_to_text)):
        figures |= {f"{name} recall@{depth}": value for depth, value in found.recall.items()}
        figures |= {f"{name} median rank": found.median_rank, f"{name} gallery": float(found.gallery)}
    return figures


def train_model(
    cases: Sequence[Case],
    cases_folder: Path,
    out: Path,
    *,
    towers_name: str = "default",
    crops: bool = False,
    settings: Settings | None = None,
    fuser: FuserSettings | None = None,
    tune: TuneSettings | None = None,
    distil: str | None = None,
    device: str = "cpu",
    resume: bool = False,
    force: bool = False,
    threads: int | None = None,
    report: Reporter | None = None,
) -> TrainingReport:
    """Train a model and write it as a bundle.

    With `crops`, every picture is read as itself and as overlapping crops of it, pooled by attention. `distil` names towers
    whose image half the image tower learns from first (`medclip.training.distil`); not with `tune`.

    Finished work is kept in ``<out>.training`` until the bundle is whole; `resume` goes on from there. One process works
    there at a time.

    Raises:
        BundleError: the towers are unknown, or cannot be served.
        CaseError: the cases cannot be trained on.
        OutputError: `out` or an unfinished training exists, and neither `force` nor `resume` says what to do with it,
            what is to be resumed was begun with other cases or settings, or another process is training `out`.
    """
    settings, fuser, report = settings or Settings(), fuser or FuserSettings(), report or Reporter()
    watch = Stopwatch(report.stage)
    report = replace(report, stage=watch.stage)
    require_fuser(fuser.name)
    check_free(out, force=force, marker=Layout(out).manifest.name)
    fold = choose_fold(cases, settings.seed)

    def request() -> dict[str, Any]:
        report.stage("looking at the cases")
        return request_of(
            fold,
            cases_folder,
            towers=towers_name,
            crops=crops,
            settings=settings,
            fuser=fuser,
            tune=tune,
            distil=distil,
        )

    if threads:
        torch.set_num_threads(threads)
    begun = unfinished_of(out).exists()
    with named_failures(out):
        towers: Towers | None = None
        try:
            with working(out, request, resume=resume, force=force) as work:
                report.stage("loading the towers")
                towers = load_towers(towers_name, crops=crops)
                trained = _train(
                    fold,
                    cases_folder,
                    out,
                    work,
                    towers,
                    crops,
                    settings,
                    fuser,
                    tune,
                    distil,
                    device,
                    force,
                    threads,
                    report,
                )
        except (BundleError, MissingDependencyError):
            if towers is None and not begun:
                cleared(
                    unfinished_of(out)
                )  # a name that is none leaves nothing that stands in the way of the right one
            raise
        cleared(work)
        watch.end()
        return replace(trained, seconds=watch.seconds)


def _train(
    fold: Fold,
    cases_folder: Path,
    out: Path,
    work: Path,
    towers: Towers,
    crops: bool,
    settings: Settings,
    fuser: FuserSettings,
    tune: TuneSettings | None,
    distil: str | None,
    device: str,
    force: bool,
    threads: int | None,
    report: Reporter,
) -> TrainingReport:
    if tune is not None:
        report.stage("tuning the towers")
        tune_towers(
            towers,
            fold,
            cases_folder,
            tune,
            device=device,
            checkpoint=work / "tuning.safetensors",
            progress=report.epoch,
        )
    distilled = None
    if distil is not None:
        report.stage(f"learning from {distil}")
        distilled = distil_image_tower(
            towers, distil, fold, cases_folder, DistilSettings(seed=settings.seed), device=device, work=work / "distilling",
            progress=lambda epoch, total: report.epoch(Epoch(epoch.number, epoch.loss, None), total),
        )  # fmt: skip
    report.stage("exporting the towers")
    exported = work / "towers"
    served = exported_towers(towers, exported, threads=threads, kept=tune is None and distil is None)
    runner = _runner(towers, served, exported, device)
    fingerprint = json.dumps(
        sorted(ServingManifest.model_validate_json((exported / "serving.json").read_bytes()).sha256.items())
    )
    report.stage("reading scans and texts")
    reading = Work()
    features = [
        compute_features(
            part, cases_folder, runner, augmentations=augmentations, seed=settings.seed, cache=work / "features",
            fingerprint=f"{fingerprint}{device}{crops}", progress=report.features, work=reading,
        )
        for part, augmentations in ((fold.held_out, 0), (fold.train, settings.augmentations))
    ]  # fmt: skip
    attention = attention_of(features[1], seed=settings.seed)
    dev, train = (part.pooled(attention) for part in features)
    report.stage("training the projection")
    trained = train_projection(
        train,
        dev,
        settings,
        device=device,
        checkpoint=work / "projection.safetensors",
        progress=lambda epoch: report.epoch(epoch, settings.epochs),
    )
    report.stage(f"fitting the {fuser.name} fuser")
    fused = train_fuser(trained.projection, train, fuser, seed=settings.seed)
    figures = _figures(trained, dev)
    report.stage("learning how scans lie")
    unseen, turned = (
        turned_features(
            part, cases_folder, runner, seed=settings.seed, cache=work / "features",
            fingerprint=f"{fingerprint}{device}{crops}", progress=report.features, work=reading, most=most,
        )
        for part, most in (
            (fold.held_out, OrientationSettings.dev_pictures),
            (fold.train, OrientationSettings.pictures),
        )
    )  # fmt: skip
    orientation = fit_orientation(turned, trained.projection, fused.fuser())
    report.stage("exporting the model")
    with new_folder(out, force=force, marker=Layout(out).manifest.name) as folder:
        serving = Layout(folder).serving.root
        shutil.copytree(exported, serving)
        layout = ServingLayout(serving)
        export_heads(trained.projection, layout)
        if fused.network is not None:
            export_fuser(fused.network, fused.shape.tokens, fused.shape.token, layout.fuser)
        provenance = Provenance(
            fold=fold,
            settings=settings,
            tune=tune,
            distilled=distilled,
            device=device,
            epochs=trained.epochs,
            best=trained.best,
            choice=trained.choice,
            figures=figures,
            told=None if orientation is None else told(orientation, unseen, trained.projection, fused.fuser()),
        )
        save_bundle(folder, towers, trained.projection, fused, provenance, cases_folder, orientation)
        report.stage("verifying the model")
        ServingModel(serving).verify_references()
    return TrainingReport(
        train_cases=len(fold.train),
        dev_cases=len(fold.held_out),
        train_scans=train.scans.shape[1],
        best_epoch=trained.best,
        epochs=len(trained.epochs),
        choice=trained.choice,
        figures=figures,
        seconds={},
        distilled=distilled,
        work=reading.seconds,
    )
