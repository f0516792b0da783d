"""Arrays that are written as they come."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayStream"]

_HEADER = 128  # bytes that numpy's header of one or two dimensions takes, whatever its length


class ArrayStream:
    """A .npy file of one dimension, or of rows of a width, written piece by piece."""

    def __init__(self, file: Path, kind: type[np.generic], width: int = 0) -> None:
        self._out, self._kind, self._width, self.count = file.open("wb"), np.dtype(kind), width, 0

    def __enter__(self) -> Self:
        self._out.write(b"\0" * _HEADER)
        return self

    def append(self, values: NDArray[Any]) -> None:
        self._out.write(np.ascontiguousarray(values, self._kind).data)
        self.count += values.size

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._out:
            if error is None:
                shape = (self.count // self._width, self._width) if self._width else (self.count,)
                self._out.seek(0)
                header = {"descr": self._kind.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(self._out, header)
                assert self._out.tell() == _HEADER
