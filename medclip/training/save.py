"""Writing a model folder, with its stored probes and its card."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from medclip import DISCLAIMER
from medclip.bundle.layout import (
    FORMAT,
    Layout,
    Manifest,
    ServingLayout,
    ServingManifest,
    TensorSpec,
    read_model,
)
from medclip.bundle.serving import LEAST_COSINE, ServingModel
from medclip.cases.case import Case
from medclip.cases.splits import Fold
from medclip.errors import BundleError, ScanError, TextError
from medclip.files.plain import digest_of, write_json
from medclip.files.tensors import write_tensors
from medclip.fusion import MODALITIES, Parts
from medclip.fusion.base import FuserShape, build_network
from medclip.modalities.measurements.coding import measured
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.modalities.text.clean import require_readable
from medclip.modalities.text.encoder import TextTower
from medclip.modalities.text.tokens import TextTokenizer, pool_windows
from medclip.training.joint import TrainedFuser, run_network
from medclip.training.projection import Projection, Shape
from medclip.training.towers import Towers, rebuild_towers, save_configs
from medclip.training.trainer import Epoch, Settings
from medclip.training.unfreeze import TuneSettings

__all__ = ["Provenance", "save_bundle", "verify_torch"]

Array = NDArray[np.float32]

_PROBES = 2
_PROBE_CHARACTERS = 200  # probes are recomputed whenever a model is opened: enough text to tell, and no more


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from; the card is written from it."""

    fold: Fold
    settings: Settings
    tune: TuneSettings | None
    device: str
    epochs: list[Epoch]
    best: int
    figures: dict[str, float]


def _probe_inputs(
    cases: Sequence[Case], folder: Path, scripts: tuple[str, ...] | None
) -> tuple[list[GreyPicture], list[str]]:
    pictures: list[GreyPicture] = []
    texts: list[str] = []
    for case in cases:
        for scan in case.scans[:1]:
            try:
                pictures.append(read_scan(folder / scan.file).middle)
            except ScanError:
                continue
        try:
            texts.append(require_readable((case.report or case.note_text("history"))[:_PROBE_CHARACTERS], scripts))
        except TextError:
            continue
        if len(pictures) >= _PROBES and len(texts) >= _PROBES:
            break
    return pictures[:_PROBES], texts[:_PROBES]


def _probe_parts(cases: Sequence[Case], scans: Array, texts: Array, fused: TrainedFuser) -> list[Parts]:
    """The stored probes as cases of every composition."""
    coded = [fused.coding.encode(measured(case)) for case in cases]
    values = max(coded, key=lambda vector: int(np.count_nonzero(vector)))
    whole = Parts(scans, texts, values)
    return [whole, *(whole.without(modality) for modality in MODALITIES)]


class _TorchModel(nn.Module):
    """Towers, projection and fuser as one module: what ``weights.safetensors`` holds."""

    def __init__(self, model: nn.Module, projection: Projection, fuser: nn.Module | None) -> None:
        super().__init__()
        self.towers, self.projection, self.fuser = model, projection, fuser

    def embed(
        self, prepared: NDArray[np.uint8], texts: Sequence[str], manifest: ServingManifest, tokenizer: Path
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scan and text embeddings by torch; the last scan is one of all the pictures."""
        scan_tower = ScanTower(self.towers.visual, manifest.preprocessing)  # type: ignore[arg-type]
        text_tower = TextTower(self.towers, manifest.reading)
        windows = TextTokenizer(tokenizer, manifest.reading).windows(texts)
        with torch.inference_mode():
            self.eval()
            seen = scan_tower(torch.from_numpy(prepared))
            whole = (self.projection.attend(seen).softmax(0) * seen).sum(0, keepdim=True)
            scans = self.projection.embed_scan(torch.cat([seen, whole]))
            features = text_tower(torch.from_numpy(windows.ids)).numpy()
            pooled = pool_windows(features, windows, len(texts))
            return scans.numpy(), self.projection.embed_text(torch.from_numpy(pooled)).numpy()


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every distinct tensor of a module, by name (safetensors refuses shared memory)."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}


def save_bundle(
    folder: Path,
    towers: Towers,
    projection: Projection,
    fused: TrainedFuser,
    provenance: Provenance,
    cases_folder: Path,
) -> None:
    """Complete a model folder whose ``serving/`` holds the exported graphs, and verify it as a user will.

    Raises:
        BundleError: torch and the exported graphs disagree.
    """
    layout = Layout(folder)
    serving = layout.serving
    module = _TorchModel(towers.model, projection, fused.network).eval().cpu()
    tensors = _tensors(module)
    write_tensors(layout.weights, tensors)
    save_configs(towers, folder)
    shape = projection.shape
    pictures, texts = _probe_inputs(provenance.fold.train, cases_folder, towers.reading.scripts)
    prepared = np.stack([prepare_scan(picture, towers.preprocessing) for picture in pictures])
    partial = ServingManifest(
        format=FORMAT,
        preprocessing=towers.preprocessing,
        reading=towers.reading,
        base=shape.width,
        aligned=shape.aligned,
        aligned_share=shape.aligned_share,
        measurements=fused.coding,
        fuser=fused.settings.name,
        joint=fused.shape.joint if fused.network is not None else 0,
        joint_share=fused.settings.share if fused.network is not None else 0,
        synthetic=all(case.synthetic for case in provenance.fold.train),
        sha256={},
    )
    scan_embeddings, text_embeddings = module.embed(prepared, texts, partial, serving.tokenizer)
    fuser = fused.fuser()
    tokens = fuser.tokens(_probe_parts(provenance.fold.train, scan_embeddings, text_embeddings, fused))
    write_tensors(
        serving.probes,
        {
            "prepared": prepared,
            "scan_embeddings": scan_embeddings,
            "text_embeddings": text_embeddings,
            **({"tokens": tokens, "joint": fuser.run(tokens)} if fuser.run is not None else {}),
            **{f"picture_{i}": np.ascontiguousarray(picture) for i, picture in enumerate(pictures)},
            **{f"text_{i}": np.frombuffer(text.encode(), np.uint8).copy() for i, text in enumerate(texts)},
        },
    )
    manifest = partial.model_copy(
        update={"sha256": {file.name: digest_of(file) for file in serving.listed(partial.fuser)}}
    )
    serving.manifest.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _write_training(layout, towers, provenance, shape, fused)
    stored = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != layout.manifest]
    bundle = Manifest(
        format=FORMAT,
        towers=towers.name,
        tensors={name: TensorSpec(shape=tuple(t.shape), dtype=str(t.dtype)) for name, t in tensors.items()},
        sha256={path.relative_to(folder).as_posix(): digest_of(path) for path in stored},
    )
    layout.manifest.write_text(bundle.model_dump_json(indent=2) + "\n", encoding="utf-8")
    ServingModel(serving.root).verify_probes()


def _write_training(layout: Layout, towers: Towers, provenance: Provenance, shape: Shape, fused: TrainedFuser) -> None:
    fold = provenance.fold
    facts: dict[str, Any] = {
        "towers": towers.name,
        "origin": towers.origin,
        "shape": asdict(shape),
        "fuser": asdict(fused.settings),
        "fuser_shape": asdict(fused.shape),
        "measurements": list(fused.coding.names),
        "settings": asdict(provenance.settings),
        "tuning": asdict(provenance.tune) if provenance.tune else None,
        "device": provenance.device,
        "train": _counts(fold.train),
        "dev": _counts(fold.unseen),
        "epochs": [asdict(epoch) for epoch in provenance.epochs],
        "best_epoch": provenance.best,
        "figures": provenance.figures,
        "versions": {name: version(name) for name in ("medclip-assistant", "torch", "open_clip_torch", "onnxruntime")},
    }
    write_json(layout.training, facts)
    environment = Environment(
        loader=PackageLoader("medclip.bundle", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    card = environment.get_template("card.md.jinja").render(
        facts=facts, disclaimer=DISCLAIMER, size=towers.preprocessing.size
    )
    layout.card.write_text(card, encoding="utf-8")


def _counts(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "scans": sum(len(case.scans) for case in cases),
        "synthetic": sum(case.synthetic for case in cases),
        "sources": sorted({case.source or "unknown" for case in cases}),
    }


def verify_torch(folder: Path) -> float:
    """Rebuild the model in torch from its folder and recompute the stored probes; the least cosine.

    Raises:
        BundleError: a tensor is missing, left over or of another shape, or a cosine is not above `LEAST_COSINE`.
    """
    from safetensors.numpy import load_file as load_arrays

    layout = Layout(folder)
    facts = json.loads(layout.training.read_text(encoding="utf-8"))
    manifest = read_model(layout.serving.manifest, ServingManifest, "train it again")
    network = build_network(manifest.fuser, FuserShape(**facts["fuser_shape"]))
    module = _TorchModel(rebuild_towers(folder), Projection(Shape(**facts["shape"])), network)
    try:
        module.load_state_dict(load_file(layout.weights), strict=True)
    except RuntimeError as error:
        raise BundleError(f"{layout.weights}: its tensors do not fit the model; train it again") from error
    stored = load_arrays(ServingLayout(layout.serving.root).probes)
    texts = [bytes(stored[f"text_{i}"]).decode() for i in range(len(stored["text_embeddings"]))]
    now = module.embed(stored["prepared"], texts, manifest, layout.serving.tokenizer)
    pairs = [*zip(now, (stored["scan_embeddings"], stored["text_embeddings"]), strict=True)]
    if network is not None:
        pairs.append((run_network(network.eval(), stored["tokens"]), stored["joint"]))
    worst = min(float((a * b).sum(1).min()) for a, b in pairs)
    if not worst > LEAST_COSINE:
        raise BundleError(
            f"{layout.weights}: torch gives other embeddings than stored (cosine {worst:.4f}); train it again"
        )
    return worst
