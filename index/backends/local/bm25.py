"""The texts that share most with a query by BM25, found without looking at all that share a word with it.

BM25 as FTS5's ``bm25()`` has it (Robertson & Zaragoza 2009, k1 = 1.2, b = 0.75), and MaxScore (Turtle & Flood 1995):
the terms that can add most come first, and once the others together cannot lift a text above the worst of the best that
are known, they are looked up for the texts alone that can still be among the best. The result is that of an exhaustive
search, since texts are given up by less than their highest possible scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stands", "Weighted", "best", "norms", "scores", "share", "weight_of"]

K1, B = 1.2, 0.75
LEAST = 1e-6
"""What a term weighs at least, however many texts it stands in."""

Texts = NDArray[np.uint32]
Floats = NDArray[np.floating[Any]]

_SPARSE = 1 / 16  # of the texts: if fewer are allowed, only they are looked at
_LOOKUP = 5  # postings that are added in the time in which one text is looked up in a term's
_WORTH = 100_000  # postings that are added in less time than it takes to see what can be left out
_MANY = 1 / 64  # of the texts: before a term of so many postings it is looked at
_GROWN = 16  # times as many postings as before are known until it pays to see what the best texts score
_SEEDS = 2  # times as many texts as are wanted are scored to know a score that the best must reach
_LESS = 0.9  # of what could be added before: then texts are given up anew
_CHUNK = 1 << 15  # texts that are worked on at a time: they stay in the processor's cache


def weight_of(texts: int, standing: int) -> float:
    """What a term weighs that stands in some of all texts (inverse document frequency)."""
    standing = min(standing, texts)
    return max(math.log((texts - standing + 0.5) / (standing + 0.5)), LEAST)


def norms(lengths: NDArray[Any], mean: float) -> NDArray[np.float64]:
    """What takes from a term's share in texts of these lengths, told their mean."""
    return K1 * ((1 - B) + B * lengths.astype(np.float64) / (mean or 1.0))


def share(times: NDArray[Any], norm: Floats) -> Floats:
    """What part of its weight a term adds to a text in which it stands so often; 0 to K1 + 1."""
    times = times.astype(norm.dtype)
    return (times * (K1 + 1)) / (times + norm)


@dataclass(frozen=True)
class Stands:
    """The texts in which a term stands, or a phrase of several."""

    texts: Texts | None  # (n,) rising; None where `times` is of all texts
    times: NDArray[Any]  # (n,) or (m,) how often
    count: int  # n
    most: float  # at most this is its share in any text
    given: bool = False  # `times` are shares already

    def add(self, scores: NDArray[np.float32], norm: NDArray[np.float32], weight: float, least: float = 0.0) -> None:
        """To the scores (m,) of all texts, at least of those that score so much already."""
        factor = np.float32(weight)
        for start in range(0, len(self.times), _CHUNK):
            some = slice(start, start + _CHUNK)
            if self.texts is None:
                scores[some] += self._shares(self.times[some], norm[some]) * factor
            else:
                at, times = self.texts[some].astype(np.intp), self.times[some]
                if least > 0:
                    kept = np.flatnonzero(scores.take(at) >= least)
                    at, times = at[kept], times[kept]
                np.add.at(scores, at, self._shares(times, norm.take(at)) * factor)

    def of(self, texts: Texts, norm: Floats) -> Floats:
        """Its shares in some texts whose norms are told; 0 where it does not stand."""
        return self._shares(self.times_in(texts), norm)

    def times_in(self, texts: Texts) -> NDArray[Any]:
        """How often it stands in each of some texts."""
        if self.texts is None:
            return self.times[texts]
        at = np.minimum(np.searchsorted(self.texts, texts), self.count - 1)
        return np.where(self.texts[at] == texts, self.times[at], self.times.dtype.type(0))

    def _shares(self, times: NDArray[Any], norm: Floats) -> Floats:
        return times.astype(norm.dtype) if self.given else share(times, norm)


@dataclass(frozen=True)
class Weighted:
    """A term of a query."""

    stands: Stands
    weight: float
    wider: float = 1.0  # the most that shares can have grown since `most` was written

    @property
    def bound(self) -> float:
        """At most this it adds to a score."""
        return self.weight * self.stands.most * self.wider


def scores(terms: Sequence[Weighted], texts: Texts, norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """What some texts (n,) score, with their norms (n,): added in the order and by the formula of FTS5."""
    found = np.zeros(len(texts))
    for term in terms:
        found += term.weight * term.stands.of(texts, norm)
    return found


def best(
    terms: Sequence[Weighted],
    norm: NDArray[np.float32],
    want: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Texts:
    """Texts, rising, among which all are that are the best by score, or score the same as the last of them, and some more.

    Args:
        norm: (m,) of all texts.
        want: how many are the best.
        allowed: (m,) which texts may be found; all where None.
    """
    by_bound = sorted(terms, key=lambda term: -term.bound)
    rest = [0.0]
    for term in reversed(by_bound):
        rest.insert(0, rest[0] + term.bound)
    # Sums of float32 in two orders differ by less.
    slack = 1 - 4 * (len(terms) + 4) * float(np.finfo(np.float32).eps)
    search = _Search(by_bound, norm, want, allowed, rest, slack)
    return search.narrowed(*search.gathered())


class _Search:
    """One search; terms are in the order of their bounds."""

    def __init__(
        self,
        terms: Sequence[Weighted],
        norm: NDArray[np.float32],
        want: int,
        allowed: NDArray[np.bool_] | None,
        rest: Sequence[float],
        slack: float,
    ) -> None:
        self.terms, self.norm, self.want, self.allowed, self.rest, self.slack = terms, norm, want, allowed, rest, slack
        self.scores = np.zeros(len(norm), np.float32)
        self.floor = 0.0  # the best reach it

    def gathered(self) -> tuple[Texts, int]:
        """Texts that can be among the best, and how many terms their scores are of."""
        if self.allowed is not None and np.count_nonzero(self.allowed) <= _SPARSE * len(self.norm):
            return np.flatnonzero(self.allowed).astype(np.uint32), 0
        touched, seen, left = 0, self.want, sum(term.stands.count for term in self.terms)
        for number, term in enumerate(self.terms):
            if left > _WORTH and touched > seen and term.stands.count > _MANY * len(self.norm):
                seen = _GROWN * touched
                self._raise_floor(number)
            least = self._least(number)
            if least > 0 and left > _WORTH and _LOOKUP * np.count_nonzero(self.scores >= least) <= term.stands.count:
                return self._above(number), number  # quicker looked up in the term than all of its are added
            term.stands.add(self.scores, self.norm, term.weight, least)
            touched, left = touched + term.stands.count, left - term.stands.count
        self._hide()
        self._learn(self.scores)
        return self._above(len(self.terms)), len(self.terms)

    def _least(self, number: int) -> float:
        """What a text must score to be among the best once all terms from this on are added; any where not above 0."""
        return self.floor * self.slack - self.rest[number]

    def _hide(self) -> None:
        """What may not be found scores nothing."""
        if self.allowed is not None:
            self.scores *= self.allowed

    def _above(self, number: int) -> Texts:
        """The texts that can reach the floor once all terms from this on are added."""
        self._hide()
        least = self._least(number)
        found = np.flatnonzero(self.scores >= least if least > 0 else self.scores > 0)
        return found.astype(np.uint32)

    def _raise_floor(self, number: int) -> None:
        """Score the most promising texts: as many as are wanted reach what the last of these does."""
        texts = self._above(number)
        if len(texts) < self.want:
            return
        seeds = min(_SEEDS * self.want, len(texts))
        own = self.scores[texts]
        texts = texts[own >= _nth(own, seeds)][:seeds]
        full, norm = self.scores[texts], self.norm[texts]
        for term in self.terms[number:]:
            full += term.stands.of(texts, norm) * np.float32(term.weight)
        self._learn(full)

    def _learn(self, some: NDArray[np.float32]) -> None:
        """So much at least as many texts as are wanted score."""
        if len(some) >= self.want:
            self.floor = max(self.floor, _nth(some, self.want))

    def narrowed(self, texts: Texts, number: int) -> Texts:
        """The rest of the terms, for the texts alone that can still be among the best."""
        norm, before = self.norm[texts], math.inf
        for place in range(number, len(self.terms)):
            if len(texts) <= _SEEDS * self.want:
                break
            term = self.terms[place]
            if term.stands.texts is not None and term.stands.count < _LOOKUP * len(texts):
                term.stands.add(self.scores, self.norm, term.weight, self._least(place))
            else:
                self.scores[texts] += term.stands.of(texts, norm) * np.float32(term.weight)
            if self.rest[place + 1] > _LESS * before:
                continue  # hardly any would be given up
            before = self.rest[place + 1]
            own = self.scores[texts]
            self._learn(own)
            kept = own + np.float32(before) >= self.floor * self.slack
            texts, norm = texts[kept], norm[kept]
        return texts


def _nth(values: NDArray[np.float32], place: int) -> float:
    """The `place`-th highest; negated, since numpy takes ten times as long where the many that stand before are equal."""
    return -float(np.partition(-values, place - 1)[place - 1])
