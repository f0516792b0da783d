"""`make bench-memory`: what building an index and adding to it take in memory, by the number of cases.

The cases are synthetic and embedded beforehand (a scan with a thumbnail of 10 KB, a report, a label), so that the rest of
the way is measured: manifest, shards, catalogue, search structure, answers. Every step runs in a process of its own.
Resident memory that is no file's (RssAnon) is sampled. What a search structure holds, every vector once, is named apart:
FAISS builds it in memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medclip.archive.build import build_index
from medclip.archive.upkeep import change_cases
from medclip.bundle.layout import Layout
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.cases.manifest import StoredCases, write_cases
from medclip.embedding.embedder import EmbeddedCase, Embedder
from medclip.embedding.shards import open_shards, planned, work_folder, write_shard
from medclip.index import CaseIndex

THUMBNAIL = 10_000  # bytes
WORDS = np.asarray([f"{a}{b}" for a in ("opac", "nodul", "effus", "mass", "fract") for b in "abcdefghijklmnopqrst"])


def cases(first: int, count: int) -> Iterator[Case]:
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        yield Case.model_validate(
            {
                "id": f"case-{number:07d}",
                "patient": f"patient-{number // 2:07d}",
                "scans": [
                    {"file": f"scans/{number}.png", "modality": "CT", "caption": " ".join(rng.choice(WORDS, 30))}
                ],
                "labels": {"organ": ("lung", "liver")[number % 2]},
                "age": number % 90,
                "split": "train",
            }
        )


def embed(folder: Path, first: int, count: int, model: ServingModel, out: Path) -> None:
    """Write the cases, and shards as embedding them would have."""
    folder.mkdir()
    write_cases(folder, cases(first, count))
    rng = np.random.default_rng(first)
    embedder = Embedder(model)
    width = model.manifest.base
    scales = 1 / np.sqrt(1 + np.arange(width))  # as of real embeddings: a few directions hold most of the spread
    centres = np.random.default_rng(0).normal(size=(400, width)) * scales

    def unit() -> np.ndarray[Any, Any]:
        x = centres[rng.integers(len(centres))] + 0.8 * rng.normal(size=width) * scales
        return np.asarray(x / np.linalg.norm(x), np.float32)[None]

    measured = np.zeros(model.manifest.measurements.width, np.float32)
    with open_shards(out, model.fingerprint):
        for shard in planned(StoredCases(folder), folder, out):
            embedded = [
                EmbeddedCase(case, (0,), unit(), unit(), unit()[:0], measured, {0: rng.bytes(THUMBNAIL)})
                for case in shard.cases
            ]
            write_shard(shard, embedded, embedder)


class Watch:
    """The highest anonymous resident memory, sampled 100 times a second."""

    def __init__(self) -> None:
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(0.01):
            status = Path("/proc/self/status").read_text()
            self.peak = max(self.peak, int(status.split("RssAnon:")[1].split()[0]) * 1024)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def step(name: str, folder: Path, model: Path, index: Path, shards: Path) -> dict[str, Any]:
    """Build or add, in this process."""
    began = time.perf_counter()
    with Watch() as watch:
        if name == "build":
            build_index(StoredCases(folder), folder, model, index, shards=shards, threads=2)
        else:
            change_cases(index, StoredCases(folder), folder, update=name == "update", threads=2)
    seconds = time.perf_counter() - began
    opened = CaseIndex.open(index)
    stats = opened.stats()
    opened.close()
    return {"step": name, "peak": watch.peak, "seconds": seconds, "views": stats["views"], "width": stats["dimension"]}


def measured(*arguments: object) -> dict[str, Any]:
    """One step in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--step", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("demo/model"))
    parser.add_argument("--cases", type=int, nargs="+", default=[64, 1000, 10_000, 100_000])
    parser.add_argument("--step", nargs=5)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step[0], *map(Path, options.step[1:]))))
        return
    model = ServingModel(Layout(options.model).serving.root)
    print("| cases | step | seconds | peak MB | of it vectors in the structure MB | without MB | of one shard's |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    least: dict[str, int] = {}
    for count in options.cases:
        work = Path(tempfile.mkdtemp(prefix="medclip-memory-"))
        index = work / "index"
        embed(work / "cases", 0, count, model, work / "shards")
        embed(work / "more", count, count, model, work_folder(index))
        for name, folder in (("build", work / "cases"), ("add", work / "more")):
            found = measured(name, folder, options.model, index, work / "shards")
            # An add makes no structure, and searches none.
            vectors = 4 * found["views"] * found["width"] if name == "build" else 0
            rest = found["peak"] - vectors
            least.setdefault(name, rest)
            print(f"| {count:,} | {name} | {found['seconds']:.1f} | {found['peak'] / 1e6:.0f} | {vectors / 1e6:.0f} | "
                  f"{rest / 1e6:.0f} | {rest / least[name]:.2f} x |", flush=True)  # fmt: skip
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
