"""What large towers cost, before anybody downloads them: random weights of the published sizes, through the whole way.

    make bench-towers            BiomedCLIP's, MedSigLIP's and RAD-DINO's sizes beside the default towers

For each: a folder in the published layout, a training on a dozen synthetic cases (which teaches nothing: the weights are
random), an index of them, and a query in a new process. INT8 is onnxruntime's dynamic quantisation of the image tower's
matrix products, for its time alone: what it does to answers cannot be told from random weights.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import tiny_hub

MEDCLIP = Path(sys.executable).with_name("medclip")
REPEATS = 5


@dataclass(frozen=True)
class _Size:
    """Towers of a published size."""

    title: str
    towers: str  # as for --towers; {} is the folder
    make: Callable[[Path], None] | None


def _biomedclip(folder: Path) -> None:
    """ViT-B/16 at 224 pixels, BERT-base of 256 tokens."""
    bert = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    tiny_hub.as_biomedclip(folder, trunk="vit_base_patch16_224", width=512, text={**bert, "vocab_size": 30522})


def _medsiglip(folder: Path) -> None:
    """SigLIP-so400m at 448 pixels, 64 tokens."""
    size = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}
    tiny_hub.as_medsiglip(folder, size=size, patch=14, vocabulary=32000)


def _rad_dino(folder: Path) -> None:
    """DINOv2-B at 518 pixels, beside MiniLM."""
    size = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4}
    tiny_hub.as_rad_dino(folder, size=size, patch=14)


SIZES = {
    "default": _Size("default (EfficientNet-lite0 at 288, MiniLM)", "default", None),
    "biomedclip": _Size("BiomedCLIP's (ViT-B/16 at 224, BERT-base)", "local-dir:{}", _biomedclip),
    "rad-dino": _Size("RAD-DINO's (DINOv2-B at 518) and MiniLM", "transformers:{}+default", _rad_dino),
    "medsiglip": _Size("MedSigLIP's (so400m at 448, 64 tokens)", "transformers:{}", _medsiglip),
}


def _median(action: Callable[[], object], repeats: int = REPEATS) -> float:
    action()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _cases(root: Path) -> Path:
    """A dozen of the sample's cases."""
    from medclip.cases import read_cases, write_cases

    cases = root / "cases"
    subprocess.run([MEDCLIP, "cases", "import", "sample", "--out", cases], check=True, capture_output=True)
    loaded = read_cases(cases)
    train, dev = ([case for case in loaded if case.split == split] for split in ("train", "dev"))
    write_cases(cases, [*train[:10], *dev[:2]])
    return cases


def _int8(file: Path, scratch: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises
    out = scratch / "int8.onnx"
    quantize_dynamic(file, out, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    return out


def _peak(command: list[object]) -> float:
    """Gigabytes at most that a command held, started by a small process: a child's count begins with its parent's."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def _measured(size: _Size, cases: Path, root: Path) -> dict[str, float | str]:
    """Figures of one size. Runs in a process of its own, whose peak memory is the training's."""
    from medclip.bundle.layout import Layout
    from medclip.bundle.serving import ServingModel, session
    from medclip.cases import read_cases
    from medclip.training.run import train_model
    from medclip.training.settings import Settings

    folder, model, index = root / "towers", root / "model", root / "index"
    if size.make is not None:
        size.make(folder)
    started = time.perf_counter()
    loaded = read_cases(cases)
    train_model(
        loaded, cases, model, towers_name=size.towers.format(folder), settings=Settings(epochs=1, augmentations=0)
    )
    trained = time.perf_counter() - started
    training_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    subprocess.run(
        [MEDCLIP, "index", "build", cases, "--model", model, "--out", index], check=True, capture_output=True
    )
    served = ServingModel(Layout(model).serving.root)
    side = served.manifest.preprocessing.size
    picture = np.random.default_rng(0).integers(0, 256, (1, side, side), np.uint8)
    text = next(case.report for case in loaded if case.report)
    scan = _median(lambda: served.towers.scan_features(picture))
    written = _median(lambda: served.towers.text_features([text]))
    quick = session(_int8(Layout(model).serving.scan_tower, root))
    quick_scan = _median(lambda: quick.run(None, {"input": picture}))
    query = [MEDCLIP, "query", index, "--scan", cases / loaded[-1].scans[0].file, "--text", "cough", "--json"]
    cold = _median(lambda: subprocess.run(query, check=True, capture_output=True), repeats=3)
    files = [file for file in Layout(model).serving.root.rglob("*") if file.is_file()]
    return {
        "towers": size.title,
        "scans a second (1 thread)": 1 / scan,
        "the same, INT8": 1 / quick_scan,
        "texts a second": 1 / written,
        "cold query, s": cold,
        "its memory, GB": _peak(query),
        "to serve, MB": sum(file.stat().st_size for file in files) / 1e6,
        "image tower INT8, MB": (root / "int8.onnx").stat().st_size / 1e6,
        "training's memory, GB": training_peak,
        "training and export, s": trained,
    }


def main() -> None:
    """Measure every size in a process of its own and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--one", choices=list(SIZES), help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(_measured(SIZES[options.one], options.cases, Path(scratch))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        cases = _cases(Path(scratch))
        for name in options.only:
            command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--cases", str(cases)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title="towers of published sizes, random weights (medians)", title_justify="left", box=None)
    table.add_column("")
    for row in rows:
        table.add_column(str(row["towers"]), justify="right")
    for figure in list(rows[0])[1:]:
        table.add_row(figure, *(f"{row[figure]:.3g}" if row[figure] < 100 else f"{row[figure]:.0f}" for row in rows))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
