"""What an index can answer: its own cases posed as queries, and the diagnosers that are fitted on them.

Of a case only its posed vectors and its votes are kept, so that thousands can be fitted on.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from medclip.diagnosis.diagnoser import COMPOSITIONS, Composition, Example, fit_diagnoser
from medclip.diagnosis.store import save_diagnosers
from medclip.diagnosis.voting import Ballot
from medclip.embedding.embedder import Array, EmbeddedCase, ViewKind
from medclip.fusion import Fuser, Parts
from medclip.index import CaseIndex, Hit

__all__ = ["FITTED", "VOTERS", "ballots_of", "fit_answers", "fitted_on", "kinds_for"]

VOTERS = 10
"""How many similar cases are shown and vote, unless the user says otherwise; the diagnosers are fitted at this number."""

FITTED = 10_000
"""On how many cases the diagnosers are fitted at most: more change a linear probe little and take hours."""

_AT_ONCE = 64  # cases that are posed, or queries that are searched for, at a time
Labels = dict[str, str]


def kinds_for(composition: Composition) -> tuple[ViewKind, ...]:
    """Which views of the archive a query is compared with.

    A query of several modalities is compared with whole cases: with single views it would be drawn to any case of a
    like history, whatever its scans show.
    """
    alone: dict[Composition, tuple[ViewKind, ...]] = {
        "scan": ("scan", "fused"),
        "text": ("report", "history", "fused"),
        "measurements": ("measurements", "fused"),
    }
    return alone.get(composition, ("fused",))


def ballots_of(hits: Sequence[Hit], label_set: str) -> list[Ballot]:
    """Similar cases as voters on one label set; each speaks for the view by which it was found."""
    return [Ballot(hit.case_id, hit.similarity, hit.labels.get(label_set)) for hit in hits]


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

    vectors: list[Array] = field(default_factory=list)  # (d,)
    patients: list[str] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # those of one case sum to one
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
        ballots = [Ballot(one.case_id, one.similarity, one.labels.get(name)) for one in queries.voters[row]]
        return Example(
            queries.vectors[row], queries.patients[row], queries.labels[row][name], queries.weights[row], ballots
        )


def _asked(case: EmbeddedCase) -> Iterator[tuple[Parts, Labels]]:
    """A case as the queries that a new patient like it could make.

    Scans, one or all, or none; with report, history, both or neither; with measurements or without: as far as the case
    has them.
    """
    labels = case.case.case_labels
    for scans, report, history, values in product((True, False), repeat=4):
        if scans > bool(len(case.scans)) or report > bool(len(case.report)) or history > bool(len(case.history)):
            continue
        if values > bool(np.any(case.measurements)) or not (scans or report or history or values):
            continue
        parts = case.parts(scans=scans, report=report, history=history, measured=values)
        if parts.composition == "scan" and len(case.scans) == 1:
            continue  # the scan alone, below
        yield parts, labels
    for position, number in enumerate(case.numbers):
        yield case.scan(position), case.case.scan_labels(case.case.scans[number])


def _pose(cases: Iterable[EmbeddedCase], fuser: Fuser) -> dict[Composition, _Queries]:
    posed = {composition: _Queries() for composition in COMPOSITIONS}
    given = iter(cases)
    known: dict[tuple[tuple[str, str], ...], Labels] = {}
    while batch := list(islice(given, _AT_ONCE)):
        asked = [(number, one, *posing) for number, one in enumerate(batch) for posing in _asked(one)]
        count = Counter((number, parts.composition) for number, _, parts, _ in asked)
        for (number, one, parts, labels), vector in zip(asked, fuser.fuse([a[2] for a in asked]), strict=True):
            queries = posed[cast(Composition, parts.composition)]
            queries.vectors.append(vector)
            queries.patients.append(one.case.patient)
            queries.labels.append(known.setdefault(tuple(sorted(labels.items())), labels))
            queries.weights.append(1 / count[number, parts.composition])
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
    index: CaseIndex, embedded: Iterable[EmbeddedCase], fuser: Fuser, folder: Path, *, seed: int = 0
) -> list[str]:
    """Fit and store a diagnoser for every label set that can have one; returns their names.

    Args:
        embedded: the cases at the positions `fitted_on`; they are gone over once, and not kept.
    """
    posed = _pose(embedded, fuser)
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
    save_diagnosers(fitted, folder)
    return [diagnoser.label_set for diagnoser in fitted]
