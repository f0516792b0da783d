"""Finding cases by words: through the postings of a segment, and those of what came later, which are kept in memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medclip.index.backends.local.bm25 import K1, Stands, Texts, Weighted, best, norms, scores, weight_of
from medclip.index.backends.local.postings import Postings, write_postings
from medclip.index.catalogue.read import CatalogueReader, asked_words
from medclip.index.catalogue.words import Tokenizer, cases_with_text, counted, id_ranks, numbers_of_patient, occurrences
from medclip.index.filters import Filter
from medclip.index.stored import InSegment

__all__ = ["Facts", "Words", "write_words"]

Numbers = NDArray[np.int64]
_MASKS = 16  # filters whose answers are remembered

_in_segment = InSegment("its words do not fit each other", IndexError, OverflowError)


def write_words(folder: Path, catalogue: CatalogueReader) -> None:
    """Write the postings of all texts of a catalogue into an existing folder, within its transaction.

    Raises:
        GarbledError: the index of words does not fit the cases.
    """
    cases = cases_with_text(catalogue.connection)
    write_postings(folder, cases, id_ranks(catalogue.connection, cases), occurrences(catalogue.connection))


class Facts(Protocol):
    """What the words must be told of cases; of some of them, or of all."""

    def gone(self) -> Numbers:
        """Numbers of cases that are no more."""

    def among(self, where: Filter) -> Numbers:
        """Numbers of cases of which a filter is true."""


class Words:
    """The words of one segment and of what came later; used by one thread at a time."""

    def __init__(self, postings: Postings) -> None:
        self._old = _Body(postings.cases, postings.lengths, postings.of, postings.ranks)
        self._mean = postings.mean_length
        self._later = _Later(int(postings.cases[-1]) if len(postings) else 0)
        self._bodies: list[_Body] = []
        self._tokenizer = Tokenizer()
        self._generation = -1

    def found(
        self,
        catalogue: CatalogueReader,
        generation: int,
        facts: Sequence[Facts],
        text: str,
        want: int,
        where: Filter | None,
        patient: str | None,
    ) -> dict[str, str]:
        """Case id → patient of the cases that share words with `text`, best first by BM25, as `found_words` has it.

        Args:
            catalogue: in the snapshot that is read.
            generation: of the snapshot.
            facts: which together know all cases.
            where: true of the cases that may be found.
            patient: whose cases may not be found.

        Raises:
            GarbledSegmentError: the segment's words cannot be.
        """
        words = asked_words(text)
        if not words:
            return {}
        with _in_segment:
            self._follow(catalogue, generation, facts)
            phrases = self._phrases(catalogue, words)
            none = np.empty(0, np.int64)
            excluded = none if patient is None else numbers_of_patient(catalogue.connection, patient)
            found: list[tuple[float, str, str]] = []
            for number, body in enumerate(self._bodies):
                terms = [one for one in phrases if one.stands[number] is not None]
                cases, score = body.best(terms, number, want, body.mask(where, facts), excluded)
                if len(found) >= want:  # of the other texts: those below its last need no name
                    kept = score >= -sorted(found)[want - 1][0]
                    cases, score = cases[kept], score[kept]
                named = catalogue.named_cases(cases.tolist())
                found += [(-s, *named[n]) for n, s in zip(cases.tolist(), score.tolist(), strict=True)]
        found.sort()
        return {case_id: whose for _, case_id, whose in found[:want]}

    def _follow(self, catalogue: CatalogueReader, generation: int, facts: Sequence[Facts]) -> None:
        """See what has changed since the generation that is known."""
        if generation == self._generation:
            return
        self._later.take(catalogue)
        gone = np.concatenate([one.gone() for one in facts])
        self._bodies = [body for body in (self._old, self._later.body()) if len(body.cases)]
        for body in self._bodies:
            body.bury(gone)
        self._living = sum(body.living for body in self._bodies)
        total = sum(body.total for body in self._bodies)
        for body in self._bodies:
            body.measure(total / self._living if self._living else 0.0)
        longer = max(1.0, total / self._living / self._mean) if self._living and self._mean else 1.0
        self._old.wider = longer
        self._generation = generation

    def _phrases(self, catalogue: CatalogueReader, words: Sequence[str]) -> "list[_Phrase]":
        """The words of a query that stand in living texts, weighed."""
        found = []
        for word, terms in zip(words, self._tokenizer.terms(words), strict=True):
            if len(terms) == 1:
                stands = [body.of(terms[0]) for body in self._bodies]
                count = sum(body.alive_in(one) for body, one in zip(self._bodies, stands, strict=True) if one)
                if count:
                    found.append(_Phrase(terms[0], stands, weight_of(self._living, count)))
            elif terms:
                # FTS5 takes it for a phrase; few texts hold such a one, and FTS5 scores them quickly.
                numbers, shares = catalogue.phrase_scores(word)
                found.append(_Phrase(word, [body.scored(numbers, shares) for body in self._bodies], 1.0))
        return found


@dataclass(frozen=True)
class _Phrase:
    """What a word of a query is for FTS5."""

    name: bytes | str  # words of one name are one term
    stands: list[Stands | None]  # in each body
    weight: float


class _Body:
    """Texts that are searched together."""

    def __init__(
        self,
        cases: Numbers,
        lengths: NDArray[Any],
        of: Callable[[bytes], Stands | None],
        ranks: NDArray[np.int32] | None = None,
    ) -> None:
        self.cases, self.lengths, self.of, self.ranks = cases, lengths, of, ranks
        self._whole = int(lengths.sum(dtype=np.int64))
        self.wider = 1.0  # the most that shares can have grown since their bounds were written

    def bury(self, numbers: Numbers) -> None:
        """Cases that are no more."""
        self.gone = _places(self.cases, numbers)
        self.living = len(self.cases) - len(self.gone)
        self.total = self._whole - int(self.lengths[self.gone].sum(dtype=np.int64))
        self._masks: OrderedDict[Filter, NDArray[np.bool_]] = OrderedDict()
        self._alive = None
        if len(self.gone):
            self._alive = np.ones(len(self.cases), bool)
            self._alive[self.gone] = False

    def measure(self, mean: float) -> None:
        """Told the mean length of all living texts."""
        self._mean = mean
        self._norm = norms(self.lengths, mean).astype(np.float32)

    def alive_in(self, stands: Stands) -> int:
        """In how many living texts a term stands."""
        return stands.count - (int(np.count_nonzero(stands.times_in(self.gone))) if len(self.gone) else 0)

    def scored(self, numbers: Numbers, shares: NDArray[np.float64]) -> Stands | None:
        """A phrase of which FTS5 says what it adds to which cases."""
        at = np.searchsorted(self.cases, numbers)
        inside = at < len(self.cases)
        inside[inside] = self.cases[at[inside]] == numbers[inside]
        own = shares[inside]
        return Stands(at[inside].astype(np.uint32), own, len(own), float(own.max()), given=True) if len(own) else None

    def mask(self, where: Filter | None, facts: Sequence[Facts]) -> NDArray[np.bool_] | None:
        """(m,) which texts may be found; None where all."""
        if where is None:
            return self._alive
        if where not in self._masks:
            allowed = np.isin(self.cases, np.concatenate([one.among(where) for one in facts]))
            self._masks[where] = allowed if self._alive is None else allowed & self._alive
            if len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        self._masks.move_to_end(where)
        return self._masks[where]

    def best(
        self,
        phrases: "Sequence[_Phrase]",
        number: int,
        want: int,
        allowed: NDArray[np.bool_] | None,
        excluded: Numbers,
    ) -> tuple[Numbers, NDArray[np.float64]]:
        """Numbers and scores of the best cases: as many as are wanted, and where ids decide, all that score the same.

        Args:
            number: of this body, by which phrases know where they stand in it.
        """
        ordered: list[Weighted] = []
        together: dict[bytes | str, Weighted] = {}
        for phrase in phrases:
            stands = phrase.stands[number]
            assert stands is not None
            ordered.append(Weighted(stands, phrase.weight))
            known = together.get(phrase.name)
            weight = phrase.weight + (known.weight if known else 0.0)
            together[phrase.name] = Weighted(stands, weight, 1.0 if stands.given else self.wider)
        out = _places(self.cases, excluded)
        want += len(out)
        texts = best(list(together.values()), self._norm, want, allowed)
        score = scores(ordered, texts, norms(self.lengths[texts], self._mean))
        kept = np.flatnonzero((score > 0) & ~np.isin(texts, out))
        texts, score = texts[kept], score[kept]
        if self.ranks is not None:
            order = np.lexsort((self.ranks[texts], -score))[:want]
        else:
            least = np.partition(score, -want)[-want] if len(score) > want else 0.0
            order = np.flatnonzero(score >= least)
        return self.cases[texts[order]], score[order]


class _Later:
    """Texts that came after the segment was made: told apart by FTS5 as they are seen."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._cases = np.empty(0, np.int64)
        self._lengths = np.empty(0, np.int64)
        self._terms: dict[bytes, list[tuple[Texts, NDArray[np.int64]]]] = {}

    def take(self, catalogue: CatalogueReader) -> None:
        """Take in what is new."""
        new: list[int] = []

        def seen() -> Iterator[tuple[int, Any]]:
            for number, text in catalogue.texts_after(self._last):
                new.append(number)
                yield number, text

        found = list(counted(seen()))
        if not new:
            return
        start, numbers = len(self._cases), np.asarray(new, np.int64)
        lengths = np.zeros(len(new), np.int64)
        for some in found:
            at = np.searchsorted(numbers, some.cases)
            lengths += np.bincount(at, some.times, len(new)).astype(np.int64)
            ends = np.cumsum(some.counts).tolist()
            texts = (at + start).astype(np.uint32)
            for term, first, end in zip(some.terms, [0, *ends], ends, strict=False):
                self._terms.setdefault(term, []).append((texts[first:end], some.times[first:end]))
        self._cases = np.concatenate([self._cases, numbers])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._last = new[-1]

    def body(self) -> _Body:
        """They, as they are known by now."""
        return _Body(self._cases, self._lengths, self._of)

    def _of(self, term: bytes) -> Stands | None:
        pieces = self._terms.get(term)
        if pieces is None:
            return None
        if len(pieces) > 1:
            joined = (np.concatenate([one[0] for one in pieces]), np.concatenate([one[1] for one in pieces]))
            pieces = self._terms[term] = [joined]
        texts, times = pieces[0]
        return Stands(texts, times, len(texts), K1 + 1)


def _places(cases: Numbers, numbers: Numbers) -> Texts:
    """Where cases of these numbers stand, rising, each once."""
    at = np.searchsorted(cases, numbers)
    inside = at < len(cases)
    inside[inside] = cases[at[inside]] == numbers[inside]
    return np.unique(at[inside]).astype(np.uint32)
