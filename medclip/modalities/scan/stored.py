"""Stored values of a DICOM file's frames, each read from the file alone, after its size was held against its claims."""

import io
import struct
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels import as_pixel_options, get_decoder
from pydicom.uid import UID, JPEGExtended12Bit

from medclip.errors import ScanError
from medclip.modalities.scan.header import integer
from medclip.modalities.scan.pictures import MOST_PIXELS

__all__ = ["check", "stored_frames"]

_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"}  # representations with a length of 4 bytes
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_NO_SCAN = {"SEG": "a segmentation", "RTSTRUCT": "a structure set", "SR": "a structured report", "PR": "a presentation"}


def _element(dataset: FileDataset, content: io.BufferedReader) -> dict[str, Any] | None:
    """Read the head of the pixel data element and stop at its value; None where there is no such element.

    Returns:
        What pydicom's decoders want to know of it, ``length``: the bytes that are there of its value, and whether it is
        ``defined`` or ends with a delimiter.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    order = "<" if syntax.is_little_endian else ">"
    head = content.read(8)
    if len(head) < 8:
        return None
    group, number, length = struct.unpack(f"{order}HHL", head)
    found: dict[str, Any] = {"pixel_keyword": _KEYWORDS.get(group << 16 | number)}
    if found["pixel_keyword"] is None:
        return None
    if not syntax.is_implicit_VR:
        found["pixel_vr"] = head[4:6].decode("ascii", "replace")
        length = struct.unpack(f"{order}H", head[6:])[0]
        if head[4:6] in _LONG:
            length = int.from_bytes(content.read(4), "little" if syntax.is_little_endian else "big")
    start = content.tell()
    there = content.seek(0, io.SEEK_END) - start
    content.seek(start)
    found["defined"] = length != _UNDEFINED
    found["length"] = min(length, there) if found["defined"] else there
    return found


def _frame_bytes(dataset: FileDataset) -> float:
    """Bytes of an uncompressed frame (PS3.5 8.1.1)."""
    rows, columns = integer(dataset.get("Rows"), 0), integer(dataset.get("Columns"), 0)
    samples = integer(dataset.get("SamplesPerPixel"), 1)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":  # two pixels share their colour
        samples = 2
    return rows * columns * samples * integer(dataset.get("BitsAllocated"), 8) / 8


def _fragments(content: io.BufferedReader, defined: bool) -> int:
    """How many fragments a compressed value has (PS3.5 A.4), which begins here; none where it is cut off.

    Args:
        defined: whether the value states its length, against the standard; then it may lack the delimiter at its end.
    """
    start, end = content.tell(), content.seek(0, io.SEEK_END)
    content.seek(start)
    count = -1  # the first item is the offset table
    while (head := content.read(8))[:4] == _ITEM and len(head) == 8 and content.tell() <= end:
        content.seek(int.from_bytes(head[4:], "little"), io.SEEK_CUR)
        count += 1
    whole = head[:4] == _DELIMITER or (defined and content.tell() <= end)
    content.seek(start)
    return count if whole else 0


def check(dataset: FileDataset, content: io.BufferedReader, path: Path) -> dict[str, Any]:
    """Refuse what holds no scan, or none that can be decoded here, or less than it says.

    Returns:
        What `stored_frames` needs to know of the pixel data, whose value begins where `content` stands now.

    Raises:
        ScanError: it is refused.
    """
    element = _element(dataset, content)
    if element is None:
        raise ScanError(f"{path}: holds no image (no pixel data); export the image itself")
    kind = _NO_SCAN.get(str(dataset.get("Modality", "")))
    if kind or integer(dataset.get("BitsAllocated"), 8) == 1:
        raise ScanError(f"{path}: is {kind or 'a mask of one bit'}, not a scan; give the images that it was made of")
    rows, columns = integer(dataset.get("Rows"), 0), integer(dataset.get("Columns"), 0)
    if rows * columns > MOST_PIXELS:
        raise ScanError(f"{path}: has over {MOST_PIXELS // 10**6} million pixels; export it smaller")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax.is_encapsulated:
        _check_decoder(dataset, syntax, path)
    frames = max(1, integer(dataset.get("NumberOfFrames"), 1))
    if syntax.is_encapsulated:
        there, stated = _fragments(content, element["defined"]), frames
    else:
        there, stated = element["length"], ceil(frames * _frame_bytes(dataset))
    if there < stated:
        raise ScanError(f"{path}: holds fewer frames than it says; copy or export it again")
    if (
        dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
        and not syntax.is_encapsulated
        and there >= stated * 1.5
    ):
        raise ScanError(
            f"{path}: says that pixels share their colours (YBR_FULL_422), which they do not; export it again"
        )
    return element


def _check_decoder(dataset: FileDataset, syntax: UID, path: Path) -> None:
    twelve = syntax == JPEGExtended12Bit and integer(dataset.get("BitsStored"), 8) > 8
    if twelve and find_spec("libjpeg") is None:
        raise ScanError(f"{path}: is 12-bit JPEG; to read it:  pip install 'medclip-assistant[jpeg]'")
    try:
        decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise ScanError(f"{path}: is compressed as {syntax.name}, which medclip cannot decode; export it uncompressed")


def stored_frames(
    dataset: FileDataset, content: io.BufferedReader, element: dict[str, Any], numbers: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """The stored values of some frames, one by one, each (rows, columns) or (rows, columns, 3).

    A compressed one is decoded by the first decoder that manages; GDCM last, which damaged files can crash.

    Args:
        content: at the start of the pixel data's value.
        element: what `check` found.

    Raises:
        Exception: whatever pydicom and its decoders make of a damaged file.
    """
    start = content.tell()
    decoder = get_decoder(UID(dataset.file_meta.TransferSyntaxUID))
    about = {name: value for name, value in element.items() if name.startswith("pixel")}
    options = as_pixel_options(dataset, transfer_syntax_uid=decoder.UID, **about)
    plugins = [""] if decoder.is_native else sorted(decoder.available_plugins, key=lambda name: (name == "gdcm", name))
    for number in numbers:
        failed: Exception | None = None
        for plugin in plugins:
            content.seek(start)
            try:
                [(frame, _)] = decoder.iter_array(content, indices=[number], decoding_plugin=plugin, **options)
            except Exception as error:  # noqa: BLE001 (another decoder may manage)
                failed = failed or error
                continue
            plugins = [plugin, *(other for other in plugins if other != plugin)]  # it will manage the next one, too
            yield frame
            break
        else:
            raise failed or ValueError("it has no decoder")
