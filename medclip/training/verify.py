"""A model folder rebuilt in torch: does it give the outputs that training stored?"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import Tensor, nn

from medclip.bundle.layout import Layout, ServingManifest, read_model
from medclip.bundle.serving import require_alike, stored_texts
from medclip.errors import BundleError
from medclip.fusion.base import FuserShape, build_network
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.text.encoder import TextTower
from medclip.modalities.text.tokens import TextTokenizer, pool_windows
from medclip.training.joint import run_network
from medclip.training.projection import Projection, Shape
from medclip.training.towers import rebuild_towers

__all__ = ["TorchModel", "verify_torch"]


class TorchModel(nn.Module):
    """Towers, projection and fuser as one module: what ``weights.safetensors`` holds."""

    def __init__(self, model: nn.Module, projection: Projection, fuser: nn.Module | None) -> None:
        super().__init__()
        self.towers, self.projection, self.fuser = model, projection, fuser

    def _pooled(self, rows: Tensor) -> Tensor:
        """(r, d) features of one scan → (d,)."""
        return (self.projection.attend(rows).softmax(0) * rows).sum(0)

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
            seen = seen.reshape(
                len(prepared), -1, seen.shape[-1]
            )  # rows of each picture: its crops, too, if it gives them
            scans = self.projection.embed_scan(
                torch.stack([*map(self._pooled, seen), self._pooled(seen.flatten(0, 1))])
            )
            features = text_tower(torch.from_numpy(windows.ids)).numpy()
            pooled = pool_windows(features, windows, len(texts))
            return scans.numpy(), self.projection.embed_text(torch.from_numpy(pooled)).numpy()


def verify_torch(folder: Path) -> float:
    """Rebuild the model in torch from its folder and recompute the reference outputs; the least cosine.

    Raises:
        BundleError: a tensor is missing, left over or of another shape, or an output differs.
    """
    layout = Layout(folder)
    facts = json.loads(layout.training.read_text(encoding="utf-8"))
    manifest = read_model(layout.serving.manifest, ServingManifest, "train it again")
    network = build_network(manifest.fuser, FuserShape(**facts["fuser_shape"]))
    module = TorchModel(rebuild_towers(folder), Projection(Shape(**facts["shape"])), network)
    try:
        module.load_state_dict(load_file(layout.weights), strict=True)
    except RuntimeError as error:
        raise BundleError(f"{layout.weights}: its tensors do not fit the model; train it again") from error
    stored = load_arrays(layout.serving.references)
    now = [*module.embed(stored["prepared"], stored_texts(stored), manifest, layout.serving.tokenizer)]
    then = [stored["scan_embeddings"], stored["text_embeddings"]]
    if network is not None:
        now.append(run_network(network.eval(), stored["tokens"]))
        then.append(stored["joint"])
    return require_alike(now, then, f"{layout.weights}: torch gives other embeddings than stored", "train it again")
