"""What still identifies in a file of a cases folder, beside its pixels: headers, tags, comments, text."""

import codecs
import contextlib
import gzip
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import ExifTags
from pydicom.dataset import Dataset

from medclip.cases.deidentify import is_over_oldest
from medclip.cases.privacy.header import profile
from medclip.cases.privacy.scrub import Scrubber
from medclip.files.plain import open_regular, read_regular
from medclip.modalities.scan.header import is_dicom, read_header
from medclip.modalities.scan.raster import OversizeError, opened_picture

__all__ = ["kinds_in_file", "kinds_in_text"]

_MOST_TEXT = 64 << 20  # bytes
_TAGS = {  # Exif and TIFF tags that identify by being there
    "Artist": "name", "CameraOwnerName": "name", "XPAuthor": "name", "Copyright": "name", "HostComputer": "place",
    "DateTime": "date", "DateTimeOriginal": "date", "DateTimeDigitized": "date", "BodySerialNumber": "number",
    "LensSerialNumber": "number", "ImageUniqueID": "number", "GPSInfo": "address",
}  # fmt: skip
_PNG_KEYS = {"author": "name", "creation time": "date", "copyright": "name"}  # PNG 11.3.4.2
_PROSE = {"LO", "LT", "SH", "ST", "UC", "UT"}
_CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # none stands in a text; ESC switches character sets
_NO_PROSE = {"SoftwareVersions", "DeidentificationMethod"}  # numbers with dots, and what was done to the file
_PATTERNS = Scrubber()


def kinds_in_text(text: str) -> Iterator[str]:
    """The kind of everything in a text that looks like an identifier; what overlaps counts once."""
    end = -1
    for found in sorted(_PATTERNS.find(text), key=lambda one: (one.start, -one.end)):
        if found.start >= end:
            yield found.kind
        end = max(end, found.end)


def _in_header(header: Dataset) -> Iterator[str]:
    """The kinds of identifying values in a DICOM header; where it says that it is de-identified, those that may not be.

    Table E.1-1 empties or replaces the others, and a replacement cannot be told from the value itself. Prose is searched.
    """
    cleaned = str(header.get("PatientIdentityRemoved", "")).upper() == "YES"
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        yield "pixels"
    for element in header.iterall():
        about = profile().get(element.tag)
        if element.VR == "SQ" or element.is_empty or not str(element.value).strip("\0 "):
            continue
        if element.keyword == "PatientAge" and is_over_oldest(element.value):
            yield "age"
        if element.tag.is_private and not element.tag.is_private_creator and not cleaned:
            yield "private"
        elif about is not None and about.kind and about.action != "U" and (about.action == "X" or not cleaned):
            yield about.kind
        elif element.keyword.endswith("Comments") and not cleaned:
            yield "comment"
        elif element.VR in _PROSE and element.keyword not in _NO_PROSE:
            for value in element.value if element.VM > 1 else [element.value]:
                yield from kinds_in_text(str(value))


def _after_png(path: Path) -> bytes:
    """The bytes after the last chunk of a PNG (PNG 5.3), which no reader shows."""
    with open_regular(path) as handle:
        handle.seek(8)
        while len(head := handle.read(8)) == 8:
            handle.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
            if head[4:] == b"IEND":
                return handle.read(_MOST_TEXT).strip(b"\0 \r\n")
    return b""


def _in_picture(path: Path) -> Iterator[str]:
    with open_regular(path) as handle:
        is_png = handle.read(4) == b"\x89PNG"
    if is_png and (after := _after_png(path)):
        yield from _in_bytes(after)
    try:
        with opened_picture(path) as image:
            tags: dict[Any, Any] = dict(image.getexif())
            for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                tags |= image.getexif().get_ifd(part)
            texts = {
                str(key): value for key, value in image.info.items() if isinstance(value, str | bytes) and key != "exif"
            }
    except OversizeError:  # of a PNG Pillow decodes every pixel to find the tags behind them
        yield "large"
        return
    for number, value in tags.items():
        name = ExifTags.TAGS.get(number, str(number))
        if name in _TAGS:
            yield _TAGS[name]
        elif isinstance(value, str | bytes):
            texts[name] = value
    for name, value in texts.items():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if name.lower() in _PNG_KEYS:
            yield _PNG_KEYS[name.lower()]
        elif name != "icc_profile":
            yield from kinds_in_text(f"{name}: {text}")


def _in_nifti(path: Path) -> Iterator[str]:
    import nibabel as nib

    header: Any = nib.load(path).header
    texts = [
        bytes(header[name].tobytes()) for name in ("descrip", "aux_file", "db_name", "intent_name") if name in header
    ]
    texts += [extension.text.encode() for extension in getattr(header, "extensions", []) if extension.get_code() != 2]
    if any(extension.get_code() == 2 for extension in getattr(header, "extensions", [])):
        yield "private"  # a DICOM header
    for text in texts:
        yield from kinds_in_text(text.decode("utf-8", "replace").strip("\0 "))


def _decoded(content: bytes) -> Iterator[str]:
    """Every text that bytes without a declared encoding may be."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield content.decode("utf-16")
    elif not _CONTROLS.search(content):
        try:
            yield content.decode("utf-8-sig")
        except UnicodeDecodeError:
            yield content.decode("latin-1")
            with contextlib.suppress(UnicodeDecodeError):
                yield content.decode("gb18030")


def _in_bytes(content: bytes) -> Iterator[str]:
    """The kinds in a text of any usual encoding; bytes that are no text are unreadable."""
    found = [list(kinds_in_text(text)) for text in _decoded(content)]
    yield from max(found, key=len, default=["unreadable"])


def _in_plain(path: Path) -> Iterator[str]:
    content = read_regular(path, _MOST_TEXT)
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(io.BytesIO(content)) as inflated:
            content = inflated.read(_MOST_TEXT + 1)
    yield from _in_bytes(content) if len(content) <= _MOST_TEXT else ["unreadable"]


def _reader(path: Path) -> Callable[[Path], Iterator[str]]:
    with open_regular(path) as handle:
        head = handle.read(132)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _in_nifti
    if is_dicom(head, path):
        return lambda one: _in_header(read_header(one))
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return _in_picture
    return _in_plain


def kinds_in_file(path: Path) -> list[str]:
    """The kind of everything in a file that looks like an identifier; no pixel or sound is looked at.

    Raises:
        Exception: whatever the library of its format makes of a damaged file.
    """
    return list(_reader(path)(path))
