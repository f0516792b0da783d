"""Does an archive know what it holds nothing like? ``make bench-novelty CASES=medpix XRAYS=covid``

Of patient-disjoint folds of CASES each is asked about by what was trained and fitted on the others: its own scans and texts,
which are like the archive; its scans turned and inverted; the scans of XRAYS; noise, photographs (of scikit-learn and
matplotlib, and cut-outs of them) and drawn charts; the texts of novelty_texts.json; and, of each class of a label set, its
scans where the archive and its model have none. Printed are the AUROC of 1 - p against the fold's own scans or texts, and the
share that is called unlike the archive.
"""

import argparse
import io
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from medclip.archive.novelty import Novelty, Usual
from medclip.cases import Case, read_cases
from medclip.cases.splits import kfold
from medclip.diagnosis.novelty import LEVEL
from medclip.fusion import Parts
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training.attention import attention_of
from medclip.training.features import CaseFeatures, PictureFeatures, compute_features
from medclip.training.joint import embed_features, train_fuser
from medclip.training.orientation import Turned, fit_orientation, turned_features
from medclip.training.projection import Projection
from medclip.training.run import exported_towers
from medclip.training.settings import FuserSettings, Settings
from medclip.training.towers import load_towers
from medclip.training.trainer import train_projection

Array = NDArray[np.float32]
Grey = NDArray[np.uint8]
TEXTS = Path(__file__).with_name("novelty_texts.json")
TURNS = {"upside down": np.flipud, "turned by 180°": lambda p: np.rot90(p, 2), "turned left": np.rot90}


def photographs(rng: np.random.Generator) -> list[Grey]:
    """Three photographs and nineteen cut-outs of each."""
    import matplotlib
    import sklearn

    files = sorted(Path(sklearn.__file__).parent.glob("datasets/images/*.jpg"))
    files.append(Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg")
    found = []
    for file in files:
        picture = np.asarray(Image.open(file).convert("L"))
        found.append(picture)
        for _ in range(19):
            height, width = (int(side * rng.uniform(0.4, 0.9)) for side in picture.shape)
            top, left = (int(rng.integers(0, a - b)) for a, b in zip(picture.shape, (height, width), strict=True))
            found.append(picture[top : top + height, left : left + width])
    return found


def charts(rng: np.random.Generator, count: int = 40) -> list[Grey]:
    """Lines, bars, dots and fields."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    found = []
    for number in range(count):
        figure, axes = pyplot.subplots(figsize=(rng.uniform(3, 7), rng.uniform(3, 5)))
        points = int(rng.integers(4, 40))
        if number % 4 == 0:
            axes.plot(rng.normal(size=(points, 3)).cumsum(0))
        elif number % 4 == 1:
            axes.bar(range(points), rng.random(points))
        elif number % 4 == 2:
            axes.scatter(rng.random(points), rng.random(points))
        else:
            axes.imshow(rng.random((points, points)))
        axes.set_title(f"Figure {number}")
        written = io.BytesIO()
        figure.savefig(written, format="png")
        pyplot.close(figure)
        found.append(np.asarray(Image.open(written).convert("L")))
    return found


def noise(rng: np.random.Generator, count: int = 60) -> list[Grey]:
    """Fine to coarse."""
    sides = [4, 8, 16, 32, 64, 320]
    small = [rng.integers(0, 256, (sides[i % 6],) * 2, dtype=np.uint8) for i in range(count)]
    return [np.asarray(Image.fromarray(one).resize((320, 320))) for one in small]


@dataclass(frozen=True)
class Archive:
    """A fold's archive, to be asked."""

    novelty: Novelty
    projection: Projection

    def scans(self, features: Array) -> Array:
        """(n,) p-values of (n, d) tower features of scans."""
        with torch.inference_mode():
            vectors = self.projection.embed_scan(torch.from_numpy(features)).numpy()
        return self._asked([self._parts(vector[None], "scan") for vector in vectors])

    def texts(self, features: Array, kind: str) -> Array:
        """(n,) p-values of (n, d) tower features of histories or reports."""
        with torch.inference_mode():
            vectors = self.projection.embed_text(torch.from_numpy(features)).numpy()
        return self._asked([self._parts(vector[None], kind) for vector in vectors])

    def _parts(self, vector: Array, kind: str) -> Parts:
        own = {name: vector if name == kind else vector[:0] for name in ("scan", "history", "report")}
        return Parts(own["scan"], own["history"], own["report"], np.zeros(self.novelty.fuser.measurements, np.float32))

    def _asked(self, parts: Sequence[Parts]) -> Array:
        judged = [self.novelty.judge(one) for one in parts]
        return np.asarray([1.0 if one is None else one.p for one in judged])


def archive(
    features: PictureFeatures, turned: Turned, cases: Sequence[Case], settings: Settings
) -> tuple[Archive, Array]:
    """What `evaluate` trains and fits on a fold's cases, as far as novelty needs it; and the attention over slices."""
    from medclip.evaluation.crossval import _embedded

    seen = features.select(cases)
    attention = attention_of(seen, seed=settings.seed)
    train = seen.pooled(attention)
    projection = train_projection(train, None, settings, device="cpu", progress=lambda _: None).projection
    fused = train_fuser(projection, train, FuserSettings())
    scans, texts = embed_features(projection, train)
    orientation = fit_orientation(turned.select(cases), projection, fused.fuser())
    usual = Usual(fused.fuser(), orientation)
    for _ in usual.passing(_embedded(train, scans[0], texts, fused.coding)):
        pass
    novelty = usual.novelty()
    assert novelty is not None, "a model that was just trained has a gauge"
    return Archive(novelty, projection), attention


def auroc(like: Array, unlike: Array) -> float:
    """Of 1 - p."""
    return float(roc_auc_score(np.r_[np.zeros(len(like)), np.ones(len(unlike))], -np.r_[like, unlike]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--xrays", type=Path, help="a cases folder of which the cases have nothing")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--left-out", default="location", help="label set whose classes are left out one by one")
    asked = parser.parse_args()
    settings = Settings(epochs=1)  # what is trained, the aligned block, takes no part in it
    rng = np.random.default_rng(0)
    cases = read_cases(asked.cases)
    with tempfile.TemporaryDirectory() as scratch:
        runner = exported_towers(load_towers("default"), Path(scratch) / "towers")
        known = {"seed": settings.seed, "cache": Path(scratch), "fingerprint": "default"}
        features = compute_features(cases, asked.cases, runner, augmentations=settings.augmentations, **known)
        turned = turned_features(cases, asked.cases, runner, **known)

        def tower(pictures: Sequence[Grey]) -> Array:
            prepared = [prepare_scan(np.ascontiguousarray(one), runner.preprocessing) for one in pictures]
            parts = [runner.scan_features(np.stack(prepared[i : i + 8])) for i in range(0, len(prepared), 8)]
            return np.concatenate(parts)

        others = {"noise": noise(rng), "photographs": photographs(rng), "charts": charts(rng)}
        if asked.xrays is not None:
            scans = [(case, scan) for case in read_cases(asked.xrays) for scan in case.scans]
            others["X-rays"] = [read_scan(asked.xrays / scan.file).middle for _, scan in scans]
        strange = {name: tower(pictures) for name, pictures in others.items()}
        middles = [read_scan(asked.cases / scan.file).middle for case in cases for scan in case.scans]
        lying = {name: tower([turn(one) for one in middles]) for name, turn in TURNS.items()}
        lying["inverted"] = tower([255 - one for one in middles])
        texts = {name: runner.text_features(some) for name, some in json.loads(TEXTS.read_text())["texts"].items()}
    position = {case.id: i for i, case in enumerate(cases)}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for fold in kfold(cases, asked.folds, settings.seed):
        made, attention = archive(features, turned, fold.train, settings)
        held: CaseFeatures = features.select(fold.held_out).pooled(attention)
        rows = np.flatnonzero(np.isin(features.rows.scan_case, [position[case.id] for case in fold.held_out]))
        like = made.scans(held.scans[0])
        found["its own scans"].append((0.5, float((like < LEVEL).mean())))
        for name, given in {**strange, **{name: one[rows] for name, one in lying.items()}}.items():
            p = made.scans(given)
            found[name].append((auroc(like, p), float((p < LEVEL).mean())))
        for kind in ("history", "report"):
            own = made.texts(held.texts[held.rows.text_kind == kind], kind)
            found[f"its own texts, as {kind}"].append((0.5, float((own < LEVEL).mean())))
            for name, given in texts.items():
                p = made.texts(given, kind)
                found[f"{name}, as {kind}"].append((auroc(own, p), float((p < LEVEL).mean())))
    first = next(iter(kfold(cases, asked.folds, settings.seed)))
    for label in sorted({case.labels[asked.left_out] for case in cases if asked.left_out in case.labels}):
        without = [case for case in first.train if case.labels.get(asked.left_out) != label]
        made, attention = archive(features, turned, without, settings)
        held = features.select(first.held_out).pooled(attention)
        own_label = np.asarray([held.rows.cases[i].labels.get(asked.left_out) == label for i in held.rows.scan_case])
        p = made.scans(held.scans[0])
        found[f"{asked.left_out} {label}, left out"].append(
            (auroc(p[~own_label], p[own_label]), float((p[own_label] < LEVEL).mean()))
        )
    print(f"{'asked with':50} AUROC  called unlike (below p = {LEVEL})")
    for name, values in found.items():
        area, called = np.mean(values, 0)
        print(f"{name:50} {area:5.3f}  {called:5.3f}")


if __name__ == "__main__":
    main()
