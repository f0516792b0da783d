"""A DICOM file's header, and the values in it as far as they make sense."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medclip.errors import ScanError

__all__ = ["functional", "integer", "is_dicom", "numbers", "read_header"]

_SUFFIXES = {".dcm", ".dicom", ".ima"}
_MOST_INFLATED = 1 << 30  # bytes


def is_dicom(head: bytes, path: Path) -> bool:
    """Whether a file is DICOM, by its first 132 bytes: with a preamble, or (older files) at once with an element."""
    if head[128:132] == b"DICM" or path.suffix.lower() in _SUFFIXES:
        return True
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" and len(head) > 100


def _refuse_bomb(path: Path) -> None:
    """A deflated data set may be a thousand times its file."""
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
    except Exception:  # noqa: BLE001 (no preamble: then it is not deflated)
        return
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = path.read_bytes()[144 + int(meta.get("FileMetaInformationGroupLength", 0)) :]
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, 1 << 24))
        rest = inflater.unconsumed_tail
        if size > _MOST_INFLATED:
            raise ScanError(f"{path}: inflates to over {_MOST_INFLATED >> 30} GiB; export it uncompressed")


def read_header(path: Path, *, pixels: bool = False) -> FileDataset:
    """A DICOM file's data set, without its pixels unless they are asked for; no preamble is needed.

    Raises:
        ScanError: it inflates to more than a scan can be.
        Exception: pydicom cannot parse it.
    """
    _refuse_bomb(path)
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def functional(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """A functional group's macro for one frame: its own, else the shared one."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in (*own[frame : frame + 1], *shared[:1]):
        macro = group.get(name)
        if macro:
            found: Dataset = macro[0]
            return found
    return None


def numbers(value: object, count: int) -> NDArray[np.float64] | None:
    try:
        found = np.asarray([float(v) for v in value], np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and np.isfinite(found).all() and np.abs(found).max() < 1e6 else None


def integer(value: object, otherwise: int) -> int:
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError):
        return otherwise
