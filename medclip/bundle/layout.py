"""What a model folder holds.

::

    MODEL/
      bundle.json             `Manifest`: format, towers, preprocessing, tensors, checksums of every other file
      serving/                all that answering needs; an index folder carries a copy of it
        serving.json          `ServingManifest`
        scan_tower.onnx       (n, size, size) uint8 → (n, scan_features) float32
        text_tower.onnx       (n, tokens) int64 → (n, text_features) float32
        scan_attention.onnx   (n, scan_features) → (n, 1) what a picture weighs among those of its scan, as a logarithm
        scan_head.onnx        (n, scan_features) → (n, base) unit vectors
        text_head.onnx        (n, text_features) → (n, base) unit vectors
        fuser.onnx            (n, modalities, base + measurements + 1) → (n, joint) unit vectors; none for ``sum``
        tokenizer.json
        probes.safetensors    stored inputs with the embeddings that training saw
        orientation.safetensors  (w, orientations) weights and bias: how a scan lies; none where too few scans were trained on
      weights.safetensors     every tensor of towers and projection, for torch
      open_clip_config.json   the towers' open_clip model config
      text_config/            the Hugging Face config of the text tower, if it has one
      training.json           settings, epochs and figures of the training
      README.md               the model card
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from medclip.errors import BundleError, describe
from medclip.files.plain import digest_of, read_regular, unreadable
from medclip.fusion import Fuser
from medclip.modalities.measurements.coding import MeasurementCoding
from medclip.modalities.scan.prepare import Preprocessing
from medclip.modalities.text.tokens import TextReading

__all__ = [
    "FORMAT",
    "Layout",
    "Manifest",
    "ServingLayout",
    "ServingManifest",
    "TensorSpec",
    "Weights",
    "check_file",
    "read_model",
]

FORMAT = 2
_MOST = 64 << 20  # bytes of a manifest
_LATER = frozenset({"adds_texts", "tuned", "gauge", "orientations"})
"""Fields that manifests of earlier versions lack: where they do, the fingerprint goes without them, as it did."""


@dataclass(frozen=True)
class ServingLayout:
    """Names of the files of a serving folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "serving.json"

    @property
    def scan_tower(self) -> Path:
        return self.root / "scan_tower.onnx"

    @property
    def text_tower(self) -> Path:
        return self.root / "text_tower.onnx"

    @property
    def scan_attention(self) -> Path:
        return self.root / "scan_attention.onnx"

    @property
    def scan_head(self) -> Path:
        return self.root / "scan_head.onnx"

    @property
    def text_head(self) -> Path:
        return self.root / "text_head.onnx"

    @property
    def fuser(self) -> Path:
        return self.root / "fuser.onnx"

    @property
    def tokenizer(self) -> Path:
        return self.root / "tokenizer.json"

    @property
    def references(self) -> Path:
        return self.root / "probes.safetensors"

    @property
    def orientation(self) -> Path:
        return self.root / "orientation.safetensors"

    def listed(self, fuser: str, orientations: Sequence[str] = ()) -> tuple[Path, ...]:
        """Every file whose checksum the manifest of a model with that fuser and these orientations holds."""
        graphs = (self.scan_tower, self.text_tower, self.scan_attention, self.scan_head, self.text_head)
        always = (*graphs, self.tokenizer, self.references)
        return (*always, *[self.fuser] * (fuser != "sum"), *[self.orientation] * bool(orientations))


@dataclass(frozen=True)
class Layout:
    """Names of the files of a model folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "bundle.json"

    @property
    def serving(self) -> ServingLayout:
        return ServingLayout(self.root / "serving")

    @property
    def weights(self) -> Path:
        return self.root / "weights.safetensors"

    @property
    def training(self) -> Path:
        return self.root / "training.json"

    @property
    def card(self) -> Path:
        return self.root / "README.md"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(_Strict):
    """Shape and type of one stored tensor."""

    shape: tuple[int, ...]
    dtype: str


class Weights(_Strict):
    """Whose weights a tower has."""

    whose: str  # one line
    licence: str  # as their own files say it
    mind: str | None  # what it forbids whoever serves the model, where that is known

    def __str__(self) -> str:
        return f"{self.whose}: {self.licence}" + (f"; mind: {self.mind}" if self.mind else "")


class ServingManifest(_Strict):
    """``serving.json``."""

    format: int
    preprocessing: Preprocessing
    reading: TextReading
    base: int  # width of a scan's or text's embedding, before it is fused
    aligned: int  # of these, the block that scans and texts share
    aligned_share: float  # its squared length, of 1
    measurements: MeasurementCoding
    fuser: str
    joint: int  # width of what the fuser's network adds; 0 for sum
    joint_share: float  # its squared length, of 1
    adds_texts: bool = True  # whether report and history are added up rather than averaged: none said so who did
    gauge: int = 0  # of `base`, the last: how far the tower's features point away from the training cases' mean
    tuned: bool = False  # whether the towers themselves were tuned on cases
    orientations: tuple[str, ...] = ()  # what `orientation.safetensors` tells apart; nothing where it is missing
    synthetic: bool  # trained on a synthetic cohort alone
    weights: tuple[Weights, ...] = ()  # of the towers, and of whom they learnt; nothing in a model of medclip 0.1
    sha256: dict[str, str]  # file name → checksum

    def make_fuser(self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None) -> Fuser:
        """The model's fuser; without `run`, its network, it can take vectors apart, but not fuse as the model does."""
        return Fuser(
            self.base,
            self.measurements.width,
            self.joint,
            self.joint_share,
            run,
            self.aligned,
            self.adds_texts,
            self.gauge,
        )

    @property
    def fingerprint(self) -> str:
        """What makes two models' embeddings comparable: every file that takes part in making them."""
        said = self.model_dump(mode="json", exclude={"weights", *(_LATER - self.model_fields_set)})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class Manifest(_Strict):
    """``bundle.json``."""

    format: int
    towers: str
    tensors: dict[str, TensorSpec]  # of weights.safetensors
    sha256: dict[str, str]  # path inside the folder → checksum


def check_file(file: Path, expected: str | None, remedy: str) -> None:
    """Hold a plain file against its checksum.

    Raises:
        BundleError: it is missing, cannot be read, or has changed; `remedy` ends the message.
    """
    try:
        found = digest_of(file)
    except OSError as error:
        raise BundleError(f"{file}: {unreadable(error)}; {remedy}") from error
    if found != expected:
        raise BundleError(f"{file}: has changed since it was written; {remedy}")


Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, kind: type[Model], remedy: str) -> Model:
    """Read one JSON file of a folder into a validated model.

    Raises:
        BundleError: the file is missing, not JSON, or not of that kind; `remedy` ends the message.
    """
    try:
        return kind.model_validate_json(read_regular(path, _MOST))
    except ValidationError as error:
        raise BundleError(f"{path}: {describe(error)}; {remedy}") from error
    except OSError as error:
        raise BundleError(f"{path}: {unreadable(error)}; {remedy}") from error
