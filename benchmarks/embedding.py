"""Where the time of embedding goes, stage by stage: ``make bench-embedding CASES=cases MODEL=model``.

Milliseconds of computing a scan (a case, for the head), medians of rounds in which the stages take turns: a machine with
other work to do makes computing slower, but does not add to it as it does to the time that passes. One thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from medclip.bundle.layout import Layout, ServingLayout
from medclip.bundle.serving import ServingModel
from medclip.cases import read_cases
from medclip.embedding.embedder import Embedder
from medclip.files.plain import digest_of
from medclip.modalities.scan.crops import with_crops
from medclip.modalities.scan.formats import from_file
from medclip.modalities.scan.pictures import picture_features
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan, thumbnail

ROUNDS = 7


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scans", type=int, default=48)
    options = parser.parse_args()
    scans = [scan.file for case in read_cases(options.cases) for scan in case.scans]
    files = [options.cases / file for file in scans[:: max(1, len(scans) // options.scans)]][: options.scans]
    model = ServingModel(Layout(options.model).serving.root, threads=1)
    embedder, how = Embedder(model), model.manifest.preprocessing
    read = [read_scan(file) for file in files]
    prepared = [[prepare_scan(one, how) for one in with_crops(scan.pictures, how.cut)] for scan in read]
    features = picture_features(model.towers.scan_features, prepared)[:1]
    head = ServingLayout(model.folder).scan_head
    embedder.scans(read[:1])
    stages: dict[str, Callable[[], object]] = {
        "decoding alone, in this process": lambda: [from_file(file) for file in files],
        "reading by a decoder (decoding is in its process)": lambda: [read_scan(file) for file in files],
        "preparing": lambda: [[prepare_scan(one, how) for one in with_crops(scan.pictures, how.cut)] for scan in read],
        "thumbnail": lambda: [thumbnail(scan.middle) for scan in read],
        "checksum": lambda: [digest_of(file) for file in files],
        "tower": lambda: [picture_features(model.towers.scan_features, [one]) for one in prepared],
        "head (a case)": lambda: [model.towers.run(head, features) for _ in files],
        "from pictures to vectors": lambda: [embedder.scans([scan]) for scan in read],
    }
    spent: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(ROUNDS):
        for name, stage in stages.items():
            started = time.process_time()
            stage()
            spent[name].append(1000 * (time.process_time() - started) / len(files))
    sizes = [scan.middle.size for scan in read]
    table = Table(title=f"{len(files)} scans, {np.median(sizes) / 1e6:.2f} million pixels in the middle", box=None)
    table.add_column("stage")
    table.add_column("ms of computing", justify="right")
    for name, times in spent.items():
        table.add_row(name, f"{statistics.median(times):.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
