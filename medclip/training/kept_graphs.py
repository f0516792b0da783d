"""Exported towers, kept in the user's cache folder: they are the same for every training with the same frozen towers, and
take half a minute to export.

A graph that is found there is held against torch like one that was just exported, and made anew where it differs.
"""

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from medclip.errors import BundleError
from medclip.files.remembered import cache_folder, is_own
from medclip.training import export
from medclip.training.export import export_graph, require_equal

__all__ = ["digest_of_tensors", "kept_graph"]

_MOST, _MOST_BYTES = 4, 2 << 30
"""Graphs that are kept, of the towers used last, and what they take together; one takes 14 MB to 2 GB."""

_EXPORTERS = ("torch", "onnxscript", "onnx_ir", "open_clip_torch", "timm", "transformers")
"""Packages whose other version may export another graph."""


def kept_graph(module: nn.Module, sample: Tensor, file: Path, *, free_length: bool = False) -> None:
    """Write `module` as an ONNX graph, as `export_graph` does; from the cache where it has been before.

    Raises:
        BundleError, MissingDependencyError: as `export_graph`.
    """
    cache = cache_folder()
    if cache is None:
        export_graph(module, sample, file, free_length=free_length)
        return
    kept = cache / "towers" / f"{_name(module.eval().cpu(), sample, free_length)}.onnx"
    if _taken(kept, file):
        with contextlib.suppress(BundleError):
            require_equal(module, sample, file)
            return
    export_graph(module, sample, file, free_length=free_length)
    with contextlib.suppress(OSError):
        _keep(file, kept)


def _name(module: nn.Module, sample: Tensor, free_length: bool) -> str:
    """What the graph depends on: every tensor, the layers, what computes with them, and what exports it."""
    about = [repr(module), list(sample.shape[1:]), str(sample.dtype), free_length]
    ours = sorted({type(part) for part in module.modules() if type(part).__module__.startswith("medclip.")}, key=repr)
    made_by = [*map(inspect.getsource, ours), inspect.getsource(export), *map(version, _EXPORTERS)]
    return hashlib.sha256(json.dumps([about, made_by, digest_of_tensors(module)]).encode()).hexdigest()


def digest_of_tensors(module: nn.Module) -> str:
    """What a module's tensors are, by name, type and value: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _taken(kept: Path, file: Path) -> bool:
    """Whether a graph is kept that no other user can have written; it is then copied."""
    try:
        if not is_own(kept.parent, stat.S_ISDIR) or not is_own(kept):
            return False
        shutil.copyfile(kept, file)
        os.utime(kept)  # which says when it was used last
    except OSError:
        return False
    return True


def _keep(file: Path, kept: Path) -> None:
    kept.parent.mkdir(0o700, parents=True, exist_ok=True)
    if not is_own(kept.parent, stat.S_ISDIR):
        return
    handle, name = tempfile.mkstemp(dir=kept.parent)
    try:
        with open(handle, "wb") as made, file.open("rb") as given:
            shutil.copyfileobj(given, made, 1 << 20)
        Path(name).rename(kept)
    finally:
        Path(name).unlink(missing_ok=True)
    graphs = sorted(kept.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    held = 0
    for number, graph in enumerate(graphs):
        held += graph.stat().st_size
        if number >= _MOST or held > _MOST_BYTES:
            graph.unlink(missing_ok=True)
