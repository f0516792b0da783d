"""A diagnoser for one label set: what an index can answer, fitted when the index is built.

A query shows some parts of a patient: scans, history, report, measurements. For each composition of them there are several
opinions: the archive's frequencies; the vote of the similar cases; a linear probe on all the parts together; and, where
there are several parts, a probe on each alone. They are pooled by weights that are fitted on predictions for patients whom
the prediction has not seen (the vote leaves the patient's own cases out, the probes are fitted on the other folds), and what
is said of the pool is measured on folds that have not chosen its weights. One patient counts once, however many scans there
are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip.diagnosis.folds import FOLDS, stratified
from medclip.diagnosis.pooling import fit_pool, fit_pools, pooled
from medclip.diagnosis.probe import Probe, Rotated, fit_probe
from medclip.diagnosis.sets import Scores
from medclip.diagnosis.voting import Ballot, Vote, vote
from medclip.fusion.case_vector import unit
from medclip.fusion.composition import Composition, Part, by_modality, parts_of
from medclip.metrics.probabilities import Bin, Probabilities, error_of, reliability

__all__ = [
    "BALANCE",
    "STRENGTH",
    "Diagnoser",
    "Example",
    "Fit",
    "Measured",
    "Opinions",
    "fit_diagnoser",
    "probes_of",
    "shared_classes",
]

STRENGTH = 3.0
"""Of every probe (scikit-learn's C). Of 1, 3, 10 and 30, on folds of MedPix, all within the noise of each other."""

BALANCE = 1.0
"""Of every probe: every class counts the same, however rare. A half, on the same folds, had the same accuracy and lost 0.03
to 0.05 of balanced accuracy on kinds of disease."""

Blocks = Mapping[Part, NDArray[np.float32]]
"""Part → what the towers know of it, (width of the part,)."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """An archived case as a query of one composition would show it."""

    blocks: Blocks  # of the composition's parts
    patient: str
    label: str
    ballots: Sequence[Ballot]  # the most similar cases of other patients


@dataclass(frozen=True)
class Measured:
    """How good an answer is, on patients whom neither its vote nor its probes have seen; one patient counts once."""

    accuracy: float
    calibration_error: float
    patients: int
    bins: tuple[Bin, ...]  # of the reliability diagram


@dataclass(frozen=True)
class Fit:
    """What is fitted for one composition."""

    weights: tuple[float, ...]  # of what is pooled: the archive's frequencies, the vote, the probes of `probes_of`
    measured: Measured  # of the pool
    alone: tuple[float, ...]  # of the first two, where they answer without the probes
    measured_alone: Measured
    parts: Mapping[str, Measured]  # of each opinion by itself
    scores: Scores  # of the pool, by which its sets of labels keep their coverage
    scores_alone: Scores


@dataclass(frozen=True)
class Opinions:
    """What the vote and the probes say of one query, and what comes of it."""

    vote: Vote
    probes: Sequence[Probabilities]  # (1, classes) each; none where they have seen the patient
    pool: Probabilities  # (1, classes)


def probes_of(composition: Composition) -> tuple[Composition, ...]:
    """The probes that have an opinion on queries of a composition: on all of it, then on each of several parts."""
    parts = parts_of(composition)
    return (composition, *parts) if len(parts) > 1 else (composition,)


@dataclass(frozen=True)
class Diagnoser:
    """Everything needed to answer one label set."""

    label_set: str
    classes: tuple[str, ...]
    patients: dict[str, int]  # class → patients
    probes: dict[Composition, Probe]
    fits: dict[Composition, Fit]

    @property
    def prior(self) -> Probabilities:
        """(classes,) share of patients."""
        return _shares(self.patients, self.classes)

    def opinions(
        self, composition: Composition, blocks: Blocks, ballots: Sequence[Ballot], *, by_vote_alone: bool = False
    ) -> Opinions:
        """What is said of one query.

        Args:
            by_vote_alone: the probes have seen the patient, so they are not asked.

        Raises:
            LookupError: nothing is fitted for queries of this composition.
        """
        fit = self.fits[composition]
        voted = vote(ballots, self.classes, self.prior)
        known = [self.prior[None], voted.probabilities[None]]
        if by_vote_alone:
            return Opinions(voted, (), pooled(known, np.asarray(fit.alone)))
        probes = [self.probes[one].probabilities(_joined([blocks], one)) for one in probes_of(composition)]
        return Opinions(voted, probes, pooled([*known, *probes], np.asarray(fit.weights)))


def _shares(patients: Mapping[str, int], classes: Sequence[str]) -> Probabilities:
    counts = np.asarray([patients[label] for label in classes], np.float64)
    return np.asarray(counts / counts.sum())


def _joined(blocks: Sequence[Blocks], composition: Composition) -> NDArray[np.float32]:
    """(n, d) rows: a block a modality, side by side; of history and report, both read by one tower, the mean direction."""
    groups = by_modality(composition)
    return np.asarray([np.concatenate([_mean(own, parts) for parts in groups]) for own in blocks], np.float32)


def _mean(own: Blocks, parts: Sequence[Part]) -> NDArray[np.float32]:
    return own[parts[0]] if len(parts) == 1 else unit(np.mean([own[part] for part in parts], axis=0))


def shared_classes(labelled: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Class → patients, sorted by class, of the classes that at least two patients have.

    Args:
        labelled: (class, patient) pairs.
    """
    owners: dict[str, set[str]] = {}
    for label, patient in labelled:
        owners.setdefault(label, set()).add(patient)
    return {label: len(owners[label]) for label in sorted(owners) if len(owners[label]) > 1}


@dataclass(frozen=True)
class _Rows:
    """The labelled queries of one composition."""

    examples: Sequence[Example]
    labels: NDArray[np.int64]  # (n,)
    weights: Rows  # (n,); those of one patient sum to one
    folds: NDArray[np.int64]  # (n,)

    @property
    def answerable(self) -> bool:
        """Whether there are two classes to tell apart."""
        return len(np.unique(self.labels)) > 1

    def matrix(self, composition: Composition) -> NDArray[np.float32]:
        """(n, d): what of the queries a probe on that composition reads."""
        return _joined([example.blocks for example in self.examples], composition)

    def widths(self, composition: Composition) -> list[int]:
        """Of the blocks in `matrix`."""
        return [len(self.examples[0].blocks[parts[0]]) for parts in by_modality(composition)]


class _Fitting:
    """One label set while it is fitted."""

    def __init__(self, classes: Sequence[str], patients: Mapping[str, int]) -> None:
        self.classes, self.prior = classes, _shares(patients, classes)
        self.probes: dict[Composition, Probe] = {}
        self._apart: dict[Composition, list[Probe | None]] = {}  # fold → the probe that has not seen it

    def learn(self, composition: Composition, rows: _Rows) -> None:
        """Fit the probe on a composition, and those that each leave a fold out."""
        turned = Rotated(rows.matrix(composition), rows.widths(composition))

        def on(seen: NDArray[np.bool_]) -> Probe | None:
            if len(np.unique(rows.labels[seen])) < 2:
                return None
            own = (turned.rows[seen], rows.labels[seen], rows.weights[seen])
            return turned.back(fit_probe(*own, len(self.classes), STRENGTH, BALANCE))

        whole = on(np.ones(len(rows.labels), bool))
        assert whole is not None, "the rows are answerable"
        self.probes[composition] = whole
        self._apart[composition] = [on(rows.folds != fold) for fold in range(FOLDS)]

    def held_out(self, composition: Composition, rows: _Rows) -> Probabilities:
        """(n, classes) of a probe, each row by one that has not seen its patient."""
        vectors = rows.matrix(composition)
        out = np.tile(self.prior, (len(vectors), 1))
        for fold, probe in enumerate(self._apart[composition]):
            own = rows.folds == fold
            if probe is not None and own.any():
                out[own] = probe.probabilities(vectors[own])
        return out

    def fit(self, composition: Composition, rows: _Rows) -> Fit | None:
        """Pool the opinions on a composition; None where one of its probes is missing."""
        probes = probes_of(composition)
        if not all(one in self.probes for one in probes):
            return None
        by_vote = np.stack([vote(e.ballots, self.classes, self.prior).probabilities for e in rows.examples])
        prior = np.tile(self.prior, (len(by_vote), 1))
        opinions = [prior, by_vote, *(self.held_out(one, rows) for one in probes)]
        names = ("frequencies", "vote", *probes)
        pool, alone = _nested(opinions, rows), _nested(opinions[:2], rows)
        return Fit(
            weights=_weights(opinions, rows),
            measured=_measured(pool, rows),
            alone=_weights(opinions[:2], rows),
            measured_alone=_measured(alone, rows),
            parts={name: _measured(_nested([one], rows), rows) for name, one in zip(names, opinions, strict=True)},
            scores=_scores(pool, rows),
            scores_alone=_scores(alone, rows),
        )


def _weights(opinions: Sequence[Probabilities], rows: _Rows) -> tuple[float, ...]:
    return tuple(fit_pool(opinions, rows.labels, rows.weights).tolist())


def _nested(opinions: Sequence[Probabilities], rows: _Rows) -> Probabilities:
    """(n, classes) of the pool, each row by weights that its fold did not choose."""
    out = np.empty_like(opinions[0])
    folds = np.unique(rows.folds)
    chosen = fit_pools(opinions, rows.labels, rows.weights * (rows.folds != folds[:, None]))
    for fold, weights in zip(folds, chosen, strict=True):
        own = rows.folds == fold
        out[own] = pooled([one[own] for one in opinions], weights)
    return out


def _scores(probabilities: Probabilities, rows: _Rows) -> Scores:
    right = probabilities[np.arange(len(rows.labels)), rows.labels]
    return Scores(rows.labels, rows.weights.astype(np.float32), right.astype(np.float32), probabilities.shape[1])


def _measured(probabilities: Probabilities, rows: _Rows) -> Measured:
    right = probabilities.argmax(1) == rows.labels
    bins = tuple(reliability(probabilities, rows.labels, rows.weights))
    return Measured(
        accuracy=float(np.average(right, weights=rows.weights)),
        calibration_error=error_of(bins),
        patients=len({example.patient for example in rows.examples}),
        bins=bins,
    )


def fit_diagnoser(label_set: str, examples: dict[Composition, Sequence[Example]], *, seed: int = 0) -> Diagnoser | None:
    """Fit one label set, or return None where fewer than two classes have two patients.

    Classes of a single patient are left out: nothing can be learnt or measured of them.
    """
    patients = shared_classes((example.label, example.patient) for rows in examples.values() for example in rows)
    if len(patients) < 2:
        return None
    classes = tuple(patients)
    kept = {name: [row for row in rows if row.label in patients] for name, rows in examples.items()}
    fold = stratified(((row.patient, row.label) for rows in kept.values() for row in rows), seed)
    number = {label: i for i, label in enumerate(classes)}

    def rows_of(found: Sequence[Example]) -> _Rows:
        own = Counter(row.patient for row in found)
        return _Rows(
            found,
            np.asarray([number[row.label] for row in found], np.int64),
            np.asarray([1 / own[row.patient] for row in found]),
            np.asarray([fold[row.patient] for row in found], np.int64),
        )

    asked = {name: rows for name, found in kept.items() if (rows := rows_of(found)).answerable}
    fitting = _Fitting(classes, patients)
    for name, rows in asked.items():
        fitting.learn(name, rows)
    answered = {  # as a query is: not where nobody votes
        name: rows_of([row for row in rows.examples if any(ballot.label in patients for ballot in row.ballots)])
        for name, rows in asked.items()
    }
    fits = {
        name: fit for name, rows in answered.items() if rows.answerable and (fit := fitting.fit(name, rows)) is not None
    }
    return Diagnoser(label_set, classes, dict(patients), fitting.probes, fits) if fits else None
