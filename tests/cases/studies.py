"""Small studies to de-identify, and a text as that leaves it."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import BasicTextSRStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from medclip.cases.privacy.header import identifiers_of
from medclip.cases.privacy.scrub import Scrubber


def radiograph(**values: Any) -> FileDataset:
    """A small radiograph of a study of its own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.SpecificCharacterSet, made.Modality = "ISO_IR 192", "DX"
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientID, made.PatientAge, made.PatientSex = "P-1", "067Y", "F"
    made.Rows = made.Columns = 32
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = np.arange(1024, dtype=np.uint8).tobytes()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def report_of(study: Dataset, *texts: str) -> FileDataset:
    """A structured report of a study, a text an item."""
    made = radiograph(StudyInstanceUID=study.StudyInstanceUID, Modality="SR", SOPClassUID=BasicTextSRStorage)
    made.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    for name in ("Rows", "PixelData"):
        del made[name]
    items = []
    for text in texts:
        item, concept = Dataset(), Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "121071", "DCM", "Finding"
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
        item.ConceptNameCodeSequence = Items([concept])
        items.append(item)
    made.ContentSequence = Items(items)
    return made


def header_of(**values: Any) -> Dataset:
    header = Dataset()
    for name, value in values.items():
        setattr(header, name, value)
    return header


def cleaned(text: str, **values: Any) -> str:
    """A text as the import of a study leaves it whose header has these values."""
    return Scrubber(identifiers_of(header_of(**values))).scrub(text)
