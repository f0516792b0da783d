"""Tower features of a set of cases, computed once and kept on disk.

Features come from the exported graphs through ONNX Runtime, so that training sees exactly what serving will see (and
sees it five times sooner than from torch on a CPU); with a GPU they come from the torch modules on that device.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medclip.cases.case import Case
from medclip.errors import CaseError
from medclip.modalities.scan.crops import with_crops
from medclip.modalities.scan.pictures import GreyPicture, attend, picture_features
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.modalities.text.clean import readable
from medclip.training.augmentation import augment
from medclip.training.timing import Work

__all__ = [
    "READING",
    "CaseFeatures",
    "CaseRows",
    "PictureFeatures",
    "TowerRunner",
    "compute_features",
    "features_key",
    "gather",
    "kept_on_disk",
    "run_pictures",
    "sentences",
]

Array = NDArray[np.float32]
Progress = Callable[[int, int], None]

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+|[•·]")
_LEAST_SENTENCE = 12  # characters; anything shorter names nothing
_SHARD = 128  # scans, with all of their copies: what a kill takes away was done in seconds
_TEXTS = 128  # at a time

READING = "reading"
"""Kind of `Work`: files → prepared pictures."""


class TowerRunner(Protocol):
    """Runs the towers: `medclip.bundle.serving.ServingTowers`, or the torch modules on a GPU."""

    preprocessing: Preprocessing
    scripts: tuple[str, ...] | None
    threads: int  # from how many to call it

    def scan_features(self, pictures: NDArray[np.uint8]) -> Array:
        """(n, size, size) uint8 → (n, d)."""

    def text_features(self, texts: Sequence[str]) -> Array:
        """n texts → (n, d)."""


def sentences(text: str) -> list[str]:
    """The sentences of a text, too short ones left out."""
    return [part for raw in _SENTENCE.split(text) if len(part := raw.strip()) >= _LEAST_SENTENCE]


@dataclass(frozen=True)
class CaseRows:
    """Which scan and which text belongs to which case.

    A case's texts are its captions, its report (findings and captions), findings, history and the sentences of its
    report; those that the tower cannot read are absent.
    """

    cases: tuple[Case, ...]
    scan_case: NDArray[np.int64]  # (s,) position in `cases`
    caption_row: NDArray[np.int64]  # (s,) the text that stands beside the scan, or -1
    text_case: NDArray[np.int64]  # (t,) position in `cases`
    text_kind: NDArray[np.str_]  # (t,) caption, report, findings, history, sentence

    def texts(self, case: int, kind: str) -> NDArray[np.int64]:
        """Rows of the texts of one case and kind."""
        return np.flatnonzero((self.text_case == case) & (self.text_kind == kind))


@dataclass(frozen=True)
class CaseFeatures:
    """Tower features of a set of cases, one row a scan."""

    rows: CaseRows
    scans: Array  # (1 + augmentations, s, d_scan): the scans as they are, then augmented
    texts: Array  # (t, d_text)
    attention: Array  # (d_scan,) by which the pictures of each scan were pooled


@dataclass(frozen=True)
class PictureFeatures:
    """Tower features of a set of cases, one row a picture: a slice of a volume, a scan, a crop."""

    rows: CaseRows
    pictures: Array  # (1 + augmentations, p, d_scan)
    picture_scan: NDArray[np.int64]  # (p,) which scan each belongs to, ascending
    texts: Array  # (t, d_text)

    def pooled(self, attention: Array) -> CaseFeatures:
        """The same, one row a scan."""
        counts = np.bincount(self.picture_scan, minlength=len(self.rows.scan_case))
        scans = np.stack([attend(copy, counts, copy @ attention) for copy in self.pictures])
        return CaseFeatures(self.rows, scans, self.texts, attention)

    def select(self, cases: Sequence[Case]) -> "PictureFeatures":
        """The same, for some of its cases, in the order given."""
        r = self.rows
        position = {case.id: i for i, case in enumerate(r.cases)}
        new = np.full(len(r.cases), -1, np.int64)
        new[[position[case.id] for case in cases]] = np.arange(len(cases))
        scans = np.concatenate([np.flatnonzero(r.scan_case == position[case.id]) for case in cases])
        pictures = np.concatenate([np.flatnonzero(self.picture_scan == scan) for scan in scans])
        counts = np.bincount(self.picture_scan, minlength=len(r.scan_case))[scans]
        texts = np.flatnonzero(new[r.text_case] >= 0)
        row = np.full(len(r.text_case) + 1, -1, np.int64)
        row[texts] = np.arange(len(texts))
        rows = CaseRows(
            cases=tuple(cases),
            scan_case=new[r.scan_case[scans]],
            caption_row=row[r.caption_row[scans]],
            text_case=new[r.text_case[texts]],
            text_kind=r.text_kind[texts],
        )
        return PictureFeatures(
            rows, self.pictures[:, pictures], np.repeat(np.arange(len(scans)), counts), self.texts[texts]
        )


def gather(cases: Sequence[Case], scripts: tuple[str, ...] | None) -> tuple[CaseRows, list[str]]:
    """The rows of a set of cases, and their texts, cleaned."""
    texts: list[str] = []
    text_case: list[int] = []
    text_kind: list[str] = []

    def add(text: str, case: int, kind: str) -> int:
        cleaned = readable(text, scripts)
        if cleaned is None:
            return -1
        texts.append(cleaned)
        text_case.append(case)
        text_kind.append(kind)
        return len(texts) - 1

    caption_row: list[int] = []
    for i, case in enumerate(cases):
        own = {caption: add(caption, i, "caption") for caption in dict.fromkeys(s.caption or "" for s in case.scans)}
        caption_row += [own[scan.caption or ""] for scan in case.scans]
        findings, history = case.note_text("findings"), case.note_text("history")
        for kind, text in (("report", case.report), ("findings", findings), ("history", history)):
            if text:
                add(text, i, kind)
        for part in dict.fromkeys(sentences(case.report)):
            add(part, i, "sentence")
    rows = CaseRows(
        cases=tuple(cases),
        scan_case=np.asarray([i for i, case in enumerate(cases) for _ in case.scans], np.int64),
        caption_row=np.asarray(caption_row, np.int64),
        text_case=np.asarray(text_case, np.int64),
        text_kind=np.asarray(text_kind, np.str_),
    )
    return rows, texts


def features_key(cases: Sequence[Case], folder: Path, augmentations: int, seed: int, towers: str) -> str:
    """What the features depend on: the towers, every case, the size and time of every scan, and the augmentation."""
    digest = hashlib.sha256(json.dumps([towers, augmentations, seed]).encode())
    for case in cases:
        digest.update(case.model_dump_json().encode())
        for scan in case.scans:
            stat = (folder / scan.file).stat()
            digest.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def kept_on_disk(file: Path, compute: Callable[[], Array]) -> Array:
    """What an earlier run left in `file`, else what `compute` gives, which is left there, whole or not at all."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".partial.npy")
        np.save(unfinished, compute())
        unfinished.rename(file)
    return np.asarray(np.load(file, allow_pickle=False), np.float32)


def run_pictures(
    runner: TowerRunner,
    workers: ThreadPoolExecutor,
    prepared: Callable[[int], list[GreyPicture]],
    scans: Sequence[int],
    progress: Callable[[int], None],
    work: Work,
) -> tuple[Array, list[int]]:
    """Tower features of all prepared pictures of `scans`, in order, (p, d), and how many of them each has.

    Args:
        prepared: number of a scan → its prepared pictures, one or more; called once for each.
        progress: called with scans done.
        work: counts the seconds of the tower.
    """

    def one(scan: int) -> Array:
        pictures = prepared(scan)
        with work.of("image tower"):
            return picture_features(runner.scan_features, [pictures])

    blocks: list[Array] = []
    for features in workers.map(one, scans):
        blocks.append(features)
        progress(len(blocks))
    return np.concatenate(blocks), [len(block) for block in blocks]


def compute_features(
    cases: Sequence[Case],
    folder: Path,
    runner: TowerRunner,
    *,
    augmentations: int,
    seed: int,
    cache: Path,
    fingerprint: str,
    progress: Progress = lambda _done, _total: None,
    work: Work | None = None,
) -> PictureFeatures:
    """Tower features of every scan and text of `cases`; finished parts are taken from `cache` after a kill.

    A scan is read once, for itself and all of its augmentations.

    Args:
        augmentations: how many augmentations of each scan to add.
        cache: a folder; parts are named by what they depend on.
        fingerprint: names the towers' weights.
        progress: called with scans done and scans to do.
        work: counts the seconds of reading, of augmenting, and of either tower.

    Raises:
        CaseError: no case has a scan.
        ScanError: a scan cannot be read.
    """
    rows, texts = gather(cases, runner.scripts)
    files = [folder / scan.file for case in cases for scan in case.scans]
    if not files:
        raise CaseError("no case has a scan; scans and texts are what training aligns")
    key = features_key(cases, folder, augmentations, seed, fingerprint)
    copies, work = augmentations + 1, work or Work()

    def part(name: str, compute: Callable[[], Array]) -> Array:
        return kept_on_disk(cache / f"{key}-{name}.npy", compute)

    def prepared(i: int) -> list[GreyPicture]:
        """All pictures of the scan as it is, then all of its first augmentation, and so on."""
        how = runner.preprocessing
        with work.of(READING):
            pictures = with_crops(read_scan(files[i]).pictures, how.cut)
            found = [prepare_scan(picture, how) for picture in pictures]
        with work.of("augmenting"):
            for number in range(1, copies):  # every slice of a volume moves alike
                found += [augment(picture, how, np.random.default_rng((seed, number, i))) for picture in pictures]
        return found

    def shard(start: int) -> Array:
        """(copies, p, 1 + d_scan): which of all scans each picture is of, and its features."""
        scans = range(start, min(start + _SHARD, len(files)))
        found, counts = run_pictures(
            runner, workers, prepared, scans, lambda done: progress(start + done, len(files)), work
        )
        ends = np.cumsum(counts)[:-1]
        own = [block.reshape(copies, -1, block.shape[1]) for block in np.split(found, ends)]
        number = np.repeat(np.asarray(scans, np.float32), [block.shape[1] for block in own])
        return np.concatenate(
            [np.broadcast_to(number[:, None], (copies, len(number), 1)), np.concatenate(own, axis=1)], axis=2
        )

    def read(texts: Sequence[str]) -> Array:
        with work.of("text tower"):
            return runner.text_features(texts)

    def written() -> Array:
        alone = list(dict.fromkeys(texts))  # findings of one sentence are that sentence, too
        order = sorted(range(len(alone)), key=lambda i: len(alone[i]))  # like lengths together: less padding
        parts = [[alone[i] for i in order[start : start + _TEXTS]] for start in range(0, len(alone), _TEXTS)]
        place = {alone[i]: row for row, i in enumerate(order)}
        return np.concatenate(list(workers.map(read, parts)))[[place[text] for text in texts]]

    with ThreadPoolExecutor(runner.threads) as workers:
        starts = range(0, len(files), _SHARD)
        shards = [part(f"scans{start}", lambda start=start: shard(start)) for start in starts]  # type: ignore[misc]
        text_rows = part("texts", written)
    progress(len(files), len(files))
    pictures = np.concatenate([one[..., 1:] for one in shards], axis=1)
    return PictureFeatures(rows, pictures, np.concatenate([one[0, :, 0] for one in shards]).astype(np.int64), text_rows)
