"""Cases → embeddings, with onnxruntime alone: one code path for archived cases and for queries."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case
from medclip.errors import ScanError, TextError
from medclip.fusion import fuse_sum
from medclip.modalities.scan.pictures import GreyPicture, ScanPictures
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.scan.read import read_scan, thumbnail
from medclip.modalities.text.clean import require_readable

__all__ = ["EmbeddedCase", "Embedder", "Query", "View", "ViewKind", "fuse"]

Array = NDArray[np.float32]
ViewKind = Literal["scan", "report", "history", "fused"]


@dataclass(frozen=True)
class View:
    """One embedding of a case."""

    kind: ViewKind
    number: int  # which scan of the case; 0 for the other kinds
    vector: Array  # (d,) unit vector


@dataclass(frozen=True)
class EmbeddedCase:
    """A case with its views; what could not be read is named."""

    case: Case
    views: tuple[View, ...]  # never empty; one of them is `fused`
    thumbnails: dict[int, bytes]  # scan number → JPEG
    problems: tuple[str, ...] = ()

    def vectors(self, kind: ViewKind) -> Array:
        """(n, d) vectors of one kind."""
        found = [view.vector for view in self.views if view.kind == kind]
        return np.stack(found) if found else np.empty((0, len(self.views[0].vector)), np.float32)


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

    vector: Array  # (d,) unit vector, all of it fused
    scans: int
    texts: int


def fuse(scans: Array, texts: Sequence[Array]) -> Array:
    """Fuse (n, d) scan vectors and (d,) text vectors into one (d,) unit vector.

    Scans are one modality (their mean) and every text is another.
    """
    return fuse_sum([scans, *(text[None] for text in texts)])


class Embedder:
    """Runs a verified serving model over cases and queries."""

    def __init__(self, model: ServingModel) -> None:
        self.model = model

    def scans(self, scans: Sequence[ScanPictures]) -> Array:
        """n scans, of pictures of any size → (n, d) unit vectors."""
        return self._scans([self._prepare(scan) for scan in scans])

    def _prepare(self, scan: ScanPictures) -> list[GreyPicture]:
        return [prepare_scan(picture, self.model.manifest.preprocessing) for picture in scan.pictures]

    def _scans(self, prepared: Sequence[Sequence[GreyPicture]]) -> Array:
        return self.model.embed_scans(prepared) if prepared else np.empty((0, self.model.manifest.width), np.float32)

    def text(self, text: str) -> Array:
        """One text → (d,) unit vector.

        Raises:
            TextError: it is empty, or in a script that the text tower cannot read.
        """
        vector: Array = self.model.embed_texts([require_readable(text, self.model.manifest.reading.scripts)])[0]
        return vector

    def cases(self, cases: Sequence[Case], folder: Path) -> Iterator[EmbeddedCase | tuple[Case, str]]:
        """Embed cases in order; several are worked on at once.

        A scan or text that cannot be read is left out and named in `EmbeddedCase.problems`; a case of which nothing
        can be read comes back as (case, why).
        """
        threads = self.model.towers.threads
        with ThreadPoolExecutor(threads) as workers:
            pending: deque[Future[EmbeddedCase | tuple[Case, str]]] = deque()
            for case in cases:
                pending.append(workers.submit(self._case, case, folder))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _case(self, case: Case, folder: Path) -> EmbeddedCase | tuple[Case, str]:
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

    def _embed(self, case: Case, loaded: "_Loaded") -> EmbeddedCase | tuple[Case, str]:
        if not loaded.numbers and not loaded.texts:
            return case, "; ".join(loaded.problems)
        width = self.model.manifest.width
        scans = self._scans(loaded.prepared)
        texts = self.model.embed_texts(list(loaded.texts.values())) if loaded.texts else np.empty((0, width), "f4")
        views = [View("scan", number, vector) for number, vector in zip(loaded.numbers, scans, strict=True)]
        views += [View(kind, 0, vector) for kind, vector in zip(loaded.texts, texts, strict=True)]
        views.append(View("fused", 0, fuse(scans, list(texts))))
        return EmbeddedCase(case, tuple(views), loaded.thumbnails, tuple(loaded.problems))

    def query(self, scans: Sequence[Path], texts: Sequence[str]) -> tuple[Query, list[ScanPictures]]:
        """Embed a new patient's scans and texts; the scans as read come back for showing.

        Raises:
            ScanError: a scan cannot be read.
            TextError: a text cannot be embedded, or there is neither a scan nor a text.
        """
        if not scans and not texts:
            raise TextError("nothing to ask with: give --scan FILE, --text TEXT or both")
        read = [read_scan(path) for path in scans]
        vector = fuse(self.scans(read), [self.text(text) for text in texts])
        return Query(vector, len(read), len(texts)), read
