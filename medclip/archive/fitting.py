"""What an index can answer: its own cases posed as queries, and the diagnosers that are fitted on them.

Of a case only its posed vectors and its votes are kept, so that thousands can be fitted on.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medclip.archive.fitted import write_fitted
from medclip.archive.novelty import Usual, write_novelty
from medclip.bundle.orientation import Orientation
from medclip.diagnosis.diagnoser import Example, fit_diagnoser
from medclip.diagnosis.neighbours import VOTERS, ballots_of, kinds_for
from medclip.diagnosis.store import save_diagnosers
from medclip.embedding.embedder import Array, EmbeddedCase
from medclip.embedding.posing import every_question, pose
from medclip.fusion import Fuser
from medclip.fusion.composition import COMPOSITIONS, PARTS, Composition, Part
from medclip.index import CaseIndex

__all__ = ["FITTED", "fit_answers", "fitted_on"]

FITTED = 4_000
"""On how many cases the diagnosers are fitted at most: more change a linear probe little and take hours."""

_AT_ONCE = 64  # cases that are posed, or queries that are searched for, at a time
Labels = dict[str, str]


def fitted_on(count: int, seed: int) -> Collection[int]:
    """Which of so many cases the diagnosers are fitted on, by their positions: all, or a random part of `FITTED`."""
    if count <= FITTED:
        return range(count)
    return set(np.random.default_rng(seed).choice(count, FITTED, replace=False).tolist())


class _Voter(NamedTuple):
    """A similar case, on all label sets."""

    case_id: str
    similarity: float
    labels: Labels


@dataclass
class _Queries:
    """The archived cases as queries of one composition, row by row."""

    vectors: list[Array] = field(default_factory=list)  # (d,), of what is not trained
    blocks: list[dict[Part, Array]] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    voters: list[tuple[_Voter, ...]] = field(default_factory=list)


class _Examples(Sequence[Example]):
    """The rows that are labelled in one label set, each put together when it is looked at."""

    def __init__(self, queries: _Queries, label_set: str) -> None:
        self._queries, self._label_set = queries, label_set
        self._rows = [row for row, labels in enumerate(queries.labels) if label_set in labels]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Example:  # type: ignore[override]
        row, name, queries = self._rows[position], self._label_set, self._queries
        ballots = ballots_of(queries.voters[row], name)
        return Example(queries.blocks[row], queries.patients[row], queries.labels[row][name], ballots)


def _pose(cases: Iterable[EmbeddedCase], fuser: Fuser) -> dict[Composition, _Queries]:
    posed = {composition: _Queries() for composition in COMPOSITIONS}
    given = iter(cases)
    known: dict[tuple[tuple[str, str], ...], Labels] = {}
    while batch := list(islice(given, _AT_ONCE)):
        rows = pose([question for one in batch for question in every_question(one)], fuser)
        voting = fuser.untrained(np.stack([row.vector for row in rows]))
        for row, vector in zip(rows, voting, strict=True):
            queries = posed[row.composition]
            queries.vectors.append(vector)
            queries.blocks.append(fuser.blocks(row.parts))
            queries.patients.append(row.patient)
            queries.labels.append(known.setdefault(tuple(sorted(row.labels.items())), row.labels))
    return posed


def _find_voters(index: CaseIndex, queries: _Queries, composition: Composition) -> None:
    """Search for the cases of other patients that are similar to each row."""
    ids: dict[str, str] = {}
    known: dict[tuple[tuple[str, str], ...], Labels] = {}
    for start in range(0, len(queries.vectors), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        for hits in index.search(
            np.stack(queries.vectors[rows]),
            VOTERS,
            kinds=kinds_for(composition),
            exclude_patients=queries.patients[rows],
            one_per_patient=True,
        ):
            voters = (
                _Voter(
                    ids.setdefault(hit.case_id, hit.case_id),
                    hit.similarity,
                    known.setdefault(tuple(sorted(hit.labels.items())), hit.labels),
                )
                for hit in hits
            )
            queries.voters.append(tuple(voters))


def fit_answers(
    index: CaseIndex,
    embedded: Iterable[EmbeddedCase],
    fuser: Fuser,
    folder: Path,
    *,
    orientation: Orientation | None,
    seed: int = 0,
) -> list[str]:
    """Fit and store a diagnoser for every label set that can have one, and what tells the unlike; returns the label sets.

    Args:
        embedded: the cases at the positions `fitted_on`; they are gone over once, and not kept.
        orientation: the model's, where it has one.
    """
    usual = Usual(fuser, orientation)
    posed = _pose(usual.passing(embedded), fuser)
    if (novelty := usual.novelty()) is not None:
        write_novelty(novelty, folder)
    for composition, queries in posed.items():
        _find_voters(index, queries, composition)
    label_sets = sorted({name for queries in posed.values() for labels in queries.labels for name in labels})
    fitted = []
    for label_set in label_sets:
        examples: dict[Composition, Sequence[Example]] = {
            composition: _Examples(queries, label_set) for composition, queries in posed.items()
        }
        diagnoser = fit_diagnoser(label_set, examples, seed=seed)
        if diagnoser is not None:
            fitted.append(diagnoser)
    save_diagnosers(fitted, {part: fuser.width_of(part) for part in PARTS}, folder)
    write_fitted(index, folder)
    return [diagnoser.label_set for diagnoser in fitted]
