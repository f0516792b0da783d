"""A folder tree of DICOM files, as a PACS or a CD gives it → de-identified cases, one a study.

A CT, MR or PET series is one scan, stored as a choice of its slices; every radiograph or ultrasound file is one.
Localizers are left out of a study that has anything else, and listed. Report text comes from structured reports in the tree, or
from a table (``--reports``, CSV or workbook) whose column ``study`` names a study by its StudyInstanceUID or by an accession
number that no other study has, beside the columns of a case in `medclip.cases.sources.folder`, and ``report``: free text to
be split at its headings.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydicom.dataset import Dataset

from medclip.cases.case import Case
from medclip.cases.deidentify import OLDEST, Key, age_years
from medclip.cases.privacy.header import Identifier, identifiers_of
from medclip.cases.privacy.scrub import Scrubber
from medclip.cases.sources.base import Draft, Item, Options, Part, Remark, Skipped
from medclip.cases.structured_report import report_sections
from medclip.cases.table import CASE_COLUMNS, Row, Table, case_fields, first, mistakes_in, read_table, told, without_key
from medclip.cases.tabular.words import DICOM_MODALITIES
from medclip.errors import CaseError, MedclipError, ScanError, describe
from medclip.files.plain import permissions
from medclip.modalities.scan.geometry import is_localizer, plane_of
from medclip.modalities.scan.header import is_dicom, read_header
from medclip.modalities.scan.pictures import ScanPictures
from medclip.modalities.scan.read import as_tiff, read_scan, read_slices
from medclip.modalities.text.sections import split_sections

NAME = "dicom"
NEEDS_PATH = True
OPTIONS: frozenset[str] = frozenset({"key", "reports", "encoding", "sheet"})

_VOLUMES = {"CT", "MR", "PT", "NM"}
_NOT_SCANS = {"SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "DOC", "AU", "ECG", "PLAN"}
_SEX = {"F": "female", "M": "male", "O": "other"}
_IGNORED = {"DICOMDIR", "LOCKFILE", "VERSION"}


@dataclass
class _Study:
    """The files of one study, by series."""

    header: Dataset  # of one of its files, for the patient's age and sex
    series: dict[str, list[tuple[Path, Dataset]]] = field(default_factory=lambda: defaultdict(list))
    reports: list[Path] = field(default_factory=list)
    identifiers: set[Identifier] = field(default_factory=set)
    accessions: set[str] = field(default_factory=set)
    patient: str = ""  # the first PatientID and the first issuer that its files name
    issuer: str = ""


def _plain(header: Dataset, name: str) -> str:
    """A value without the spaces around it, which mean nothing (PS3.5 6.2)."""
    return str(header.get(name) or "").strip("\0 ")


def _studies(root: Path, passed_over: Path | None) -> tuple[dict[str, _Study], list[Skipped]]:
    """Every study of a tree, by its UID, and the files that are no use."""
    studies: dict[str, _Study] = {}
    skipped: list[Skipped] = []
    for file in sorted(root.rglob("*")):
        if not file.is_file() or file.name in _IGNORED or file.name.startswith(".") or file == passed_over:
            continue
        name = str(file.relative_to(root))
        try:
            with file.open("rb") as handle:
                known = is_dicom(handle.read(132), file)
            header = read_header(file) if known else None
            uid = str(header.get("StudyInstanceUID", "")) if header is not None else ""
            identifiers = identifiers_of(header) if header is not None else set()
        except Exception as error:  # noqa: BLE001 (whatever pydicom makes of a damaged file)
            skipped.append(Skipped(name, f"is damaged or cannot be read ({type(error).__name__})"))
            continue
        if header is None or not uid:
            none = Part(name, "is no DICOM file")
            skipped.append(none if header is None else Skipped(name, "names no study; is it damaged?"))
            continue
        study = studies.setdefault(uid, _Study(header))
        study.identifiers |= identifiers
        study.accessions |= {_plain(header, "AccessionNumber")} - {""}
        study.patient = study.patient or _plain(header, "PatientID")
        study.issuer = study.issuer or _plain(header, "IssuerOfPatientID")
        modality = str(header.get("Modality", ""))
        if modality == "SR":
            study.reports.append(file)
        elif modality not in _NOT_SCANS and "Rows" in header:
            study.series[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    return studies, skipped


def _scans_of(study: _Study) -> tuple[list[list[tuple[Path, Dataset]]], list[list[Path]]]:
    """The files of each scan, and the localizers that are left out, a list a series.

    Each file is judged by itself, since a series may begin with its localizers.
    """
    all_series = study.series.values()
    only_localizers = all(is_localizer(header) for files in all_series for _, header in files)
    found: list[list[tuple[Path, Dataset]]] = []
    left_out: list[list[Path]] = []
    for files in all_series:
        kept = [one for one in files if only_localizers or not is_localizer(one[1])]
        if len(kept) < len(files):
            left_out.append([file for file, header in files if is_localizer(header)])
        if kept and str(kept[0][1].get("Modality", "")) in _VOLUMES:
            found.append(kept)
        else:
            found += [[one] for one in kept]
    return found, left_out


class _Importer:
    """Makes the case of each study."""

    def __init__(self, root: Path, key: Key, rows: dict[str, list[Row]], studies: dict[str, _Study]) -> None:
        self.root, self.key, self.rows, self.studies = root, key, rows, studies
        self.used: set[str] = set()
        counts = Counter(name for study in studies.values() for name in study.accessions)
        self.shared = {name for name, count in counts.items() if count > 1}
        self.identifiers: dict[str, set[Identifier]] = defaultdict(set)  # of all studies of each patient
        for uid, study in studies.items():
            self.identifiers[self._patient(uid)] |= study.identifiers

    def _patient(self, uid: str) -> str:
        study = self.studies[uid]
        return self.key.hashed("patient", f"{study.issuer}|{study.patient or uid}")

    def _pictures(self, files: list[tuple[Path, Dataset]]) -> ScanPictures:
        if any(str(header.get("BurnedInAnnotation", "")).upper() == "YES" for _, header in files):
            raise ScanError("has words burnt into its pixels (BurnedInAnnotation), which may name the patient")
        return read_slices([file for file, _ in files]) if len(files) > 1 else read_scan(files[0][0])

    def _fields(self, uid: str, study: _Study, scrubber: Scrubber) -> dict[str, Any]:
        """What the reports say of a study, without what identifies.

        Raises:
            CaseError: the table of reports has mistakes in the study's rows; names them all.
        """
        names = (uid, *sorted(study.accessions - self.shared))
        found = next((name for name in names if name in self.rows), None)
        fields: dict[str, Any] = {}
        texts = [report_sections(read_header(file)) for file in study.reports]
        if found is not None:
            self.used.add(found)
            if mistakes := mistakes_in(self.rows[found]):
                raise CaseError(told(mistakes))
            fields = case_fields(self.rows[found])
            texts += [split_sections(first(self.rows[found], "report") or "")]
        notes = list(fields.get("notes", []))
        notes += [{"kind": "history", "text": text.history} for text in texts if text.history]
        notes += [{"kind": "findings", "text": text.findings} for text in texts if text.findings]
        outcome = dict(fields.get("outcome", {}))
        if impression := "\n".join(text.impression for text in texts if text.impression):
            outcome.setdefault("impression", impression)
        scrubbed = scrubber.scrub
        fields["notes"] = [{**note, "text": scrubbed(note["text"])} for note in notes]
        fields["outcome"] = {name: scrubbed(text) for name, text in outcome.items()}
        fields["labels"] = fields.get("labels", {})
        if "age" in fields:
            fields["age"] = min(fields["age"], OLDEST)
        return fields

    def unused(self) -> Iterator[Part]:
        """The rows that belong to no study, or nobody knows to which."""
        for number, name in enumerate(self.rows, start=1):
            if name in self.shared - self.used:
                why = "its accession number is that of more than one study; name the StudyInstanceUID instead"
                yield Part(f"report {number}", why)
            elif name not in self.used:
                yield Part(f"report {number}", "its study is not in the folder")

    def draft(self, uid: str) -> Iterator[Draft | Skipped]:
        """The case of a study, after what had to be left out of it."""
        case_id = self.key.hashed("case", uid)
        study, patient = self.studies[uid], self._patient(uid)
        header = study.header
        scans: list[dict[str, Any]] = []
        files: dict[str, Path | bytes] = {}
        modalities, mode = set(), reduce(and_, map(permissions, study.reports), 0o777)
        groups, localizers = _scans_of(study)
        for out in localizers:
            many = f"{len(out)} localizers are" if len(out) > 1 else "a localizer is"
            yield Part(str(out[0].relative_to(self.root)), f"{many} left out of its series; the rest is kept")
        for number, group in enumerate(groups, start=1):
            first_file, about = group[0]
            try:
                pictures = self._pictures(group)
            except ScanError as error:
                reason = str(error).replace(f"{first_file}: ", "")
                yield Part(str(first_file.relative_to(self.root)), reason)
                continue
            if lost := [note for note in pictures.notes if "damaged" in note]:
                yield Part(str(first_file.parent.relative_to(self.root)), lost[0])
            name = f"scans/{case_id}-{number}.tif"
            files[name] = as_tiff(pictures.pictures)
            mode &= reduce(and_, (permissions(file) for file, _ in group))
            modality = DICOM_MODALITIES.get(str(about.get("Modality", "")), "OT")
            modalities.add(modality)
            scan = {"file": name, "modality": modality, "plane": plane_of(about), "window": pictures.window}
            scans.append({field_: value for field_, value in scan.items() if value})
        scrubber = Scrubber(self.identifiers[patient])
        try:
            fields = self._fields(uid, study, scrubber)
        except CaseError as error:
            yield Skipped(case_id, str(error))
            return
        if not scans and not fields["notes"]:
            holds = "no scan that can be read, and no report" if study.series else "neither a scan nor a report"
            yield Skipped(case_id, f"its study holds {holds}")
            return
        facts = {"age": age_years(header.get("PatientAge")), "sex": _SEX.get(str(header.get("PatientSex", "")).upper())}
        said = {}
        for number, (name, value) in enumerate(fields["labels"].items(), start=1):
            if scrubber.scrub(name) != name:
                yield Part(case_id, f"the name of its label {number} holds an identifier; that label is left out")
            elif scrubber.scrub(value) != value:
                yield Part(case_id, f"its label {name} holds an identifier and is left unknown")
            else:
                said[name] = value
        measured = fields.get("measurements", [])
        fields["measurements"] = [one for one in measured if scrubber.scrub(one["name"]) == one["name"]]
        if lost_ones := len(measured) - len(fields["measurements"]):
            yield Part(
                case_id, f"{lost_ones} of its measurements have a name that holds an identifier; they are left out"
            )
        labels = {"modality": modalities.pop()} if len(modalities) == 1 else {}
        try:
            case = Case.model_validate(
                {
                    "id": case_id,
                    **{name: value for name, value in facts.items() if value is not None},
                    **fields,
                    "patient": patient,
                    "labels": labels | said,
                    "scans": scans,
                    "source": NAME,
                    "synthetic": str(header.get("SyntheticData", "")).upper() == "YES",
                }
            )
        except ValidationError as error:
            yield Skipped(case_id, describe(error))
            return
        yield Draft(case, files, mode)


def draft(path: Path | None, options: Options) -> Iterator[Item]:
    """Yield every study below `path` as a case, and every file that had to be left out."""
    assert path is not None
    assert options.key is not None
    if not path.is_dir():
        raise CaseError(f"{path}: is a file; name the folder that holds the DICOM files")
    if options.reports is None and (options.encoding or options.sheet):
        raise CaseError("--encoding and --sheet are those of a table of reports; name it with --reports")
    table = Table()
    if options.reports is not None:
        columns = (*CASE_COLUMNS, "report")
        table = read_table(options.reports, "study", columns, encoding=options.encoding, sheet=options.sheet)
    if table.remark:
        yield Remark(table.remark)
    for row in table.loose:
        yield Part(f"line {row.line}", without_key(row, "study"))
    studies, skipped = _studies(path, options.reports)
    yield from skipped
    importer = _Importer(path, Key.at(options.key), table.groups, studies)
    for uid in sorted(studies):
        try:
            drafts: list[Draft | Skipped] = list(importer.draft(uid))
        except MedclipError:
            raise
        except Exception as error:  # noqa: BLE001 (a header may hold anything under any name)
            drafts = [
                Skipped(importer.key.hashed("case", uid), f"is damaged ({type(error).__name__}); export it again")
            ]
        yield from drafts
    yield from importer.unused()
