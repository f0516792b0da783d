"""The sample cohort as a PACS would export it: a folder tree of DICOM files with names, reports and a CSV of labels.

::

    OUT/
      reports.csv            one row a study: labels, split and outcome
      PATIENT/STUDY/SERIES/  radiographs of 12 bits; CT series of `CT_SLICES` slices in Hounsfield units
      PATIENT/STUDY/SR.dcm   the history and findings as a Basic Text SR (PS3.3 A.35.1)

Everything in it is made up, and the pictures say so; it is there to be imported with ``medclip cases import dicom``.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from medclip.cases.case import Case
from medclip.cases.sources import Draft, Options, load_source
from medclip.files.outputs import new_folder
from medclip.modalities.scan.pictures import GreyPicture

__all__ = ["CT_SLICES", "REPORTS", "write_sample_dicom"]

REPORTS = "reports.csv"
CT_SLICES = 16
_SPACING = 5.0  # mm between CT slices
_WINDOW = (40, 400)  # Hounsfield units
_TOP = 4095  # of 12 bits
_METHOD = "No patient: drawn and written by a program"
_PROFILE = {  # PS3.16 CID 7050; every name, number and date in the files is a made-up replacement
    "113100": "Basic Application Confidentiality Profile",
    "113104": "Clean Structured Content Option",
    "113108": "Retain Patient Characteristics Option",
}


def _code(value: str, meaning: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _header(case: Case, storage: str, modality: str, unique: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(storage)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[unique])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = modality
    dataset.PatientName = f"Synthetic^{case.patient.title()}"
    dataset.PatientID = case.patient
    dataset.PatientSex = (case.sex or "other")[0].upper()
    dataset.PatientAge = f"{int(case.age or 0):03d}Y"
    dataset.AccessionNumber = case.id
    dataset.StudyDate = "20260101"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[case.id])
    dataset.SyntheticData = "YES"
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", _METHOD
    dataset.DeidentificationMethodCodeSequence = Items(_code(*one, "DCM") for one in _PROFILE.items())
    dataset.SpecificCharacterSet = "ISO_IR 192"
    return dataset


def _with_pixels(dataset: FileDataset, stored: np.ndarray, series: str, number: int) -> FileDataset:
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    dataset.InstanceNumber = number
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    return dataset


def _slices(picture: GreyPicture, rng: np.random.Generator) -> Iterator[GreyPicture]:
    """A picture as the middle of a body: smaller towards either end, with noise of its own."""
    image = Image.fromarray(picture)
    for z in np.linspace(-1, 1, CT_SLICES):
        scale = 1 / np.sqrt(1 - 0.3 * z * z)
        shift = (1 - scale) * np.asarray(image.size) / 2
        moved = image.transform(
            image.size,
            Image.Transform.AFFINE,
            (scale, 0, shift[0], 0, scale, shift[1]),
            Image.Resampling.BILINEAR,
        )
        yield np.clip(np.asarray(moved) + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def _series(case: Case, picture: GreyPicture, number: int, rng: np.random.Generator) -> Iterator[FileDataset]:
    name = f"{case.id}/{number}"
    if case.scans[number].modality != "CT":
        dataset = _header(case, DigitalXRayImageStorageForPresentation, "DX", name)
        dataset.WindowCenter, dataset.WindowWidth = (_TOP + 1) / 2, _TOP + 1
        dataset.ViewPosition = "PA"
        yield _with_pixels(dataset, picture.astype(np.float64) / 255 * _TOP, name, 1)
        return
    centre, width = _WINDOW
    for z, cut in enumerate(_slices(picture, rng)):
        dataset = _header(case, CTImageStorage, "CT", f"{name}/{z}")
        dataset.WindowCenter, dataset.WindowWidth = centre, width
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, z * _SPACING]
        hounsfield = centre - width / 2 + cut.astype(np.float64) / 255 * width
        yield _with_pixels(dataset, np.round(hounsfield + 1024), name, z + 1)


def _text_item(kind: str, meaning: str, **values: object) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = Items([_code(meaning.upper()[:16], meaning, "99MEDCLIP")])
    for key, value in values.items():
        setattr(item, key, value)
    return item


def _report(case: Case) -> FileDataset:
    dataset = _header(case, BasicTextSRStorage, "SR", f"{case.id}/report")
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[f"{case.id}/reports"])
    root = _text_item("CONTAINER", "Diagnostic imaging report")
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = root.ConceptNameCodeSequence
    texts = {"History": f"{dataset.PatientName.given_name}: {case.note_text('history')}", "Findings": case.report}
    dataset.ContentSequence = Items(
        _text_item("CONTAINER", heading, ContentSequence=Items([_text_item("TEXT", heading, TextValue=text)]))
        for heading, text in texts.items()
    )
    return dataset


def _write(dataset: FileDataset, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)


def write_sample_dicom(out: Path, *, seed: int = 0, force: bool = False) -> int:
    """Write the sample cohort of a seed as a DICOM tree, and return its number of studies.

    Raises:
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    rng = np.random.default_rng(seed)
    drafts = [item for item in load_source("sample").draft(None, Options(seed=seed)) if isinstance(item, Draft)]
    with new_folder(out, force=force, marker=".medclip-sample-dicom") as folder:
        columns = [f"label.{name}" for name in drafts[0].case.labels]
        with (folder / REPORTS).open("w", newline="", encoding="utf-8") as handle:
            table = csv.DictWriter(handle, ["study", "split", *columns, "diagnosis", "confirmed_by", "treatment"])
            table.writeheader()
            for draft in drafts:
                case = draft.case
                study = folder / case.patient / case.id
                for number, content in enumerate(draft.files.values()):
                    assert isinstance(content, bytes)
                    picture = np.asarray(Image.open(io.BytesIO(content)))
                    for slice_, dataset in enumerate(_series(case, picture, number, rng), start=1):
                        _write(dataset, study / f"series-{number + 1}" / f"{slice_:03d}.dcm")
                _write(_report(case), study / "SR.dcm")
                outcome = case.outcome.model_dump(include={"diagnosis", "confirmed_by", "treatment"})
                labels = {f"label.{name}": value for name, value in case.labels.items()}
                table.writerow({"study": case.id, "split": case.split, **labels, **outcome})
    return len(drafts)
