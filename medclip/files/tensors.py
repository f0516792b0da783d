"""Tensors in a file (safetensors), written as other files are: readable by whom the umask lets read.

safetensors' own ``save_file`` makes files that their owner alone may read, so that an index copied to a shared place
would answer nobody else.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from medclip.files.plain import read_regular

__all__ = ["read_tensors", "write_tensors"]

_MOST = 1 << 30
"""Bytes that are read at once: stored probes and fitted probes are a few megabytes."""


def write_tensors(file: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> str:
    """Write arrays of numpy or tensors of torch, all of one kind; returns the SHA-256 of the file."""
    given = dict(tensors)
    if all(isinstance(value, np.ndarray) for value in given.values()):
        # safetensors writes an array's memory as it lies: one that lies column by column would be read back as another
        content = save_arrays({name: np.ascontiguousarray(value) for name, value in given.items()}, metadata)
    else:
        from safetensors.torch import save

        content = save(given, metadata)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(file: Path, sha256: str | None, *, follow: bool = True) -> dict[str, NDArray[Any]]:
    """The arrays of a plain file.

    Args:
        sha256: what the file's checksum must be; any where None.
        follow: read what a symbolic link leads to.

    Raises:
        OSError: the file is missing, no plain file, or cannot be read.
        ValueError: it has another checksum, or holds no tensors.
    """
    content = read_regular(file, _MOST, follow=follow)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("has changed since it was written")
    try:
        return load_arrays(content)
    except SafetensorError as error:
        raise ValueError("holds no tensors") from error
