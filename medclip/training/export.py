"""Torch modules → ONNX graphs, each compared with torch before it is kept."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medclip.bundle.layout import ServingLayout
from medclip.bundle.serving import session
from medclip.errors import BundleError, MissingDependencyError

__all__ = ["export_fuser", "export_graph", "export_heads", "require_equal"]

_MOST_BYTES = (1 << 31) - 1  # of an ONNX file, a protocol buffer
_TOLERANCE = 1e-3  # relative to the largest output


class _Method(nn.Module):
    """One method of a module, as a module."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = getattr(self.module, self.name)(x)
        return result


class _Packed(nn.Module):
    """A fuser's network with its mask as the last column of its tokens."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, packed: Tensor) -> Tensor:
        result: Tensor = self.network(packed[..., :-1], packed[..., -1])
        return result


def export_fuser(network: nn.Module, tokens: int, width: int, file: Path) -> None:
    """Export a fuser's network.

    Args:
        tokens: how many modalities there are.
        width: of one modality's vector.
    """
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(4, tokens, width + 1, generator=generator) / width**0.5
    sample[..., -1] = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1]])
    export_graph(_Packed(network), sample, file)


def export_graph(module: nn.Module, sample: Tensor, file: Path, *, free_length: bool = False) -> None:
    """Write `module` as an ONNX graph with a free batch size.

    Args:
        sample: an input of at least two rows; the graph's output on it is compared with torch's.
        free_length: whether the second axis, of tokens, is free too.

    Raises:
        BundleError: the module cannot be exported, or the graph gives other numbers than torch.
        MissingDependencyError: the exporter is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("the ONNX exporter is not installed", "train") from error
    dynamic: dict[int, Any] = dict.fromkeys(range(2 if free_length else 1), torch.export.Dim.DYNAMIC)
    module = module.eval().cpu()
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (sample,),
                file,
                input_names=["input"],
                output_names=["output"],
                dynamo=True,
                dynamic_shapes=(dynamic,),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            detail = " ".join(str(error).split())[:150]
            raise BundleError(f"{file.name}: these towers cannot be exported to ONNX ({detail})") from error
    _into_one_file(file)
    require_equal(module, sample, file)


def _into_one_file(file: Path) -> None:
    """Take in the weights that the exporter leaves beside a graph of over a gigabyte and a half: a model's files are listed.

    Raises:
        BundleError: they are more than one file can hold.
    """
    beside = file.with_name(f"{file.name}.data")
    if not beside.exists():
        return
    import onnx

    graph = onnx.load(file)
    try:
        if graph.ByteSize() >= _MOST_BYTES:
            raise BundleError(
                f"{file.name}: has {graph.ByteSize() / 1e9:.1f} GB; towers of 2 GB and more cannot be served"
            )
        onnx.save(graph, file)
    except ValueError as error:  # of protobuf, which counts no further
        raise BundleError(f"{file.name}: towers of 2 GB and more cannot be served; choose smaller ones") from error
    beside.unlink()


def require_equal(module: nn.Module, sample: Tensor, file: Path) -> None:
    """Hold an exported graph against torch, on `sample` and on its first row alone.

    Raises:
        BundleError: it cannot be run, or gives other numbers.
    """
    with torch.inference_mode():
        expected = module.eval()(sample).numpy()
    graph = session(file)
    for rows in (len(sample), 1):
        try:
            got = graph.run(None, {"input": sample[:rows].numpy()})[0]
        except Exception as error:  # onnxruntime's are of many kinds
            raise BundleError(f"{file.name}: the exported graph does not run ({type(error).__name__})") from error
        if got.shape != expected[:rows].shape or not np.abs(got - expected[:rows]).max() <= _TOLERANCE * max(
            1.0, float(np.abs(expected).max())
        ):
            raise BundleError(f"{file.name}: the exported graph differs from torch; these towers cannot be served")


def export_heads(projection: Any, layout: ServingLayout) -> None:
    """Export both halves of a projection, and the attention over the pictures of a scan."""
    generator = torch.Generator().manual_seed(0)
    for name, width, file in (
        ("attend", projection.shape.scan_features, layout.scan_attention),
        ("embed_scan", projection.shape.scan_features, layout.scan_head),
        ("embed_text", projection.shape.text_features, layout.text_head),
    ):
        export_graph(_Method(projection, name), torch.randn(3, width, generator=generator), file)
