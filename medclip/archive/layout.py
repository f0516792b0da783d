"""What an index folder carries beside its cases, by name, and the model among it."""

from medclip.bundle.layout import ServingLayout, ServingManifest, read_model
from medclip.bundle.orientation import Orientation, read_orientation
from medclip.bundle.serving import ServingModel
from medclip.errors import ArchiveError
from medclip.fusion import Fuser
from medclip.index import CaseIndex

__all__ = [
    "ATTACHMENTS",
    "MAP",
    "MODEL",
    "PROBE",
    "REPORT",
    "VOCABULARY",
    "fuser_of",
    "manifest_of",
    "model_of",
    "orientation_of",
]

MODEL, PROBE, REPORT, VOCABULARY = "model", "probe", "build-report.json", "vocabulary.json"
MAP = "map.safetensors"

ATTACHMENTS = (MODEL, PROBE, VOCABULARY, REPORT, MAP)
"""What goes along with an index's cases."""


def manifest_of(index: CaseIndex) -> ServingManifest:
    """What the model inside an index is, without opening it.

    Raises:
        BundleError: its manifest is missing or damaged.
    """
    file = ServingLayout(index.attachment(MODEL)).manifest
    return read_model(file, ServingManifest, "build the index again, or restore it")


def fuser_of(index: CaseIndex) -> Fuser:
    """The fuser of the model inside an index, without its network: enough to take vectors apart.

    Raises:
        BundleError: the model's manifest is missing or damaged.
    """
    return manifest_of(index).make_fuser()


def orientation_of(index: CaseIndex) -> Orientation | None:
    """What tells how an archived scan lies, without opening the model's networks; None where the model has none.

    Raises:
        BundleError: it, or the model's manifest, is missing or damaged.
    """
    return read_orientation(index.attachment(MODEL), manifest_of(index))


def model_of(index: CaseIndex, *, threads: int | None = None, again: bool = True) -> ServingModel:
    """The model inside an index.

    Args:
        again: compare its checksums, whatever is remembered of them (`ServingModel`).

    Raises:
        BundleError: it is damaged.
        ArchiveError: it is not the one that made the index's vectors.
    """
    model = ServingModel(index.attachment(MODEL), threads=threads, again=again)
    if model.fingerprint != index.fingerprint:
        raise ArchiveError(
            f"{index.folder}: its vectors were made by another model than the one inside; build it again"
        )
    return model
