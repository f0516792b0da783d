"""Writing a model folder, with its reference outputs and its card."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medclip.bundle.layout import (
    FORMAT,
    Layout,
    Manifest,
    ServingManifest,
    TensorSpec,
)
from medclip.bundle.orientation import Orientation
from medclip.cases.case import Case
from medclip.errors import ScanError, TextError
from medclip.files.plain import digest_of
from medclip.files.tensors import write_tensors
from medclip.fusion import Parts
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.modalities.text.clean import require_readable
from medclip.training.card import Provenance, weights_of, write_card
from medclip.training.joint import TrainedFuser
from medclip.training.projection import Projection
from medclip.training.towers import Towers, save_recipes
from medclip.training.verify import TorchModel

__all__ = ["save_bundle"]

Array = NDArray[np.float32]

_REFERENCES = 2
_REFERENCE_CHARACTERS = 200  # they are recomputed whenever a model is opened: enough text to tell, and no more


def _reference_inputs(
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
            texts.append(require_readable((case.report or case.note_text("history"))[:_REFERENCE_CHARACTERS], scripts))
        except TextError:
            continue
        if len(pictures) >= _REFERENCES and len(texts) >= _REFERENCES:
            break
    return pictures[:_REFERENCES], texts[:_REFERENCES]


def _reference_parts(cases: Sequence[Case], scans: Array, texts: Array, fused: TrainedFuser) -> list[Parts]:
    """The reference outputs as cases of every composition."""
    coded = [fused.coding.encode(case.measured) for case in cases]
    values = max(coded, key=lambda vector: int(np.count_nonzero(vector)))
    whole = Parts(scans, texts[:0], texts, values)
    return [whole, *(whole.only(there) for there in combinations(whole.there, len(whole.there) - 1))]


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
    orientation: Orientation | None,
) -> None:
    """Complete a model folder whose ``serving/`` holds the exported graphs."""
    layout = Layout(folder)
    serving = layout.serving
    module = TorchModel(towers.model, projection, fused.network).eval().cpu()
    tensors = _tensors(module)
    write_tensors(layout.weights, tensors)
    save_recipes(towers, folder)
    shape = projection.shape
    pictures, texts = _reference_inputs(provenance.fold.train, cases_folder, towers.reading.scripts)
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
        adds_texts=False,
        gauge=shape.gauge,
        tuned=provenance.tune is not None or provenance.teacher is not None,
        orientations=orientation.names if orientation is not None else (),
        synthetic=all(case.synthetic for case in provenance.fold.train),
        weights=weights_of(towers, provenance),
        sha256={},
    )
    scan_embeddings, text_embeddings = module.embed(prepared, texts, partial, serving.tokenizer)
    fuser = fused.fuser()
    tokens = fuser.tokens(_reference_parts(provenance.fold.train, scan_embeddings, text_embeddings, fused))
    write_tensors(
        serving.references,
        {
            "prepared": prepared,
            "scan_embeddings": scan_embeddings,
            "text_embeddings": text_embeddings,
            **({"tokens": tokens, "joint": fuser.run(tokens)} if fuser.run is not None else {}),
            **{f"picture_{i}": np.ascontiguousarray(picture) for i, picture in enumerate(pictures)},
            **{f"text_{i}": np.frombuffer(text.encode(), np.uint8).copy() for i, text in enumerate(texts)},
        },
    )
    if orientation is not None:
        write_tensors(serving.orientation, {"weights": orientation.weights, "bias": orientation.bias})
    listed = serving.listed(partial.fuser, partial.orientations)
    manifest = partial.model_copy(update={"sha256": {file.name: digest_of(file) for file in listed}})
    serving.manifest.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_card(layout, towers, provenance, shape, fused)
    stored = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != layout.manifest]
    bundle = Manifest(
        format=FORMAT,
        towers=towers.name,
        tensors={name: TensorSpec(shape=tuple(t.shape), dtype=str(t.dtype)) for name, t in tensors.items()},
        sha256={path.relative_to(folder).as_posix(): digest_of(path) for path in stored},
    )
    layout.manifest.write_text(bundle.model_dump_json(indent=2) + "\n", encoding="utf-8")
