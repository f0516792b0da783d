"""`--distil`: the small image tower learns to give what a larger one gives, on the archive's own scans.

The student's features go through a linear map, which is thrown away, to the teacher's (as FitNets learn from hints, Romero et
al. 2015, arXiv 1412.6550; distillation: Hinton et al. 2015, arXiv 1503.02531); the loss is one less their cosine, both seen
from the mean of the training scans, since all of a tower's features point much the same way. No label and no text is used.
The map begins as the best one for the tower as it is (ridge regression), and each epoch is judged on the dev scans by the
best one for the tower as it is then, so that what is gained is the tower's learning and not the map's.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medclip.bundle.serving import session, usable_threads
from medclip.cases.case import Case
from medclip.cases.splits import Fold
from medclip.errors import BundleError, CaseError
from medclip.modalities.scan.encoder import ScanTower
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training.augmentation import augment
from medclip.training.checkpoint import Checkpoint, State, optimiser_tensors, restore_optimiser
from medclip.training.features import kept_on_disk
from medclip.training.kept_graphs import digest_of_tensors, kept_graph
from medclip.training.settings import DistilSettings
from medclip.training.towers import Towers, load_image_half
from medclip.training.towers.halves import ImageHalf, Origin
from medclip.training.trainer import set_rate

__all__ = ["DistilEpoch", "Distilled", "distil_image_tower"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class DistilEpoch:
    """What one epoch came to."""

    number: int
    loss: float  # 1 - cosine, mean over the training scans as they were drawn
    cosine: float | None
    """Mean over the dev scans, of features less the training scans' mean, by the best linear map; None without dev scans."""


@dataclass(frozen=True)
class Distilled:
    """What a distillation came to."""

    teacher: Origin
    before: float | None  # cosine on the dev scans by the best linear map of the tower as it was
    after: float | None  # of the epoch that is kept
    best: int  # its number; 0: the tower as it was is better
    epochs: tuple[DistilEpoch, ...]

    @property
    def learnt(self) -> bool:
        """Whether the tower is another one now."""
        return self.best > 0


class _Pictures:
    """The scans of one side of a fold, as any tower wants them."""

    def __init__(self, cases: Sequence[Case], folder: Path, seed: int) -> None:
        self._files = [folder / scan.file for case in cases for scan in case.scans]
        self._seed = seed

    def __len__(self) -> int:
        return len(self._files)

    def prepared(self, row: int, copy_number: int, how: Preprocessing) -> GreyPicture:
        """The middle slice as it is for copy 0; any slice, augmented, for others: the same for every tower."""
        read = read_scan(self._files[row])
        if copy_number == 0:
            return prepare_scan(read.middle, how)
        rng = np.random.default_rng((self._seed, copy_number, row))
        return augment(read.pictures[rng.integers(len(read.pictures))], how, rng)

    def batch(self, rows: Sequence[int], copy_number: int, how: Preprocessing) -> Tensor:
        """(n, size, size) uint8."""
        return torch.from_numpy(np.stack([self.prepared(row, copy_number, how) for row in rows]))


class _Teacher:
    """The larger tower: (n, size, size) uint8 → (n, d). On a CPU by onnxruntime, some five times as quick as torch."""

    def __init__(self, half: ImageHalf, work: Path, device: str) -> None:
        self.how = half.preprocessing
        tower = ScanTower(half.module, half.preprocessing).eval()
        self._tower, self._session, self._device = tower.to(device), None, device
        if device == "cpu":
            file = work / "teacher.onnx"
            generator = torch.Generator().manual_seed(0)
            sample = torch.randint(0, 256, (2, tower.size, tower.size), dtype=torch.uint8, generator=generator)
            kept_graph(tower, sample, file)
            self._session = session(file)

    def features(self, pictures: _Pictures, copy_number: int) -> Array:
        """(n, d) of every scan's copy of that number."""

        def one(row: int) -> Array:
            prepared = pictures.prepared(row, copy_number, self.how)[None]
            if self._session is not None:
                return np.asarray(self._session.run(None, {"input": prepared})[0], np.float32)
            with torch.inference_mode():
                return np.asarray(self._tower(torch.from_numpy(prepared).to(self._device)).cpu().numpy(), np.float32)

        with ThreadPoolExecutor(usable_threads(None) if self._session is not None else 1) as workers:
            return np.concatenate(list(workers.map(one, range(len(pictures)))))


def distil_image_tower(
    towers: Towers,
    teacher: str,
    fold: Fold,
    folder: Path,
    settings: DistilSettings,
    *,
    device: str,
    work: Path,
    progress: Callable[[DistilEpoch, int], None] = lambda _epoch, _total: None,
) -> Distilled:
    """Train the image tower in place to give the teacher's features; the epoch of the best dev cosine is kept.

    Batch-norm statistics stay those of pretraining. Finished epochs and the teacher's features are kept in `work`.

    Args:
        teacher: name of towers whose image half teaches.
        fold: its training cases are learnt from, its held-out ones choose the epoch (without any, the last is kept).

    Raises:
        BundleError: the teacher cannot be loaded, or is the very tower that is to learn.
        CaseError: there are fewer training scans than a batch has.
    """
    torch.manual_seed(settings.seed)
    half = load_image_half(teacher)
    taught_by = digest_of_tensors(half.module)
    if half.recipe == towers.recipes["image"] and taught_by == digest_of_tensors(towers.model.visual):
        raise BundleError(f"--distil {teacher}: is the image tower that is to learn; name another, larger one")
    train, dev = (_Pictures(cases, folder, settings.seed) for cases in (fold.train, fold.held_out))
    if len(train) < settings.batch:
        raise CaseError(
            f"--distil learns from batches of {settings.batch} scans, and there are {len(train)} to train on"
        )
    work.mkdir(parents=True, exist_ok=True)
    taught = _Teacher(half, work, device)

    def wanted(pictures: _Pictures, copy_number: int, name: str) -> Tensor:
        file = work / f"teacher-{taught_by[:16]}-{name}-{copy_number}.npy"
        return torch.from_numpy(kept_on_disk(file, lambda: taught.features(pictures, copy_number)))

    whole = towers.preprocessing.model_copy(update={"crops": 0})
    student = ScanTower(towers.model.visual, whole).to(device).eval()
    plain_goal = wanted(train, 0, "train")
    centre = plain_goal.mean(0)
    plain_goal -= centre
    dev_goal = wanted(dev, 0, "dev") - centre if len(dev) else None

    def best_map() -> nn.Linear:
        return _ridge(_seen(student, train, whole, device, settings.batch), plain_goal, settings.ridge)

    def reached(by: nn.Linear) -> float | None:
        if dev_goal is None:
            return None
        with torch.inference_mode():
            guessed = by(_seen(student, dev, whole, device, settings.batch))
        return float(functional.cosine_similarity(guessed, dev_goal).mean())

    linear = best_map()
    before = reached(linear)
    linear = linear.to(device)
    student.visual.requires_grad_(True)
    groups, peaks = [list(student.visual.parameters()), list(linear.parameters())], [settings.rate, settings.map_rate]
    optimiser = torch.optim.AdamW([{"params": group} for group in groups], weight_decay=settings.weight_decay)
    best, best_cosine = 0, before
    best_weights = copy.deepcopy(towers.model.visual.state_dict())
    epochs: list[DistilEpoch] = []
    saved = Checkpoint(work / "distilling.safetensors", {**asdict(settings), "teacher": taught_by})
    if (state := saved.load()) is not None:
        epochs, best = [DistilEpoch(**epoch) for epoch in state.facts["epochs"]], state.facts["best"]
        before, best_cosine = state.facts["before"], state.facts["best_cosine"]
        towers.model.visual.load_state_dict(state.groups["now"])
        linear.load_state_dict(state.groups["map"])
        restore_optimiser(optimiser, state.groups["optimiser"])
        best_weights = state.groups["best"]
    steps = len(train) // settings.batch
    for number in range(len(epochs) + 1, settings.epochs + 1):
        goal = (wanted(train, number, "train") - centre).to(device)
        order = np.random.default_rng((settings.seed, number)).permutation(len(train))
        losses = []
        for step in range(steps):
            rows = order[step * settings.batch : (step + 1) * settings.batch].tolist()
            set_rate(optimiser, peaks, (number - 1) * steps + step, settings.epochs * steps)
            guessed = linear(student(train.batch(rows, number, whole).to(device)))
            loss = (1 - functional.cosine_similarity(guessed, goal[rows])).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(groups[0], 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
        cosine = reached(best_map()) if dev_goal is not None else None
        epochs.append(DistilEpoch(number, float(np.mean(losses)), cosine))
        if cosine is None or best_cosine is None or cosine > best_cosine:
            best, best_cosine = number, cosine
            best_weights = copy.deepcopy(towers.model.visual.state_dict())
        saved.save(
            State(
                groups={
                    "now": towers.model.visual.state_dict(),
                    "map": linear.state_dict(),
                    "optimiser": optimiser_tensors(optimiser),
                    "best": best_weights,
                },
                facts={
                    "epochs": [asdict(epoch) for epoch in epochs],
                    "best": best,
                    "before": before,
                    "best_cosine": best_cosine,
                },
            )
        )
        progress(epochs[-1], settings.epochs)
    towers.model.visual.load_state_dict(best_weights)
    towers.model.visual.requires_grad_(False).cpu().eval()
    return Distilled(half.origin, before, best_cosine, best, tuple(epochs))


def _seen(tower: ScanTower, pictures: _Pictures, how: Preprocessing, device: str, batch: int) -> Tensor:
    """(n, d) features of every scan as it is."""
    with torch.inference_mode():
        rows = [range(start, min(start + batch, len(pictures))) for start in range(0, len(pictures), batch)]
        return torch.cat([tower(pictures.batch(part, 0, how).to(device)).cpu() for part in rows])


def _ridge(x: Tensor, y: Tensor, strength: float) -> nn.Linear:
    """The linear map of least squares from (n, d) to (n, e), its weights held small; by the smaller of the two Gram matrices.

    Args:
        strength: added to the diagonal of the (d, d) scatter matrix of the centred `x`, in units of its mean.
    """
    middle = x.mean(0)
    centred, target = (x - middle).double(), y.double()
    gram = centred @ centred.T if len(x) < x.shape[1] else centred.T @ centred
    gram = gram + torch.eye(len(gram), dtype=gram.dtype) * strength * centred.square().sum() / x.shape[1]
    if len(x) < x.shape[1]:
        weights = centred.T @ torch.linalg.solve(gram, target - target.mean(0))
    else:
        weights = torch.linalg.solve(gram, centred.T @ (target - target.mean(0)))
    linear = nn.Linear(x.shape[1], y.shape[1])
    with torch.no_grad():
        linear.weight.copy_(weights.T.float())
        linear.bias.copy_((target.mean(0) - middle.double() @ weights).float())
    return linear
