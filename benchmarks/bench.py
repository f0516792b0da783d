"""`make bench`: speed and memory, as ratios within one run. Uses ../shared/data where it is there, else the sample."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

MEDCLIP = str(Path(sys.executable).with_name("medclip"))
MEDPIX = Path(__file__).parents[2] / "shared" / "data" / "medpix-2.0"
REPEATS = 7


def _median(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall seconds, after one run to warm the disk's cache."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _medians(actions: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """The same of several, taken in turn, so that what else the machine does is shared by all."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            times[name] += [time.perf_counter() - started] * (repeat > 0)
    return {name: statistics.median(taken) for name, taken in times.items()}


_PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Where Python may not keep what it compiled, as in some containers, medclip would be compiled anew by each command, and the
baselines, which pip has compiled, would not."""


def _run(*arguments: object) -> None:
    subprocess.run([MEDCLIP, *map(str, arguments)], check=True, capture_output=True, env=_PLAIN)


def _peak_megabytes(*arguments: object) -> float:
    """Peak resident memory of a command, in MB."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, MEDCLIP, *map(str, arguments)],
        check=True, capture_output=True, text=True, env=_PLAIN,
    )  # fmt: skip
    return float(done.stdout)


def _bare_script(model: Path, scan: Path) -> list[str]:
    """The baseline of a cold query: load both towers as ONNX, encode one scan and one text."""
    code = f"""
import numpy as np, onnxruntime as ort
from PIL import Image
from tokenizers import Tokenizer
s = {str(model / "serving")!r}
scan, text = (ort.InferenceSession(f"{{s}}/{{n}}_tower.onnx") for n in ("scan", "text"))
side = 288
picture = np.asarray(Image.open({str(scan)!r}).convert("L").resize((side, side)))[None]
scan.run(None, {{"input": picture}})
ids = Tokenizer.from_file(f"{{s}}/tokenizer.json").encode("73-year-old male with hematuria").ids
text.run(None, {{"input": np.asarray([ids], np.int64)}})
"""
    return [sys.executable, "-c", code]


def _open_clip_loop(files: list[Path]) -> Callable[[], None]:
    """The baseline of embedding: decode, preprocess and encode one scan after another with open_clip's own parts."""
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from medclip.training.towers import load_towers

    towers = load_towers("default")
    how = towers.preprocessing
    config = PreprocessCfg(size=how.size, mean=how.mean, std=how.std, interpolation="bicubic", resize_mode="longest")
    preprocess = image_transform_v2(config, is_train=False)

    def loop() -> None:
        with torch.inference_mode():
            for file in files:
                towers.model.encode_image(preprocess(Image.open(file).convert("RGB"))[None], normalize=True)

    return loop


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, help="a trained model folder; trained here if not given")
    options = parser.parse_args()
    table = Table(title="medclip bench (medians)", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("what", "value", "baseline", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        cases, model, index = root / "cases", options.model or root / "model", root / "index"
        if MEDPIX.is_dir():
            _run("cases", "import", "medpix-2.0", MEDPIX, "--out", cases)
        else:
            _run("cases", "import", "sample", "--out", cases)
        name = "MedPix 2.0" if MEDPIX.is_dir() else "sample cohort"
        if options.model is None:
            started = time.perf_counter()
            peak = _peak_megabytes("train", cases, "--out", model, "--device", "cpu")
            table.add_row(f"train on {name}", f"{time.perf_counter() - started:.0f} s, {peak:.0f} MB", "-", "-")
        started = time.perf_counter()
        _run("index", "build", cases, "--model", model, "--out", index)
        table.add_row(f"index build on {name}", f"{time.perf_counter() - started:.0f} s", "-", "-")
        files = sorted((cases / "scans").iterdir())[:96]
        scan, text = ("--scan", files[0]), ("--text", "73-year-old male with hematuria")
        spent = _medians(
            {
                "bare": lambda: subprocess.run(_bare_script(model, files[0]), check=True, capture_output=True),
                "cold query, scan and text": lambda: _run("query", index, *scan, *text),
                "scan alone": lambda: _run("query", index, *scan),
                "text alone": lambda: _run("query", index, *text),
                "scan and text, model verified anew": lambda: _run("query", index, *scan, *text, "--verify"),
            }
        )
        bare = spent.pop("bare")
        for what, query in spent.items():
            table.add_row(what, f"{query:.2f} s", f"bare ONNX script {bare:.2f} s", f"{query / bare:.1f} x")
        python = _median(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        helped = _median(lambda: _run("--help"))
        table.add_row("medclip --help", f"{helped:.2f} s", f"bare python {python:.2f} s", f"{helped / python:.1f} x")
        table.add_row("its peak memory", f"{_peak_megabytes('query', index, '--scan', files[0]):.0f} MB", "-", "-")
        series = _ct_series(root / "series")
        of_series = _median(lambda: _run("query", index, "--scan", series), 3)
        table.add_row(
            "cold query with a CT series, 512 x 512 x 120",
            f"{of_series:.2f} s, {_peak_megabytes('query', index, '--scan', series):.0f} MB",
            f"bare ONNX script {bare:.2f} s",
            f"{of_series / bare:.1f} x",
        )
        ours, theirs = _embedding(model, cases, files)
        table.add_row(
            "embed scans, decode to vector",
            f"{len(files) / ours:.0f} scans/s",
            f"open_clip loop {len(files) / theirs:.0f} scans/s",
            f"{theirs / ours:.1f} x",
        )
    Console(width=110).print(table)


def _ct_series(folder: Path) -> Path:
    """A CT series of 120 slices of 512 × 512, one file a slice, uncompressed."""
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 / 0.64 + y**2 / 0.36 < 1, 40, -1000)
    series = generate_uid()
    for number in range(120):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.BodyPartExamined, slice_.SeriesInstanceUID = "CT", "ABDOMEN", series
        slice_.StudyInstanceUID, slice_.InstanceNumber = series, number + 1
        slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.5 * number]
        slice_.Rows = slice_.Columns = 512
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleIntercept, slice_.RescaleSlope = 0, 1
        slice_.PixelData = (body + rng.normal(0, 15, body.shape)).astype("<i2").tobytes()
        slice_.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder


def _embedding(model: Path, cases: Path, files: list[Path]) -> tuple[float, float]:
    """Seconds for the scans by medclip's embedder and by the open_clip loop."""
    from medclip.bundle.serving import ServingModel
    from medclip.cases.case import Case, Scan
    from medclip.embedding.embedder import Embedder

    embedder = Embedder(ServingModel(model / "serving"))
    chunks = [files[i : i + 8] for i in range(0, len(files), 8)]
    posed = [
        Case(id=f"c{i}", patient=f"p{i}", scans=tuple(Scan(file=f"scans/{f.name}") for f in chunk))
        for i, chunk in enumerate(chunks)
    ]
    return _median(lambda: list(embedder.cases(posed, cases)), 3), _median(_open_clip_loop(files), 3)


if __name__ == "__main__":
    main()
