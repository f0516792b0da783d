"""By what the epoch that is kept is chosen: retrieval between the dev scans and a text of their cases.

Captions tell most, since each speaks of its very scan; two of our own sources (``dicom``, ``covid-chestxray``) have none.
There the report stands in, or the findings where the tower cannot read the report. Where no dev case has any of them, or
there are so few that recall@10 is 1 whatever is learnt, nothing can choose, and the last epoch is kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medclip.metrics.retrieval import TextRetrieval, can_miss, measure_texts
from medclip.training.features import CaseFeatures, CaseRows
from medclip.training.projection import Projection

__all__ = ["LAST_EPOCH", "NO_DEV", "Choice", "choose_by", "measured_kind", "retrieval_of"]

LAST_EPOCH = "none: trained to the last epoch"
"""What stands where nothing chose."""

_BY = {"caption": "captions", "report": "reports", "findings": "findings"}
"""Kind of text (`CaseRows`) → what it is called as a choice; the first that the dev cases have is used."""

_DEPTH = 10
"""Of the recall that chooses (`TextRetrieval.mean_recall10`)."""


@dataclass(frozen=True)
class Choice:
    """What chooses the epoch."""

    by: str  # "captions", "reports", "findings", or `LAST_EPOCH`
    reason: str = ""  # why nothing could choose, in words that follow "since"; empty where something did

    @property
    def possible(self) -> bool:
        """Whether anything chooses."""
        return self.by != LAST_EPOCH


NO_DEV = Choice(LAST_EPOCH, "there are no dev cases")


def _texts(rows: CaseRows, kind: str) -> NDArray[np.int64]:
    """Rows of the texts of one kind: of captions one a scan that has one, else one a case."""
    return rows.caption_row[rows.caption_row >= 0] if kind == "caption" else np.flatnonzero(rows.text_kind == kind)


def measured_kind(rows: CaseRows) -> str | None:
    """The kind of text that retrieval is measured with: caption, report or findings; None where no scan has any."""
    return next((kind for kind in _BY if np.isin(rows.text_case[_texts(rows, kind)], rows.scan_case).any()), None)


def choose_by(dev: CaseRows) -> Choice:
    """What can choose the epoch on these dev cases."""
    kind = measured_kind(dev)
    if kind is None:
        return Choice(LAST_EPOCH, "no dev scan has a readable caption, report or findings")
    texts = dev.text_case[_texts(dev, kind)]
    if not (can_miss(texts, dev.scan_case, _DEPTH) or can_miss(dev.scan_case, texts, _DEPTH)):
        return Choice(LAST_EPOCH, f"the dev cases are too few for recall@{_DEPTH} to tell epochs apart")
    return Choice(_BY[kind])


def retrieval_of(projection: Projection, features: CaseFeatures) -> TextRetrieval | None:
    """Retrieval between the scans of `features` and their `measured_kind` of text, by the aligned block.

    All scans of a case are right for its report or findings. None where there is no such text.
    """
    rows = features.rows
    if (kind := measured_kind(rows)) is None:
        return None
    shown = _texts(rows, kind)
    device = next(projection.parameters()).device
    projection.eval()
    with torch.inference_mode():
        scans = projection.aligned_scan(torch.from_numpy(features.scans[0]).to(device)).cpu().numpy()
        texts = projection.aligned_text(torch.from_numpy(features.texts[shown]).to(device)).cpu().numpy()
    return measure_texts(scans, rows.scan_case, texts, rows.text_case[shown])
