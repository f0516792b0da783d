"""The map of an index, in one file that carries its checksum, so that a change of it is whole or absent."""

import hashlib
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.archive.layout import MAP
from medclip.archive.map import CaseMap
from medclip.errors import ArchiveError
from medclip.files.outputs import replaced_file
from medclip.files.plain import unreadable
from medclip.files.tensors import read_tensors, write_tensors
from medclip.index import CaseIndex
from medclip.index.case_index import MANIFEST

__all__ = ["read_map", "write_map"]

_REMEDY = "medclip index compact  draws it anew"
_SEAL = "sha256"
_FARTHEST = 1.01  # from the middle, in x or y; placed cases lie among landmarks, which are within 1
Tensors = dict[str, NDArray[Any]]


def write_map(drawn: CaseMap, folder: Path) -> None:
    """Write it into an index folder, in the place of an earlier one.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    ids = [case_id.encode() for case_id in drawn.case_ids]
    tensors: Tensors = {
        "ids": np.frombuffer(b"".join(ids), np.uint8),
        "ends": np.cumsum([0, *map(len, ids)], dtype=np.int64),
        "points": drawn.points.astype(np.float32),
        "contents": drawn.contents,
        "landmarks": drawn.landmarks,
        "vectors": drawn.vectors.astype(np.float16),
        "generation": np.asarray([drawn.generation], np.int64),
    }
    with replaced_file(folder / MAP) as partial:
        write_tensors(partial, {**tensors, _SEAL: _digest(tensors)})
        partial.chmod(
            stat.S_IMODE((folder / MANIFEST).stat().st_mode)
        )  # so that those who ask an older index see its map


def _digest(tensors: Tensors) -> NDArray[np.uint8]:
    """(32,) of names, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        found.update(value.tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def read_map(index: CaseIndex) -> CaseMap | None:
    """The map of an index; None where it has none, as those that an earlier medclip made.

    Raises:
        ArchiveError: it is damaged, or of another model.
    """
    file = index.attachment(MAP)
    try:
        return _read(read_tensors(file, None, follow=False), index.dimension)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except (ValueError, LookupError) as error:
        raise ArchiveError(f"{file}: is damaged ({error}); {_REMEDY}") from error


def _read(tensors: Tensors, dimension: int) -> CaseMap:
    """A map from its tensors.

    Raises:
        LookupError, ValueError: they are not as `write_map` writes them.
    """
    seal = tensors.pop(_SEAL)
    if not np.array_equal(seal, _digest(tensors)):
        raise ValueError("has changed since it was written")
    n, m = len(tensors["ends"]) - 1, len(tensors["landmarks"])
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "ids": (np.uint8, tensors["ids"].shape[:1]),
        "ends": (np.int64, (n + 1,)),
        "points": (np.float32, (n, 2)),
        "contents": (np.uint8, (n, 8)),
        "landmarks": (np.int64, (m,)),
        "vectors": (np.float16, (m, dimension)),
        "generation": (np.int64, (1,)),
    }
    if tensors.keys() != expected.keys() or n < 0:
        raise ValueError("holds something else than a map")
    for name, (kind, shape) in expected.items():
        if tensors[name].dtype != kind or tensors[name].shape != shape:
            raise ValueError("its parts do not fit each other")
    ends, points, landmarks = tensors["ends"], tensors["points"], tensors["landmarks"]
    vectors = tensors["vectors"].astype(np.float32)
    if ends[0] != 0 or ends[-1] != len(tensors["ids"]) or (np.diff(ends) < 0).any():
        raise ValueError("its case ids are cut off")
    if (np.diff(landmarks, prepend=-1) < 1).any() or (m and landmarks[-1] >= n):
        raise ValueError("a landmark is no case")
    if not (np.abs(points) <= _FARTHEST).all() or not np.isfinite(vectors).all():
        raise ValueError("a point lies nowhere")
    text, stops = tensors["ids"].tobytes(), ends.tolist()
    ids = tuple(text[start:end].decode() for start, end in pairwise(stops))
    if any(one >= other for one, other in pairwise(ids)):
        raise ValueError("its case ids are in no order")
    return CaseMap(ids, points, tensors["contents"], landmarks, vectors, int(tensors["generation"][0]))
