"""What an index can answer, and how well: an account of it for ``index info --json``, the API and the page."""

from dataclasses import asdict
from typing import Any

from medclip.archive.layout import manifest_of
from medclip.assistant.assistant import Assistant

__all__ = ["account_of"]


def account_of(assistant: Assistant) -> dict[str, Any]:
    """JSON: cases, the model's fingerprint and whose weights it has, measurements and label sets, and what tells the unlike.

    Raises:
        ArchiveError: the index is damaged.
    """
    counts = assistant.index.stats()
    judging = (
        None
        if assistant.novelty is None
        else {
            kind: {"patients": one.patients, "can_tell": one.can_tell}
            for kind, one in assistant.novelty.references.items()
        }
    )
    return {
        "cases": counts["cases"],
        "views": counts["views"],
        "fingerprint": assistant.index.fingerprint,
        "weights": [one.model_dump() for one in manifest_of(assistant.index).weights],
        "outdated": assistant.outdated,
        "measurements": list(assistant.measurements),
        "label_sets": [asdict(capability) for capability in assistant.capabilities()],
        "diagnoses": asdict(assistant.coverage()),
        "novelty": judging,
    }
