"""What an index folder carries beside its cases, by name, and the model among it."""

from medclip.bundle.serving import ServingModel
from medclip.errors import ArchiveError
from medclip.index import CaseIndex

__all__ = ["ATTACHMENTS", "FAMILIARITY", "MODEL", "PROBE", "REPORT", "VOCABULARY", "model_of"]

MODEL, PROBE, REPORT, VOCABULARY = "model", "probe", "build-report.json", "vocabulary.json"
FAMILIARITY = "familiarity.json"

ATTACHMENTS = (MODEL, PROBE, VOCABULARY, FAMILIARITY, REPORT)
"""What goes along with an index's cases."""


def model_of(index: CaseIndex, *, threads: int | None = None) -> ServingModel:
    """The model inside an index.

    Raises:
        BundleError: it is damaged.
        ArchiveError: it is not the one that made the index's vectors.
    """
    model = ServingModel(index.attachment(MODEL), threads=threads)
    if model.fingerprint != index.fingerprint:
        raise ArchiveError(
            f"{index.folder}: its vectors were made by another model than the one inside; build it again"
        )
    return model
