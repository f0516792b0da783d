"""What every peer is given: vectors, records made from a case's number, queries, and their true neighbours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FILTERS", "NEW", "Data", "Row", "overlap", "row"]

CHUNK = 20_000
FILTERS = {"50 %": 50.0, "10 %": 10.0, "1 %": 1.0, "0.1 %": 0.1}
"""Share of the cases → the age that those cases are below."""
NEW = 10_000_000  # numbers of cases that are added begin here

_LOCATIONS = ("Head", "Thorax", "Abdomen", "Spine", "Pelvis")
_WORDS = [f"{a}{b}" for a in ("opac", "nodul", "effus", "mass", "fract") for b in range(100, 300)]
_PHRASES = [" ".join(_WORDS[(i * 7919 + j * 104_729) % len(_WORDS)] for j in range(4)) for i in range(2000)]


class Row(NamedTuple):
    """A case as it is stored: what an answer shows, and the age that filters go by."""

    number: int
    case_id: str
    patient: str
    label: str
    age: float
    text: str  # some 60 characters

    @property
    def shown(self) -> tuple[str, str, str, str]:
        """What a query returns of it."""
        return self.case_id, self.patient, self.label, self.text


def row(number: int) -> Row:
    """The record of a case; three cases a patient, ages 0.0 to 99.9, each as often."""
    text = f"{_PHRASES[number % 1999]} {_PHRASES[number * 31 % 1997]}"
    age = number * 7919 % 1000 / 10
    return Row(number, f"case-{number:08d}", f"patient-{number // 3:08d}", _LOCATIONS[number % 5], age, text)


class Data:
    """A folder that `peers.prepare` wrote."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        self.folder, self.count, self.d = folder, int(meta["cases"]), int(meta["d"])
        self._base: np.ndarray | None = None

    def vectors(self) -> np.ndarray:
        """(cases, d) float32 unit vectors, in memory."""
        return np.fromfile(self.folder / "vectors.f32", "<f4").reshape(-1, self.d)

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first, its vectors), so that few are in memory at a time."""
        with (self.folder / "vectors.f32").open("rb") as file:
            for start in range(0, self.count, size):
                yield start, np.fromfile(file, "<f4", min(size, self.count - start) * self.d).reshape(-1, self.d)

    def sample(self, count: int) -> np.ndarray:
        """Up to `count` vectors, drawn by chance, to train on."""
        mapped = np.memmap(self.folder / "vectors.f32", "<f4", "r").reshape(-1, self.d)
        chosen = np.sort(np.random.default_rng(0).permutation(self.count)[:count])
        return np.ascontiguousarray(mapped[chosen])

    def ages(self) -> np.ndarray:
        """Of every case: the column that a library's user would keep beside it to filter by."""
        return np.arange(self.count) * 7919 % 1000 / 10

    def queries(self) -> np.ndarray:
        """(q, d) unit vectors, near archived ones without being any."""
        return self._truth("queries")

    def truth(self, share: str = "all") -> np.ndarray:
        """(q, 10 or fewer) numbers of the nearest cases among those that pass a filter."""
        return self._truth(share)

    def _truth(self, name: str) -> np.ndarray:
        with np.load(self.folder / "truth.npz", allow_pickle=False) as stored:
            return stored[name]

    def new(self, start: int, count: int) -> tuple[list[Row], np.ndarray]:
        """Cases to add, numbered from `NEW` + `start`: near archived ones, each vector made from its number."""
        rng = np.random.default_rng([start, count])
        if self._base is None:
            self._base = next(self.chunks())[1]
        base = self._base
        x = base[rng.integers(len(base), size=count)] + 0.05 * rng.normal(size=(count, self.d)).astype(np.float32)
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        return [row(NEW + start + i) for i in range(count)], x


def overlap(found: list[list[int]], truth: Any) -> float:
    """Recall: the share of the true neighbours that were found, over all queries that have one."""
    return float(
        np.mean([len(set(f) & set(map(int, t))) / len(t) for f, t in zip(found, truth, strict=True) if len(t)])
    )
