"""What a search must know of every vector, in arrays: whose it is, of which kind, and what filters ask for."""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.errors import ArchiveError
from medclip.index.filters import Filter, Join

__all__ = ["Coded", "Columns"]

Codes = NDArray[np.int32]
_KEYS, _FACTS, _VALUES = "keys.npy", "facts.npy", "facts.json"
KIND = "\x00kind"  # no field can be called so


@dataclass(frozen=True)
class Coded:
    """A field of every vector as numbers of the distinct values."""

    codes: Codes  # (n,)
    values: list[tuple[Any, ...]]  # code → values; () where unknown


@dataclass
class _Interned:
    """Distinct JSON objects and what they become."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


@dataclass(frozen=True)
class Columns:
    """Of n vectors, in the order of their rows."""

    rows: NDArray[np.int64]  # (n,) rising, as the catalogue numbers them
    cases: NDArray[np.int64]  # (n,)
    patients: NDArray[np.int64]  # (n,)
    coded: dict[str, Coded]  # the kind, and each field of the facts

    @classmethod
    def of(cls, keys: Iterable[tuple[int, int, int, str, str]]) -> "Columns":
        """From (row, case, patient, kind, facts as JSON) in the order of rows."""
        numbers, codes = array("q"), array("i")
        facts, kinds = _Interned(), _Interned()
        for row, case, patient, kind, text in keys:
            numbers.extend((row, case, patient))
            codes.extend((kinds.number(kind), facts.number(text)))
        whose = np.asarray(numbers, np.int64).reshape(-1, 3)
        coded = np.asarray(codes, np.int32).reshape(-1, 2)
        known = [json.loads(text) for text in facts.numbers]
        columns = {KIND: Coded(np.ascontiguousarray(coded[:, 0]), [(kind,) for kind in kinds.numbers])}
        for name in sorted({name for one in known for name in one}):
            distinct: dict[tuple[Any, ...], int] = {}
            table = [distinct.setdefault(tuple(one.get(name, ())), len(distinct)) for one in known]
            columns[name] = Coded(np.asarray(table, np.int32)[coded[:, 1]], list(distinct))
        rows, cases, patients = np.ascontiguousarray(whose.T)
        return cls(rows, cases, patients, columns)

    def __len__(self) -> int:
        return len(self.rows)

    def followed_by(self, other: "Columns") -> "Columns":
        """These vectors and then the others."""
        coded = {}
        for name in self.coded.keys() | other.coded.keys():
            mine, theirs = (one.coded.get(name, Coded(np.zeros(len(one), np.int32), [()])) for one in (self, other))
            known = {values: number for number, values in enumerate(mine.values)}
            table = np.asarray([known.setdefault(values, len(known)) for values in theirs.values], np.int32)
            coded[name] = Coded(np.concatenate([mine.codes, table[theirs.codes]]), list(known))
        arrays = ((self.rows, other.rows), (self.cases, other.cases), (self.patients, other.patients))
        rows, cases, patients = (np.concatenate(pair) for pair in arrays)
        return Columns(rows, cases, patients, coded)

    def among_kinds(self, kinds: Iterable[str]) -> NDArray[np.bool_]:
        """(n,) which vectors are of one of these kinds."""
        coded, wanted = self.coded[KIND], set(kinds)
        return np.asarray([values[0] in wanted for values in coded.values], bool)[coded.codes]

    def matching(self, where: Filter) -> NDArray[np.bool_]:
        """(n,) which vectors are of cases of which the filter is true: it is asked once for each distinct value."""
        if isinstance(where, Join):
            both = np.logical_and if where.op == "and" else np.logical_or
            found = self.matching(where.parts[0])
            for part in where.parts[1:]:
                found = both(found, self.matching(part))
            return found
        coded = self.coded.get(where.field)
        if coded is None:
            return np.full(len(self), where.holds(()))
        return np.asarray([where.holds(values) for values in coded.values], bool)[coded.codes]

    def save(self, folder: Path) -> None:
        """Write into an existing folder."""
        np.save(folder / _KEYS, np.stack([self.rows, self.cases, self.patients]))
        names = sorted(self.coded)
        np.save(folder / _FACTS, np.stack([self.coded[name].codes for name in names]))
        (folder / _VALUES).write_text(json.dumps({name: self.coded[name].values for name in names}))

    @classmethod
    def load(cls, folder: Path) -> "Columns":
        """Map what `save` wrote.

        Raises:
            ArchiveError: a file is missing or damaged.
        """
        try:
            keys = np.load(folder / _KEYS, mmap_mode="r", allow_pickle=False)
            codes = np.load(folder / _FACTS, mmap_mode="r", allow_pickle=False)
            values = json.loads((folder / _VALUES).read_bytes())
            coded = {
                name: Coded(row, [tuple(one) for one in values[name]])
                for name, row in zip(sorted(values), codes, strict=True)
            }
            return cls(keys[0], keys[1], keys[2], coded)
        except (OSError, ValueError, EOFError, IndexError, TypeError) as error:
            raise ArchiveError(f"{folder}: is damaged; mend it with  medclip index verify --repair") from error
