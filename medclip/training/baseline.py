"""The reference design: a small CNN beside a bidirectional LSTM, side by side into a dense classifier.

As the original multimodal design was published: three 3×3 convolutions with max-pooling on 224×224, a word embedding and
a bidirectional LSTM of 64 units with dropout 0.5 and global max-pooling, concatenated, a dense classifier, Adam at 1e-4.
What it leaves open is here: 16, 32 and 64 channels, words of 100 numbers, one classifier a label set, unknown labels left
out of the loss. It sees one scan of a case at a time; its answer for a case is the mean over its scans.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medclip.cases.case import Case
from medclip.diagnosis.diagnoser import shared_classes
from medclip.errors import CaseError, ScanError
from medclip.files.plain import write_json
from medclip.files.tensors import write_tensors
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training.settings import BaselineSettings

__all__ = ["BASELINE", "MANIFEST", "Baseline", "Pictures", "fit_baseline", "read_pictures", "save_baseline"]

BASELINE = "cnn-lstm"
_SIZE = 224
_CHANNELS = (16, 32, 64)
_WORD, _UNITS = 100, 64
_MOST_WORDS, _LONGEST = 10_000, 200
_WORDS = re.compile(r"\w+")
_PAD, _UNKNOWN = 0, 1
_PREPARING = Preprocessing(size=_SIZE, resize="pad", interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
MANIFEST = "baseline.json"

Pictures = dict[str, list[GreyPicture]]
"""Case id → its scans that could be read, each (224, 224) uint8."""


class _Network(nn.Module):
    """(n, 224, 224) uint8 and (n, words) int64 → logits of each label set."""

    def __init__(self, words: int, classes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.MaxPool2d(2),
                nn.ReLU(),
            ]  # in this order: less to rectify
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(7), nn.Flatten())
        self.words = nn.Embedding(words, _WORD, padding_idx=_PAD)
        self.lstm = nn.LSTM(_WORD, _UNITS, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.5)
        joined = _CHANNELS[-1] * 49 + 2 * _UNITS
        self.classifiers = nn.ModuleList(nn.Linear(joined, count) for count in classes)

    def forward(self, pictures: Tensor, words: Tensor) -> list[Tensor]:
        seen = self.convolutions(pictures.float().unsqueeze(1) / 255)
        read, _ = self.lstm(self.words(words))
        read = self.drop(read).masked_fill((words == _PAD).unsqueeze(2), -1.0).amax(1)
        joined = torch.cat([seen, read], 1)
        return [classifier(joined) for classifier in self.classifiers]


class _Words:
    """A vocabulary: the words of at least two training texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in set(_WORDS.findall(text.lower())))
        known = sorted(counts, key=lambda word: (-counts[word], word))[:_MOST_WORDS]
        self.number = {word: i + 2 for i, word in enumerate(w for w in known if counts[w] > 1)}

    def __len__(self) -> int:
        return len(self.number) + 2

    def ids(self, texts: Sequence[str]) -> Tensor:
        """(n, words) padded; a text without a word is one unknown word."""
        rows = [
            [self.number.get(w, _UNKNOWN) for w in _WORDS.findall(t.lower())[:_LONGEST]] or [_UNKNOWN] for t in texts
        ]
        out = torch.full((len(rows), max(map(len, rows))), _PAD, dtype=torch.int64)
        for line, row in zip(out, rows, strict=True):
            line[: len(row)] = torch.tensor(row)
        return out


def read_pictures(
    cases: Sequence[Case], folder: Path, progress: Callable[[int, int], None] = lambda _i, _n: None
) -> Pictures:
    """The middle picture of every scan, prepared; scans that cannot be read are left out."""
    found: Pictures = {}
    for number, case in enumerate(cases, start=1):
        own = found.setdefault(case.id, [])
        for scan in case.scans:
            try:
                own.append(prepare_scan(read_scan(folder / scan.file).middle, _PREPARING))
            except ScanError:
                continue
        progress(number, len(cases))
    return found


@dataclass(frozen=True)
class Baseline:
    """The trained design: a network, its words, and the classes of each label set."""

    network: _Network
    words: _Words
    classes: dict[str, list[str]]

    def probabilities(self, cases: Sequence[Case], pictures: Pictures) -> dict[str, NDArray[np.float64]]:
        """Label set → (cases, classes), the mean over each case's scans."""
        rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.classes}
        for case in cases:
            scans = torch.from_numpy(np.stack(pictures[case.id]))
            with torch.inference_mode():
                logits = self.network(scans, self.words.ids([case.note_text("history")]).expand(len(scans), -1))
            for name, own in zip(self.classes, logits, strict=True):
                rows[name].append(own.softmax(1).mean(0).double().numpy())
        return {name: np.stack(own) for name, own in rows.items()}


def fit_baseline(
    cases: Sequence[Case],
    pictures: Pictures,
    settings: BaselineSettings,
    progress: Callable[[int, int], None] = lambda _i, _n: None,
) -> Baseline:
    """Train the design on these cases' scans and histories.

    Raises:
        CaseError: no label set has two classes that two patients share.
    """
    cases = [case for case in cases if pictures[case.id]]
    named = sorted({name for case in cases for name in case.case_labels})
    labelled = {name: [(c.case_labels[name], c.patient) for c in cases if name in c.case_labels] for name in named}
    classes = {name: [*found] for name, pairs in labelled.items() if len(found := shared_classes(pairs)) > 1}
    if not classes:
        raise CaseError(
            "the cases with a readable scan have no label set of two classes; the baseline cannot be trained"
        )
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    words = _Words([case.note_text("history") for case in cases])
    ids = words.ids([case.note_text("history") for case in cases])
    targets = {
        name: torch.tensor([found.index(v) if (v := case.case_labels.get(name)) in found else -1 for case in cases])
        for name, found in classes.items()
    }
    network = _Network(len(words), [len(found) for found in classes.values()]).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    for epoch in range(settings.epochs):
        order = rng.permutation(len(cases))
        for start in range(0, len(order), settings.batch):
            batch = order[start : start + settings.batch]
            shown = [pictures[cases[i].id][int(rng.integers(len(pictures[cases[i].id])))] for i in batch]
            logits = network(torch.from_numpy(np.stack(shown)), ids[batch])
            pairs = [(out, targets[name][batch]) for name, out in zip(classes, logits, strict=True)]
            losses = [functional.cross_entropy(out, t, ignore_index=-1) for out, t in pairs if bool((t >= 0).any())]
            if losses:
                optimiser.zero_grad()
                torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        progress(epoch + 1, settings.epochs)
    return Baseline(network.eval(), words, classes)


def save_baseline(baseline: Baseline, settings: BaselineSettings, facts: Mapping[str, object], folder: Path) -> None:
    """Write it into an existing folder, with what else is known of it."""
    write_tensors(folder / "weights.safetensors", baseline.network.state_dict())
    known = {"design": BASELINE, "settings": asdict(settings), "classes": baseline.classes}
    write_json(folder / MANIFEST, {**known, "words": baseline.words.number, **facts})
