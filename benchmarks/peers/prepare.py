"""Draws what every peer is given, and finds the true neighbours by comparing with every vector; runs in the project."""

import hashlib
import json
from pathlib import Path

import faiss
import numpy as np
from bench_index import D, draw, exact_neighbours, spectrum

from peers.data import FILTERS, Data

__all__ = ["prepared"]


def prepared(work: Path, count: int, like: Path) -> Path:
    """The folder of the data of so many cases with the spectrum of an index's vectors; made if it is not there."""
    scales = spectrum(like)
    drawn = hashlib.sha256(np.round(scales, 6).tobytes()).hexdigest()[:8]
    folder = work / f"data-{count}-{drawn}"
    if (folder / "truth.npz").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vectors.f32"
    draw(file, count, scales)
    (folder / "meta.json").write_text(json.dumps({"cases": count, "d": D}))
    queries, truth = exact_neighbours(file, count)
    found = {"queries": queries, "all": truth}
    data = Data(folder)
    x, ages = data.vectors(), data.ages()
    for share, below in FILTERS.items():
        passing = np.flatnonzero(ages < below)
        some = np.ascontiguousarray(x[passing])
        _, near = faiss.knn(queries, some, min(10, len(passing)), metric=faiss.METRIC_INNER_PRODUCT)
        found[share] = passing[near]
    with (folder / "truth.partial").open("wb") as out:
        np.savez(out, **found)
    (folder / "truth.partial").rename(folder / "truth.npz")
    return folder
