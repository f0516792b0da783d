"""``make bench-heatmap``: does a heat map point at the lesion, and stay inside the body?

The pointing game (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x): the hottest point hits if it lies on the lesion, or
within 8 pixels of it (their 15, of pictures twice as large). Phantoms of other seeds than the index's cohort ask, by the
scan alone; the target is the most similar case's scan. Ways:

- *crops*: similarity of overlapping crops to the target, as the page draws it;
- *mask*: the same, within the body; *difference*: less the crops' similarity to the archive's average, within the body;
- *surroundings*: how much the whole scan's similarity to the target, less that to the average of the 30 archived scans
  most like the query, falls when the tower's features around a place become those of its surroundings, within the body.

Real scans have no lesion marked: of them only the share inside the body is told, by air grown from the picture's edge.
"""

import argparse
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from torch.nn import functional

from medclip.assistant.assistant import Assistant
from medclip.assistant.heatmap import relevance
from medclip.bundle.layout import Layout
from medclip.cases.sources.sample.cohort import drawn
from medclip.fusion.base import FuserShape, build_network
from medclip.fusion.case_vector import unit
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.prepare import prepare_scan
from medclip.training.projection import Projection, Shape
from medclip.training.towers import rebuild_towers
from medclip.training.verify import TorchModel

Array = NDArray[np.float32]
NEAR = 8  # pixels of 256
ALIKE = 30  # archived scans whose average is subtracted; best of 15, 30, 60 and all on seeds 1 and 2
WINDOW, AROUND = 2.5, 5.0  # places: what is exchanged, and what for; best of six pairs on seeds 1 and 2
PLACES = 18  # along either axis: the resolution of the tower's blocks 3 and 4 at 288 pixels


def body(picture: GreyPicture) -> NDArray[np.bool_]:
    """Above 0.4 of the way from the darkest grey to Otsu's threshold, closed, filled, without small parts."""
    side = max(picture.shape)
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), side * 0.005)
    counts = np.bincount(np.clip(smooth, 0, 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    below, total = counts.cumsum(), (counts * np.arange(256)).cumsum()
    spread = (total[-1] * below / below[-1] - total) ** 2 / np.maximum(below * (below[-1] - below), 1e-9)
    low, reach = float(np.percentile(smooth, 1)), max(1, round(side * 0.02))
    found = np.pad(smooth > low + (spread.argmax() - low) * 0.4, reach)
    found = ndimage.binary_closing(found, iterations=reach)[reach:-reach, reach:-reach]
    found = ndimage.binary_opening(ndimage.binary_fill_holes(found), iterations=reach)
    parts, number = ndimage.label(found)
    if not number:
        return np.ones(picture.shape, bool)
    sizes = np.bincount(parts.ravel())[1:]
    return np.isin(parts, np.flatnonzero(sizes >= 0.2 * sizes.max()) + 1)


def not_air(picture: GreyPicture) -> NDArray[np.bool_]:
    """All but what is nearly black (below 8 % of the bright end) and reaches the picture's edge."""
    smooth = ndimage.uniform_filter(picture.astype(np.float32), max(3, max(picture.shape) // 50))
    parts, _ = ndimage.label(smooth < 0.08 * np.percentile(picture, 99))
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return ~np.isin(parts, edge[edge > 0])


class Surroundings:
    """The tower's feature maps, each place of which becomes like its surroundings in turn."""

    def __init__(self, model: Path) -> None:
        layout = Layout(model)
        facts = json.loads(layout.training.read_text(encoding="utf-8"))
        towers, self.projection = rebuild_towers(model), Projection(Shape(**facts["shape"]))
        fuser = FuserShape(**facts["fuser_shape"])
        whole = TorchModel(towers, self.projection, build_network(facts["fuser"]["name"], fuser))
        whole.load_state_dict(load_file(layout.weights))
        self.tower, self.trunk = towers.visual, towers.visual.trunk  # type: ignore[union-attr]
        whole.eval()

    def falls(self, picture: GreyPicture, scan: ScanTower) -> Array:
        """(places², base): the scan's embedding less that with the place like its surroundings."""
        with torch.inference_mode():
            x = torch.from_numpy(picture.copy())[None].float().unsqueeze(1).expand(-1, 3, -1, -1) / 255
            x = self.trunk.bn1(self.trunk.conv_stem((x - scan.mean) / scan.std))
            levels = []
            for block in self.trunk.blocks:
                x = block(x)
                levels.append(x)
            levels = [*levels[-4:], self.trunk.bn2(self.trunk.conv_head(x))]
            without, whole = [], []
            row, column = np.divmod(np.arange(PLACES**2), PLACES)
            apart = np.hypot(row[:, None] - row, column[:, None] - column)
            window = torch.from_numpy(apart <= WINDOW).float()
            around = torch.from_numpy((apart > WINDOW) & (apart <= AROUND)).float()
            quadrant = 2 * (row >= PLACES // 2) + (column >= PLACES // 2)
            everywhere = np.zeros(PLACES**2, int)
            for number, level in enumerate(levels):
                wide = functional.interpolate(level, (PLACES, PLACES), mode="bilinear").flatten(2)[0].T
                instead = around @ wide / around.sum(1, keepdim=True)
                for parts in [everywhere, *([quadrant] if number in (1, 3) else [])]:
                    means, changed = [], []
                    for part in range(parts.max() + 1):
                        of = torch.from_numpy(parts == part)
                        mean, here = wide[of].mean(0), window[:, of]
                        means.append(mean[None])
                        changed.append(mean + (here.sum(1, keepdim=True) * instead - here @ wide[of]) / of.sum())
                    whole.append(functional.normalize(torch.cat(means, 1), dim=-1))
                    without.append(functional.normalize(torch.cat(changed, 1), dim=-1))
            embed = self.projection.embed_scan
            return np.asarray(embed(torch.cat(whole, 1)) - embed(torch.cat(without, 1)))


def real(folders: list[Path], number: int) -> Iterator[GreyPicture]:
    """Every n-th scan of the folders."""
    files = sorted(file for folder in folders for file in folder.glob("images/*"))
    for file in files[:: max(1, len(files) // max(1, number))][:number]:
        yield np.asarray(Image.open(file).convert("L"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="what medclip demo makes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--each", type=int, default=1000, help="scans with a lesion, of each seed, at most")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders with images/")
    parser.add_argument("--real-count", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    assistant, exchanged = Assistant.open(options.demo / "index"), Surroundings(options.demo / "model")
    embedder = assistant.embedder
    how, base = embedder.model.manifest.preprocessing, embedder.fuser.base
    scan = ScanTower(exchanged.tower, how).eval()  # type: ignore[arg-type]
    views = [v for r in assistant.index.records() for v in assistant.index.views_of(r.id) if v.kind == "scan"]
    archive = unit(np.stack([view.vector[:base] for view in views]))
    average = unit(archive.mean(0))

    def raw(picture: GreyPicture, towards: Array) -> Array:
        return relevance(embedder, picture, towards)

    def ways(picture: GreyPicture) -> dict[str, Array]:
        own = embedder.scans([ScanPictures((picture,), 1)])[0]
        order = np.argsort(-(archive @ own), kind="stable")
        target, inside = archive[order[0]], body(picture)
        crops = raw(picture, target)
        # `unit` of the difference scales all similarities alike, which moves no maximum
        difference = raw(picture, target - average)
        falls = exchanged.falls(prepare_scan(picture, how), scan) @ (target - unit(archive[order[:ALIKE]].mean(0)))
        small = falls.reshape(PLACES, PLACES)
        side = max(picture.shape)
        wide = ndimage.zoom(small, side / PLACES, order=1, grid_mode=True, mode="nearest")
        top, left = (side - picture.shape[0]) // 2, (side - picture.shape[1]) // 2
        wide = ndimage.gaussian_filter(wide, side / 64)[top : top + picture.shape[0], left : left + picture.shape[1]]

        def masked(heat: Array) -> Array:
            return np.where(inside, heat, -np.inf)

        return {
            "crops": crops,
            "crops, mask": masked(crops),
            "crops, mask, difference": masked(difference),
            "surroundings, mask, difference": masked(wide),
        }

    hits: dict[str, list[tuple[bool, bool, bool]]] = {}
    for seed in options.seeds:
        for one in itertools.islice((one for one in drawn(seed) if one.lesion.any()), options.each):
            file = next(iter(one.draft.files.values()))
            picture = np.asarray(Image.open(io.BytesIO(file))) if isinstance(file, bytes) else None
            assert picture is not None
            near, inside = ndimage.binary_dilation(one.lesion, iterations=NEAR), not_air(picture)
            for name, heat in ways(picture).items():
                at = np.unravel_index(heat.argmax(), heat.shape)
                hits.setdefault(name, []).append((bool(one.lesion[at]), bool(near[at]), bool(inside[at])))
    print(f"{'way':32}{'n':>5}{'on it':>8}{'near':>8}{'in body':>9}")
    for name, found in hits.items():
        on, close, within = np.mean(found, axis=0)
        print(f"{name:32}{len(found):5}{on:8.2f}{close:8.2f}{within:9.2f}", flush=True)
    bodies: dict[str, list[bool]] = {}
    for picture in real(options.real, options.real_count):
        inside = not_air(picture)
        for name, heat in ways(picture).items():
            bodies.setdefault(name, []).append(bool(inside[np.unravel_index(heat.argmax(), heat.shape)]))
    for name, held in bodies.items():
        print(f"real scans, {name:32}{len(held):5}{np.mean(held):9.3f} in body", flush=True)


if __name__ == "__main__":
    main()
