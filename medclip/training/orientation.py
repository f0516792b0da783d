"""The head that tells how a scan lies, learnt from the training cases' own scans, turned (Gidaris et al. 2018, arXiv 1803.07728).

Nobody labels anything: a scan as the archive keeps it counts as upright. What is learnt is therefore how the scans of these
cases usually lie, as far as the frozen image tower sees it. Golan and El-Yaniv 2018 (arXiv 1805.10917) tell by such a head
what is unlike the training pictures.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medclip.bundle.orientation import UPRIGHT, Orientation
from medclip.cases.case import Case
from medclip.diagnosis.probe import fit_probe
from medclip.fusion import Fuser, Parts
from medclip.modalities.scan.crops import with_crops
from medclip.modalities.scan.pictures import GreyPicture, attend
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training.features import READING, Progress, TowerRunner, features_key, kept_on_disk, run_pictures
from medclip.training.projection import Projection
from medclip.training.settings import OrientationSettings
from medclip.training.timing import Work

__all__ = ["Told", "Turned", "fit_orientation", "scan_vectors", "told", "turned_features"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class _Way:
    """One way to turn a picture."""

    name: str
    turn: Callable[[GreyPicture], GreyPicture]


_WAYS = (
    _Way(UPRIGHT, lambda picture: picture),
    _Way(UPRIGHT, np.fliplr),  # its mirror image: which side is shown on the left is a convention, and no fault
    _Way("upside down", np.flipud),
    _Way("turned by 180°", lambda picture: np.rot90(picture, 2)),
    _Way("turned left", lambda picture: np.rot90(picture, 1)),
    _Way("turned right", lambda picture: np.rot90(picture, -1)),
    _Way("inverted", lambda picture: 255 - picture),
)
_NAMES = tuple(dict.fromkeys(way.name for way in _WAYS))


@dataclass(frozen=True)
class Turned:
    """Tower features of scans, each turned in some way; of a volume its middle picture."""

    case_ids: tuple[str, ...]  # (n,) whose scan it is
    names: NDArray[np.int64]  # (n,) how it lies now: a position among the orientations' names
    pictures: Array  # (p, d_scan) the n pictures, each followed by its crops
    counts: NDArray[np.int64]  # (n,) pictures of each, crops counted

    def select(self, cases: Sequence[Case]) -> "Turned":
        """The same, for some of the cases."""
        wanted = {case.id for case in cases}
        there = np.asarray([name in wanted for name in self.case_ids], bool)
        return Turned(
            tuple(name for name in self.case_ids if name in wanted),
            self.names[there],
            self.pictures[np.repeat(there, self.counts)],
            self.counts[there],
        )


@dataclass(frozen=True)
class _Item:
    """One scan, to be turned in one way."""

    case_id: str
    file: Path
    way: _Way


def _chosen(cases: Sequence[Case], folder: Path, seed: int, most: int) -> list[_Item]:
    """At most so many scans, each to be turned in one way, drawn so that every case has as many as it can."""
    every = [_Item(case.id, folder / scan.file, way) for case in cases for scan in case.scans for way in _WAYS]
    drawn = [every[i] for i in np.random.default_rng((seed, 4)).permutation(len(every))]
    met = Counter[str]()
    rounds = []
    for item in drawn:
        met[item.case_id] += 1
        rounds.append(met[item.case_id])
    return [drawn[i] for i in np.argsort(rounds, kind="stable")[:most]]


def turned_features(
    cases: Sequence[Case],
    folder: Path,
    runner: TowerRunner,
    *,
    seed: int,
    cache: Path,
    fingerprint: str,
    progress: Progress = lambda _done, _total: None,
    most: int = OrientationSettings.pictures,
    work: Work | None = None,
) -> Turned:
    """Tower features of at most `most` turned scans of `cases`; what is finished is taken from `cache` after a kill.

    Args:
        cache: a folder; files are named by what they depend on.
        fingerprint: names the towers' weights.
        progress: called with scans done and scans to do.
        work: counts the seconds of reading and of the tower.

    Raises:
        ScanError: a scan cannot be read.
    """
    items = _chosen(cases, folder, seed, most)
    names = np.asarray([_NAMES.index(item.way.name) for item in items], np.int64)
    ids = tuple(item.case_id for item in items)
    if not items:
        return Turned(ids, names, np.empty((0, 0), np.float32), np.empty(0, np.int64))
    file = cache / f"{features_key(cases, folder, most, seed, fingerprint)}-turned.npy"

    of_scan = defaultdict[Path, list[int]](list)  # each is read once, however often it is turned
    for i, item in enumerate(items):
        of_scan[item.file].append(i)
    scans, work = list(of_scan.items()), work or Work()

    def prepared(number: int) -> list[GreyPicture]:
        """The scan, turned in one way, and its crops, then in the next."""
        path, wanted = scans[number]
        with work.of(READING):
            middle, how = read_scan(path).middle, runner.preprocessing
            return [prepare_scan(one, how) for i in wanted for one in with_crops([items[i].way.turn(middle)], how.cut)]

    def computed() -> Array:
        """(p, 1 + d_scan): which of the items each picture is of, and its features."""
        with ThreadPoolExecutor(runner.threads) as workers:
            found, counts = run_pictures(
                runner, workers, prepared, range(len(scans)), lambda done: progress(done, len(scans)), work
            )
        # turned in whatever way, a picture has as many crops
        number = [np.repeat(own, count // len(own)) for (_, own), count in zip(scans, counts, strict=True)]
        whose = np.concatenate(number)
        order = np.argsort(whose, kind="stable")
        return np.column_stack([whose[order].astype(np.float32), found[order]])

    stored = kept_on_disk(file, computed)
    return Turned(ids, names, stored[:, 1:], np.bincount(stored[:, 0].astype(np.int64), minlength=len(items)))


def scan_vectors(turned: Turned, projection: Projection, fuser: Fuser) -> Array:
    """(n, w) unit vectors: what the frozen tower knows of each scan, as serving makes them."""
    pooled = attend(turned.pictures, turned.counts, turned.pictures @ projection.attention.cpu().numpy())
    with torch.inference_mode():
        scans = projection.embed_scan(torch.from_numpy(pooled)).numpy()
    empty, nothing = scans[:0], np.zeros(fuser.measurements, np.float32)
    return np.stack([fuser.blocks(Parts(scan[None], empty, empty, nothing))["scan"] for scan in scans])


def fit_orientation(
    turned: Turned, projection: Projection, fuser: Fuser, settings: OrientationSettings | None = None
) -> Orientation | None:
    """The head, fitted on what `turned_features` gave of the training cases; None where too few of them have a scan."""
    settings = settings or OrientationSettings()
    if len(set(turned.case_ids)) < settings.least_cases:
        return None
    probe = fit_probe(
        scan_vectors(turned, projection, fuser),
        turned.names,
        np.ones(len(turned.names)),
        len(_NAMES),
        settings.strength,
        settings.balance,
    )
    return Orientation(probe.weights, probe.bias, _NAMES)


@dataclass(frozen=True)
class Told:
    """How well a head tells how scans lie that it has not seen."""

    names: tuple[str, ...]
    pictures: int  # turned scans that were asked
    right: float  # share of them whose orientation it named
    right_upright: float | None  # share of the upright ones among them that it called so; None where there are none


def told(orientation: Orientation, turned: Turned, projection: Projection, fuser: Fuser) -> Told | None:
    """Measure a head on turned scans of other cases; None where there are none."""
    if not len(turned.names):
        return None
    named = orientation.probabilities(scan_vectors(turned, projection, fuser)).argmax(1)
    right, upright = named == turned.names, turned.names == 0
    return Told(
        orientation.names,
        len(right),
        float(right.mean()),
        float(right[upright].mean()) if upright.any() else None,
    )
