"""What a search must know of every vector, in arrays: whose it is, of which kind, and what filters ask for."""

import json
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip.index import stored
from medclip.index.filters import Filter, Join
from medclip.index.records import Key, Near
from medclip.index.stored import GarbledError, GarbledSegmentError, InSegment
from medclip.index.structures.base import damaged, read_array

__all__ = ["Coded", "Columns", "Strings", "in_segment"]

Codes = NDArray[np.int32]
_KEYS, _FACTS, _VALUES = "keys.npy", "facts.npy", "facts.json"
KIND, LABELS = "\x00kind", "\x00labels"  # no field can be called so
_ARRAYS = ("rows", "cases", "patients", "numbers")
_FIRST = "first.npy"

in_segment = InSegment("its columns do not fit each other", IndexError, TypeError, UnicodeDecodeError)
"""What arrays and texts are refused for that are mapped from a damaged file."""


@dataclass(frozen=True)
class Coded:
    """A field of every vector as numbers of the distinct values."""

    codes: Codes  # (n,)
    values: list[tuple[Any, ...]]  # code → values; () where unknown


@dataclass(frozen=True)
class Strings:
    """n texts, one after the other."""

    ends: NDArray[np.int64]  # (n + 1,) where each begins and the last ends
    text: NDArray[np.uint8]  # UTF-8

    @classmethod
    def of(cls, ends: "array[int]", text: bytearray) -> "Strings":
        """From where each ends."""
        return cls(np.concatenate([[0], np.asarray(ends, np.int64)]).astype(np.int64), np.frombuffer(text, np.uint8))

    def of_all(self, positions: NDArray[np.int64]) -> list[str]:
        """The texts at these positions."""
        text = self.text.data
        starts, ends = self.ends[positions].tolist(), self.ends[positions + 1].tolist()
        with in_segment:
            return [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]

    def followed_by(self, other: "Strings") -> "Strings":
        """These texts and then the others."""
        ends = np.concatenate([self.ends, other.ends[1:] + self.ends[-1]])
        return Strings(ends, np.concatenate([self.text, other.text]))


class _Growing:
    """Columns that are being made."""

    def __init__(self) -> None:
        self.numbers, self.codes, self.first = array("q"), array("i"), bytearray()
        self.known: tuple[dict[str, int], ...] = ({}, {}, {})  # kinds, facts, labels
        self.texts = [(array("q"), bytearray()), (array("q"), bytearray())]

    def add(self, key: Key, first: bool) -> None:
        self.first.append(first)
        try:
            self.numbers.extend(key[:4])
            for known, value in zip(self.known, key[4:7], strict=True):
                self.codes.append(known.setdefault(value, len(known)))
            for (ends, text), new in zip(self.texts, key[7:], strict=True):
                text.extend(new.encode())
                ends.append(len(text))
        except (TypeError, AttributeError, OverflowError) as error:  # no time for asking each of a million
            raise GarbledError("a view has a number where a text should be, or a text for a number") from error


@dataclass(frozen=True)
class Columns:
    """Of n vectors, in the order of their rows."""

    rows: NDArray[np.int64]  # (n,) rising, as the catalogue numbers them
    cases: NDArray[np.int64]  # (n,)
    patients: NDArray[np.int64]  # (n,)
    numbers: NDArray[np.int64]  # (n,) which scan of the case
    first: NDArray[np.bool_]  # (n,) whether no vector of the case stands before it, in these columns or in those beside
    coded: dict[str, Coded]  # the kind, the labels, and each field of the facts
    case_ids: Strings
    patient_ids: Strings

    @classmethod
    def by_kind(cls, keys: Iterable[Key]) -> "dict[str, Columns]":
        """Kind → the columns of its views, from the views in the order of their rows, in which a case's lie together."""
        growing: dict[str, _Growing] = {}
        case = None
        for key in keys:
            kind = stored.text(key.kind, "a kind")
            growing.setdefault(kind, _Growing()).add(key, key.case != case)
            case = key.case
        return {kind: cls._of(columns) for kind, columns in sorted(growing.items())}

    @classmethod
    def _of(cls, growing: _Growing) -> "Columns":
        whose = np.asarray(growing.numbers, np.int64).reshape(-1, 4)
        codes = np.asarray(growing.codes, np.int32).reshape(-1, 3)
        kinds, facts, labels = growing.known
        coded = {
            KIND: Coded(np.ascontiguousarray(codes[:, 0]), [(stored.text(kind, "a kind"),) for kind in kinds]),
            LABELS: Coded(np.ascontiguousarray(codes[:, 2]), [(stored.text(text, "a label"),) for text in labels]),
        }
        read = [stored.facts(text) for text in facts]
        for name in sorted({name for one in read for name in one}):
            distinct: dict[tuple[Any, ...], int] = {}
            table = [distinct.setdefault(one.get(name, ()), len(distinct)) for one in read]
            coded[name] = Coded(np.asarray(table, np.int32)[codes[:, 1]], list(distinct))
        rows, cases, patients, numbers = np.ascontiguousarray(whose.T)
        first = np.frombuffer(bytes(growing.first), bool)
        return cls(rows, cases, patients, numbers, first, coded, *(Strings.of(*texts) for texts in growing.texts))

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
        rows, cases, patients, numbers = (
            np.concatenate([getattr(one, name) for one in (self, other)]) for name in _ARRAYS
        )
        first = np.concatenate([self.first, other.first])
        case_ids = self.case_ids.followed_by(other.case_ids)
        patient_ids = self.patient_ids.followed_by(other.patient_ids)
        return Columns(rows, cases, patients, numbers, first, coded, case_ids, patient_ids)

    def near(self, positions: NDArray[np.int64], similarities: NDArray[np.float32]) -> list[Near]:
        """Vectors as they are found; numbers are taken out of the arrays all at once, which is much quicker."""
        kinds, labels = self.coded[KIND], self.coded[LABELS]
        with in_segment:
            return [
                Near(case_id, patient, kinds.values[kind][0], number, labels.values[label][0], similarity)
                for case_id, patient, kind, number, label, similarity in zip(
                    self.case_ids.of_all(positions),
                    self.patient_ids.of_all(positions),
                    kinds.codes[positions].tolist(),
                    self.numbers[positions].tolist(),
                    labels.codes[positions].tolist(),
                    similarities.tolist(),
                    strict=True,
                )
            ]

    def among_kinds(self, kinds: Iterable[str]) -> NDArray[np.bool_]:
        """(n,) which vectors are of one of these kinds."""
        wanted = set(kinds)
        return self._chosen(self.coded[KIND], lambda values: values[0] in wanted)

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
        return self._chosen(coded, where.holds)

    @staticmethod
    def _chosen(coded: Coded, holds: Callable[[tuple[Any, ...]], bool]) -> NDArray[np.bool_]:
        with in_segment:
            return np.asarray([holds(values) for values in coded.values], bool)[coded.codes]

    def save(self, folder: Path) -> None:
        """Write into an existing folder."""
        np.save(folder / _KEYS, np.stack([getattr(self, name) for name in _ARRAYS]))
        np.save(folder / _FIRST, self.first)
        names = sorted(self.coded)
        np.save(folder / _FACTS, np.stack([self.coded[name].codes for name in names]))
        (folder / _VALUES).write_text(json.dumps({name: self.coded[name].values for name in names}))
        for what, strings in (("cases", self.case_ids), ("patients", self.patient_ids)):
            np.save(folder / f"{what}-ends.npy", strings.ends)
            np.save(folder / f"{what}-text.npy", strings.text)

    @classmethod
    def load(cls, folder: Path) -> "Columns":
        """Map what `save` wrote.

        Raises:
            ArchiveError: a file is missing or damaged.
        """
        try:
            keys, codes = read_array(folder / _KEYS), read_array(folder / _FACTS)
            values = json.loads((folder / _VALUES).read_bytes())
            coded = {
                name: Coded(row, [stored.fact(one) for one in values[name]])
                for name, row in zip(sorted(values), codes, strict=True)
            }
            ids = [
                Strings(*(read_array(folder / f"{what}-{part}.npy") for part in ("ends", "text")))
                for what in ("cases", "patients")
            ]
            if (folder / _FIRST).exists():
                first = read_array(folder / _FIRST)
            else:  # an earlier version kept all views of a case together
                first = np.concatenate([[True], keys[1, 1:] != keys[1, :-1]]) if len(keys[1]) else np.empty(0, bool)
            self = cls(keys[0], keys[1], keys[2], keys[3], first, coded, *ids)
            self._check()
            return self
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(folder) from error

    def _check(self) -> None:
        """Shapes and types, which cost nothing to look at, however many there are.

        Raises:
            GarbledSegmentError: one is another than `save` wrote.
        """
        n = len(self)
        arrays: list[tuple[NDArray[Any], type, tuple[int]]] = [
            (getattr(self, name), np.int64, (n,)) for name in _ARRAYS
        ]
        arrays.append((self.first, np.bool_, (n,)))
        arrays += [(coded.codes, np.int32, (n,)) for coded in self.coded.values()]
        for ids in (self.case_ids, self.patient_ids):
            arrays += [(ids.ends, np.int64, (n + 1,)), (ids.text, np.uint8, (int(ids.ends[-1]),))]
        if not {KIND, LABELS} <= self.coded.keys() or any(
            a.dtype != kind or a.shape != shape for a, kind, shape in arrays
        ):
            raise GarbledSegmentError("its columns do not fit each other")
