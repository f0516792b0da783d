"""A DICOM file's header within limits, and the values in it as far as they make sense."""

import contextlib
import io
import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medclip.errors import ScanError
from medclip.files.plain import open_regular

__all__ = ["functional", "integer", "is_dicom", "numbers", "opened", "read_header"]

_SUFFIXES = {".dcm", ".dicom", ".ima"}
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double and integer pixel data
_META = 2  # group of the file meta information, which is never deflated
_ITEM, _ITEM_BIG_ENDIAN = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
_MOST_INFLATED = 256 << 20  # bytes; a CT slice has half a million
_MOST_HEADER = 64 << 20  # bytes before the pixels; an enhanced file has some 3 KB a frame
_MOST_ITEMS = 200_000  # of sequences; an enhanced file has about 10 a frame, and each takes 1 KB of memory
_MOST_READS = 1_000_000  # two or three an element; an enhanced file has some 120 a frame

# Set once, since both are of the whole process: what pydicom finds wrong with a file quotes the patient's values.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def is_dicom(head: bytes, path: Path) -> bool:
    """Whether a file is DICOM, by its first 132 bytes: with a preamble, or (older files) at once with an element."""
    if head[128:132] == b"DICM" or path.suffix.lower() in _SUFFIXES:
        return True
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" and len(head) > 100


class _Content(io.BufferedReader):
    """A data set's bytes: never makes room for more than there are, and stops a header that is none.

    An element may claim to have 4 GB, and a few bytes of a sequence become an object of thousands.
    """

    def __init__(self, raw: io.RawIOBase | io.BytesIO, size: int) -> None:
        super().__init__(raw)
        self._size = size
        self._reads = self._bytes = self._items = 0
        self.counting = True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # pydicom asks so for what it would inflate without limit; that is done here
            raise _TooMuchError
        wanted = max(0, min(size, self._size - self.tell()))
        if not self.counting:
            return super().read(wanted)
        self._reads += 1
        self._bytes += wanted
        found = super().read(wanted)
        if wanted > 8:
            self._items += found.count(_ITEM) + found.count(_ITEM_BIG_ENDIAN)
        if self._reads > _MOST_READS or self._bytes > _MOST_HEADER or self._items > _MOST_ITEMS:
            raise _TooMuchError
        return found


class _TooMuchError(Exception):
    """A header is larger than a scan's can be."""


def _inflated(content: io.BufferedReader, path: Path) -> bytes:
    """What is left of a file, inflated: a deflated data set may be a thousand times its file."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts, size, rest = [], 0, content.read(_MOST_INFLATED)
    while rest and not inflater.eof:
        parts.append(inflater.decompress(rest, 1 << 24))
        size += len(parts[-1])
        rest = inflater.unconsumed_tail
        if size > _MOST_INFLATED:
            raise ScanError(f"{path}: inflates to over {_MOST_INFLATED >> 20} MiB; export it uncompressed")
    return b"".join(parts)


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in _PIXELS


def _parsed(content: _Content, path: Path) -> tuple[FileDataset, _Content]:
    """The data set up to its pixels, and the bytes that it was read from, which end there."""
    meta = Dataset()
    deflated = False
    with contextlib.suppress(Exception):  # no preamble, or damaged: then pydicom says so below
        read_preamble(content, force=False)
        meta = read_dataset(content, False, True, stop_when=lambda tag, *_: tag >> 16 != _META)
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if not deflated:
        content.seek(0)
        return pydicom.dcmread(content, force=True, stop_before_pixels=True), content
    content.counting = False
    inflated = _inflated(content, path)
    plain = _Content(io.BytesIO(inflated), len(inflated))
    read = read_dataset(plain, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixels)
    dataset = FileDataset(str(path), read, file_meta=FileMetaDataset(meta), is_implicit_VR=False, is_little_endian=True)
    dataset.set_original_encoding(False, True, read._character_set)
    return dataset, plain


@contextmanager
def opened(path: Path) -> Iterator[tuple[FileDataset, io.BufferedReader]]:
    """A DICOM file's data set up to its pixels, and its bytes from there on; no preamble is needed.

    Raises:
        ScanError: its header is larger, or inflates to more, than a scan's can be.
        OSError: it is no plain file, or cannot be read.
        Exception: pydicom cannot parse it.
    """
    raw = open_regular(path).detach()
    with _Content(raw, os.fstat(raw.fileno()).st_size) as file:
        try:
            dataset, content = _parsed(file, path)
        except (_TooMuchError, RecursionError):
            raise ScanError(f"{path}: its header is larger than a scan's can be; export it again") from None
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, _ = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.filename = str(path)
        content.counting = False
        yield dataset, content


def read_header(path: Path) -> FileDataset:
    """A DICOM file's data set, without its pixels.

    Raises:
        ScanError, OSError, Exception: as `opened`.
    """
    with opened(path) as (dataset, _):
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
