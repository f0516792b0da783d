"""The exported encoders, run by onnxruntime alone."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medclip.bundle.layout import FORMAT, ServingLayout, ServingManifest, check_file, read_model
from medclip.bundle.orientation import Orientation, read_orientation
from medclip.bundle.verified import computed_by, verifying
from medclip.errors import BundleError
from medclip.files.plain import open_regular
from medclip.files.tensors import read_tensors
from medclip.modalities.scan.pictures import GreyPicture, attend, picture_features
from medclip.modalities.scan.prepare import prepare_scan
from medclip.modalities.text.tokens import TextTokenizer, pool_windows

__all__ = [
    "LEAST_COSINE",
    "ServingModel",
    "ServingTowers",
    "require_alike",
    "session",
    "stored_texts",
    "together",
    "usable_threads",
]

Array = NDArray[np.float32]

LEAST_COSINE = 0.999
"""Between a reference output's embedding and the one computed now; below it the model is not the one that was trained."""

_REMEDY = "copy the folder again, or train or build it again"
_TOKENS_AT_ONCE = (
    512  # what becomes of more does not fit into a processor's cache; of fewer, the weights pass too often
)


def together(lengths: Sequence[int]) -> Iterator[slice]:
    """Windows of rising lengths that are read together: with their padding at most `_TOKENS_AT_ONCE` tokens, or one alone."""
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > _TOKENS_AT_ONCE:
            yield slice(start, end)
            start = end


def session(file: Path) -> Any:
    """An onnxruntime session that runs on the thread which calls it; whoever has many files calls it from several.

    Raises:
        BundleError: the file is missing or is not a graph that onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and said in one line
    if not file.is_file():
        raise BundleError(f"{file}: not found; {_REMEDY}")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise BundleError(f"{file}: is damaged; {_REMEDY} ({type(error).__name__})") from error


def usable_threads(threads: int | None) -> int:
    """The number asked for, else one a core that this process may use."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ServingTowers:
    """The two towers of a serving folder, each loaded at its first use: pictures and texts → features.

    Both may be called from several threads at once; `threads` says from how many it pays.
    """

    def __init__(self, folder: Path, manifest: ServingManifest, threads: int | None = None) -> None:
        self._layout = ServingLayout(folder)
        self.threads = usable_threads(threads)
        self._loaded: dict[Path, Future[Any]] = {}
        self._loading = Lock()
        self._manifest = manifest
        self.preprocessing = manifest.preprocessing
        self.scripts = manifest.reading.scripts

    def load_ahead(self, *, scans: bool, texts: bool) -> None:
        """Begin to load what scans or texts go through, beside what the caller does next; whoever needs it, waits for it.

        What goes wrong is raised where it is needed.
        """
        layout = self._layout
        graphs = (
            [layout.text_tower] * texts + [layout.scan_tower, layout.scan_head] * scans + [layout.text_head] * texts
        )
        workers = ThreadPoolExecutor(self.threads)
        for file in graphs:  # the slowest first
            workers.submit(self._session, file)
        if texts:
            workers.submit(self._tokenizer)
        workers.shutdown(wait=False)  # none comes after these

    def _session(self, file: Path) -> Any:
        return self._once(file, partial(session, file))

    def _tokenizer(self) -> TextTokenizer:
        file = self._layout.tokenizer
        return cast(TextTokenizer, self._once(file, lambda: TextTokenizer(file, self._manifest.reading)))

    def _once(self, file: Path, load: Callable[[], object]) -> object:
        """What was loaded from a file, by whoever asks for it first."""
        with self._loading:
            found = self._loaded.get(file)
            mine = found is None
            if found is None:
                found = self._loaded[file] = Future()
        if mine:
            try:
                found.set_result(load())
            except BaseException as error:  # noqa: BLE001 (an interrupt, too: others wait for it)
                with self._loading:
                    del self._loaded[file]  # the next one tries anew
                found.set_exception(error)
        return found.result()

    def run(self, file: Path, values: NDArray[Any]) -> Array:
        """Run one graph of the folder, of one input and one output.

        Raises:
            BundleError: the graph takes or gives something else than numbers of the manifest's shapes.
        """
        graph = self._session(file)
        try:
            found = np.asarray(graph.run(None, {graph.get_inputs()[0].name: values})[0], np.float32)
        except Exception as error:  # onnxruntime's are of many kinds
            raise BundleError(f"{file}: is not the graph of this model; {_REMEDY} ({type(error).__name__})") from error
        if not np.isfinite(found).all():
            raise BundleError(f"{file}: gives NaN or infinity; {_REMEDY}")
        return found

    def scan_features(self, pictures: NDArray[np.uint8]) -> Array:
        """(n, size, size) uint8 → (n, scan_features); (n, 1 + crops, scan_features) where the tower gives crops, too."""
        # One at a time, since what becomes of one picture fits into a processor's cache: 7 % sooner than eight together.
        return np.concatenate([self.run(self._layout.scan_tower, pictures[i : i + 1]) for i in range(len(pictures))])

    def text_features(self, texts: Sequence[str]) -> Array:
        """n cleaned texts → (n, text_features); a long text is the token-weighted mean of its windows.

        Raises:
            TextError: a text is empty.
        """
        windows = self._tokenizer().windows(texts)
        order = np.argsort(windows.length, kind="stable")  # like lengths together: less padding
        parts: list[Array] = []
        for place in together(windows.length[order].tolist()):
            own = order[place]
            parts.append(self.run(self._layout.text_tower, windows.ids[own, : windows.length[own].max()]))
        features = np.concatenate(parts)
        features[order] = features.copy()
        return pool_windows(features, windows, len(texts))


class ServingModel:
    """A serving folder, verified: prepared scans and cleaned texts → unit vectors.

    Opening it compares the checksum of every file with the manifest's. `verify_references` also recomputes the stored
    probes. What was found well is remembered (`medclip.bundle.verified`).
    """

    def __init__(self, folder: Path, *, threads: int | None = None, again: bool = True) -> None:
        """Open a serving folder.

        Args:
            again: compare checksums even if the same files, unchanged since, are remembered to have been found well.

        Raises:
            BundleError: a file is missing or changed, or the folder is of another format.
        """
        layout = ServingLayout(folder)
        manifest = read_model(layout.manifest, ServingManifest, _REMEDY)
        if manifest.format != FORMAT:
            raise BundleError(
                f"{layout.manifest}: has format {manifest.format}, this medclip reads {FORMAT}; {_REMEDY}"
            )
        self.folder, self.manifest = folder, manifest
        listed = layout.listed(manifest.fuser, manifest.orientations)
        with verifying("checksums", folder, manifest, again=again) as known:
            for file in () if known else listed:
                check_file(file, manifest.sha256.get(file.name), _REMEDY)
        self.towers = ServingTowers(folder, manifest, threads)
        network = manifest.fuser != "sum"
        self.fuser = manifest.make_fuser((lambda tokens: self.towers.run(layout.fuser, tokens)) if network else None)

    @property
    def fingerprint(self) -> str:
        """Identifies the model; vectors of two fingerprints must not be compared."""
        return self.manifest.fingerprint

    @cached_property
    def orientation(self) -> Orientation | None:
        """Tells how a scan lies; None in a model that cannot.

        Raises:
            BundleError: it is damaged.
        """
        return read_orientation(self.folder, self.manifest)

    def copy_to(self, folder: Path) -> None:
        """Copy the files of the model, and no other, into a new folder."""
        layout = ServingLayout(self.folder)
        folder.mkdir()
        for file in (layout.manifest, *layout.listed(self.manifest.fuser, self.manifest.orientations)):
            with open_regular(file) as given, (folder / file.name).open("xb") as made:
                shutil.copyfileobj(given, made, 1 << 20)

    def embed_scans(self, scans: Sequence[Sequence[GreyPicture]]) -> Array:
        """n scans, each of one or more prepared (size, size) pictures → (n, base) unit vectors."""
        layout = ServingLayout(self.folder)
        features = picture_features(self.towers.scan_features, scans)
        rows = len(features) // sum(map(len, scans))  # of each picture: more than one where the tower gives crops, too
        counts = [len(pictures) * rows for pictures in scans]
        if max(counts) > 1:
            features = attend(features, counts, self.towers.run(layout.scan_attention, features)[:, 0])
        return self.towers.run(layout.scan_head, features)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """n cleaned texts → (n, base) unit vectors.

        Raises:
            TextError: a text is empty.
        """
        return self.towers.run(ServingLayout(self.folder).text_head, self.towers.text_features(texts))

    def verify_references(self) -> float:
        """Recompute the reference outputs, from picture and text on; the least cosine to what training saw.

        Raises:
            BundleError: preparation gives another picture, a cosine is below `LEAST_COSINE`, or `orientation` is damaged.
        """
        with verifying("references", self.folder, self.manifest, again=True, conditions=computed_by()):
            return self._recomputed()

    def require_references(self) -> None:
        """The same, unless it is remembered of these files, these versions of what computes, and such a processor.

        Raises:
            BundleError: as `verify_references`.
        """
        with verifying("references", self.folder, self.manifest, again=False, conditions=computed_by()) as known:
            if not known:
                self._recomputed()

    def _recomputed(self) -> float:
        self.towers.load_ahead(scans=True, texts=True)
        read_orientation(self.folder, self.manifest)
        file = ServingLayout(self.folder).references
        try:
            return self._verified(file, read_tensors(file, self.manifest.sha256.get(file.name)))
        except (OSError, ValueError, LookupError) as error:
            raise BundleError(f"{file}: is damaged; {_REMEDY} ({type(error).__name__})") from error

    def _verified(self, file: Path, stored: dict[str, NDArray[Any]]) -> float:
        for i in range(len(stored["prepared"])):
            prepared = prepare_scan(stored[f"picture_{i}"], self.manifest.preprocessing)
            if not np.array_equal(prepared, stored["prepared"][i]):
                raise BundleError(f"{file}: preparing a stored scan gives another picture here; {_REMEDY}")
        texts = stored_texts(stored)
        prepared = stored["prepared"]
        now = [self.embed_scans([*([picture] for picture in prepared), list(prepared)]), self.embed_texts(texts)]
        then = [stored["scan_embeddings"], stored["text_embeddings"]]
        if self.fuser.run is not None:
            now.append(self.fuser.run(stored["tokens"]))
            then.append(stored["joint"])
        return require_alike(now, then, f"{file}: embeddings differ from training's", _REMEDY)


def stored_texts(stored: Mapping[str, NDArray[Any]]) -> list[str]:
    """The texts among the reference inputs."""
    return [bytes(stored[f"text_{i}"]).decode() for i in range(len(stored["text_embeddings"]))]


def require_alike(now: Sequence[Array], then: Sequence[Array], fault: str, remedy: str) -> float:
    """Hold (n, d) unit vectors against those stored; the least cosine.

    Raises:
        BundleError: it is not above `LEAST_COSINE`; the message begins with `fault` and ends with `remedy`.
    """
    worst = min(float((a * b).sum(1).min()) for a, b in zip(now, then, strict=True))
    if not worst > LEAST_COSINE:
        raise BundleError(f"{fault} (cosine {worst:.4f}); {remedy}")
    return worst
