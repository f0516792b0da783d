"""Cases → embeddings, with onnxruntime alone: one code path for archived cases and for queries."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case, Skipped
from medclip.errors import MeasurementError, ScanError, TextError
from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import ViewKind
from medclip.modalities.measurements.coding import MeasurementCoding
from medclip.modalities.measurements.shared_units import Amount
from medclip.modalities.scan.crops import with_crops
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan, thumbnail
from medclip.modalities.text.clean import require_readable

__all__ = ["EmbeddedCase", "Embedder", "Query", "View", "unknown_measurements"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One embedding of a case."""

    kind: ViewKind
    number: int  # which scan of the case; 0 for the other kinds
    vector: Array  # (d,) unit vector


@dataclass(frozen=True)
class EmbeddedCase:
    """What is known of a case, embedded but not yet fused; what could not be read is named."""

    case: Case
    numbers: tuple[int, ...]  # of the scans that could be read
    scans: Array  # (n, base) unit vectors
    report: Array  # (0 or 1, base)
    history: Array  # (0 or 1, base)
    measurements: Array  # (c,) unit vector, or zeros
    thumbnails: dict[int, bytes] = field(default_factory=dict)  # scan number → JPEG
    problems: tuple[str, ...] = ()
    content: str = ""  # hash of what it was embedded from

    @property
    def parts(self) -> Parts:
        """The case, ready to be fused."""
        return Parts(self.scans, self.history, self.report, self.measurements)

    def scan(self, position: int) -> Parts:
        """One of the scans that could be read, alone."""
        return self.parts.scan(position)

    def seen(self) -> list[tuple[ViewKind, int, Parts]]:
        """(kind, number, what it shows) of each view: every scan and text, the measurements, and all of it."""
        found: list[tuple[ViewKind, int, Parts]] = [
            ("scan", number, self.scan(position)) for position, number in enumerate(self.numbers)
        ]
        found += [(kind, 0, self.parts.only([kind])) for kind in self.parts.there if kind != "scan"]
        found.append(("fused", 0, self.parts))
        return found

    def views(self, fuser: Fuser) -> list[View]:
        """The views as vectors."""
        seen = self.seen()
        vectors = fuser.fuse([parts for _, _, parts in seen])
        return [View(kind, number, vector) for (kind, number, _), vector in zip(seen, vectors, strict=True)]


def unknown_measurements(case: Case, coding: MeasurementCoding) -> str | None:
    """Why a case cannot be embedded from its measurements alone; None where it can be, and empty where it has none.

    Age and sex count beside something else, and are no evidence by themselves.
    """
    names = dict.fromkeys(measurement.name for measurement in case.measurements)
    values = coding.values(case.measured)
    if any(name in values for name in names):
        return None
    return f"none of its measurements is known to this model: {', '.join(names)}" if names else ""


@dataclass
class _Loaded:
    """What could be read of a case."""

    numbers: list[int] = field(default_factory=list)
    prepared: list[list[GreyPicture]] = field(default_factory=list)  # a scan has one or more
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    texts: dict[ViewKind, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Query:
    """What is known of a new patient, embedded."""

    parts: Parts
    scans: list[ScanPictures]  # as read, for showing
    unknown: tuple[str, ...]  # measurements that the model does not know, which were left out


class Embedder:
    """Runs a verified serving model over cases and queries."""

    def __init__(self, model: ServingModel) -> None:
        self.model = model

    def scans(self, scans: Sequence[ScanPictures]) -> Array:
        """n scans, of pictures of any size → (n, d) unit vectors."""
        return self._scans([self._prepare(scan) for scan in scans])

    def _prepare(self, scan: ScanPictures) -> list[GreyPicture]:
        how = self.model.manifest.preprocessing
        return [prepare_scan(picture, how) for picture in with_crops(scan.pictures, how.cut)]

    def _scans(self, prepared: Sequence[Sequence[GreyPicture]]) -> Array:
        return self.model.embed_scans(prepared) if prepared else self._none()

    def _none(self) -> Array:
        return np.empty((0, self.model.manifest.base), np.float32)

    @property
    def coding(self) -> MeasurementCoding:
        """What the model knows of measurements."""
        return self.model.manifest.measurements

    @property
    def fuser(self) -> Fuser:
        """The model's fuser."""
        return self.model.fuser

    def texts(self, texts: Sequence[str]) -> Array:
        """n texts → (n, base) unit vectors.

        Raises:
            TextError: one is empty, or in a script that the text tower cannot read.
        """
        readable = [require_readable(text, self.model.manifest.reading.scripts) for text in texts]
        return self.model.embed_texts(readable) if readable else self._none()

    def cases(self, cases: Iterable[Case], folder: Path) -> Iterator[EmbeddedCase | Skipped]:
        """Embed cases in order; several are worked on at once.

        A scan or text that cannot be read, or a measurement that cannot be converted to the model's unit, is left out and
        named in `EmbeddedCase.problems`. A case of which nothing can be read and whose measurements the model does not
        know comes back as `Skipped`.
        """
        threads = self.model.towers.threads
        with ThreadPoolExecutor(threads) as workers:
            pending: deque[Future[EmbeddedCase | Skipped]] = deque()
            for case in cases:
                pending.append(workers.submit(self._case, case, folder))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _case(self, case: Case, folder: Path) -> EmbeddedCase | Skipped:
        return self._embed(case, self._load(case, folder))

    def _load(self, case: Case, folder: Path) -> "_Loaded":
        loaded = _Loaded()
        for number, scan in enumerate(case.scans):
            try:
                read = read_scan(folder / scan.file)
            except ScanError as error:
                loaded.problems.append(str(error))
                continue
            loaded.numbers.append(number)
            loaded.prepared.append(self._prepare(read))
            loaded.thumbnails[number] = thumbnail(read.middle)
        for kind, text in (("report", case.report), ("history", case.note_text("history"))):
            if not text:
                continue
            try:
                loaded.texts[cast(ViewKind, kind)] = require_readable(text, self.model.manifest.reading.scripts)
            except TextError as error:
                loaded.problems.append(f"{kind}: {error}")
        return loaded

    def _embed(self, case: Case, loaded: "_Loaded") -> EmbeddedCase | Skipped:
        loaded.problems += [f"{fault}; left out" for fault in self.coding.faults(case.measured)]
        if not loaded.numbers and not loaded.texts and (why := unknown_measurements(case, self.coding)) is not None:
            return Skipped(case.id, "; ".join([*loaded.problems, *([why] if why else [])]))
        texts = self.model.embed_texts(list(loaded.texts.values())) if loaded.texts else self._none()
        kinds = np.asarray([*loaded.texts], np.str_)
        return EmbeddedCase(
            case,
            tuple(loaded.numbers),
            self._scans(loaded.prepared),
            texts[kinds == "report"],
            texts[kinds == "history"],
            self.coding.encode(case.measured),
            loaded.thumbnails,
            tuple(loaded.problems),
        )

    def query(
        self,
        scans: Sequence[Path],
        history: Sequence[str],
        report: Sequence[str],
        values: Mapping[str, Amount],
        *,
        most_pixels: int | None = None,
    ) -> Query:
        """Embed what is known of a new patient.

        Args:
            history, report: texts of either kind, which are read as one.
            values: measurements by name; a number is in the unit of the model. Those that it does not know are left out.
            most_pixels: of all scans together.

        Raises:
            ScanError: a scan cannot be read, or they are larger together than `most_pixels`.
            TextError: a text cannot be embedded, or nothing is known at all.
            MeasurementError: the model knows none of the measurements and there is nothing else, or the unit of one cannot
                be converted to the model's.
        """
        if not (scans or history or report or values):
            raise TextError("nothing to ask with: give --scan FILE, --text TEXT, --measure NAME=VALUE or several")
        coding = self.coding
        unknown = tuple(name for name in values if name not in coding.names)
        if unknown and len(unknown) == len(values) and not (scans or history or report):
            known = ", ".join(coding.names) or "none"
            raise MeasurementError(f"{unknown[0]}: too few archived cases have it for this model, which knows {known}")
        values = {name: value for name, value in values.items() if name not in unknown}
        if faults := coding.faults(values):
            raise MeasurementError(faults[0])
        read, pixels = [], 0
        for path in scans:
            read.append(read_scan(path))
            pixels += sum(picture.size for picture in read[-1].pictures)
            if most_pixels is not None and pixels > most_pixels:
                raise ScanError(
                    f"{path}: more than {most_pixels // 1_000_000} million pixels in all scans; ask with fewer"
                )
        told, found = (self.texts(["\n\n".join(texts)] if texts else []) for texts in (history, report))
        return Query(Parts(self.scans(read), told, found, coding.encode(values)), read, unknown)
