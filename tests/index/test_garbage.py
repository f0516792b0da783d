"""An index that is damaged, or made by somebody else: whatever stands where, one line names it, or the answer is right."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.errors import MedclipError
from medclip.files.sealed import sealed
from medclip.index import CaseIndex

from .conftest import create, make_entries
from .crashing import build

_DEEP = "[" * 100_000 + "]" * 100_000
GARBAGE: dict[str, Any] = {
    "nothing": None, "number": 7, "huge": 2**62, "negative": -1, "fraction": 0.5, "text": "text", "empty": "",
    "list": "[]", "object": "{}", "null": "null", "nested": '{"a": {"b": []}}', "not a number": '{"age": [NaN]}',
    "lone surrogate": '{"a": "\\ud800"}', "deep": _DEEP, "digits": "9" * 5000, "control": "\x1b[31m\n", "bytes": b"\xff\x00",
}  # fmt: skip
QUERY = np.eye(1, 8, dtype=np.float32)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An index without a search structure and one with, whose tables take anything."""
    found = {}
    for name in ("small", "large"):
        folder = tmp_path_factory.mktemp(name) / "index"
        if name == "small":
            folder.mkdir()
            create(folder, make_entries(0, 4), "faiss")
        else:
            build(folder, make_entries(0, 20))
            index = CaseIndex.open(folder)
            index.remove(["case-0003"])
            index.close()
        _loosen(folder / "catalogue.sqlite")
        found[name] = folder
    return found


def _loosen(file: Path) -> None:
    """Let every column hold anything, as a foreign file may."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(replace(sql, ' STRICT', ''), 'NOT NULL', '')")
    connection.commit()
    connection.close()


USES: tuple[Callable[[CaseIndex], Any], ...] = (
    lambda index: index.search(QUERY, 5),
    lambda index: index.search(QUERY, 5, kinds=("scan",), where=index.filter("modality = 'CT' or age > 3")),
    lambda index: index.search(QUERY, 5, words=["nodule effusion mass"], one_per_patient=True),
    lambda index: [index.views_of(case_id) for case_id in index.contents()],
    lambda index: [entry.thumbnails for entry in index.entries()],
    lambda index: [index.cases_of_patient(record.patient) for record in index.records()],
    lambda index: (index.stats(), index.advice(), len(index)),
)


def _said(folder: Path, *uses: Callable[[CaseIndex], Any]) -> Any:
    """What the last use of the index gives; a refusal must be one printable line that names a file of it."""
    index, found = None, None
    try:
        for use in uses:
            try:
                index = index or CaseIndex.open(folder)
                found = use(index)
            except MedclipError as error:
                found = error
                _check_line(folder, str(error))
    finally:
        if index is not None:
            index.close()
    return found


def _check_line(folder: Path, said: str) -> None:
    assert said.isprintable(), repr(said)
    assert str(folder) in said or "case '" in said, said


def _held(folder: Path) -> Any:
    """All that an index holds."""
    return _said(folder, lambda index: [repr(entry) for entry in index.entries()])


def _check(folder: Path, before: list[str], kind: str = "") -> None:
    faults = _said(folder, *USES, CaseIndex.verify)
    if isinstance(faults, list):
        assert all(fault.isprintable() for fault in faults), faults
    if faults == []:
        assert _held(folder) == before, "verified, and not what it was"
    if kind in ("nothing", "text", "bytes", "object"):
        _said(folder, CaseIndex.compact, lambda index: index.remove(list(index.contents())[:1]))


def _columns(file: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(file)
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'words_%' ORDER BY name"
    ).fetchall()
    found = [(table, row[1]) for (table,) in tables for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    return found


@pytest.mark.slow
def test_garbage_in_any_column_is_named_or_does_no_harm(fresh: dict[str, Path], tmp_path: Path) -> None:
    tried = 0
    for table, column in _columns(fresh["small"] / "catalogue.sqlite"):
        source = fresh["large" if table in ("dead", "segments") else "small"]
        before = _held(source)
        for kind, value in GARBAGE.items():
            folder = tmp_path / "index"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, folder)
            for where in (
                ("rowid = (SELECT MIN(rowid) FROM {0})",) if table != "meta" else ("name = 'cases'", "name = 'fields'")
            ):
                connection = sqlite3.connect(folder / "catalogue.sqlite")
                try:
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where.format(table)}", (value,))
                    connection.commit()
                    tried += 1
                except sqlite3.Error:
                    continue  # not even SQLite can hold it
                finally:
                    connection.close()
                try:
                    _check(folder, before, kind)
                except Exception as error:
                    raise AssertionError(f"{table}.{column}: {kind}") from error
    assert tried > 250


@pytest.mark.parametrize("name", ["generation", "base", "digest", "stale_words"])
def test_garbage_in_any_number_that_is_kept_is_named(fresh: dict[str, Path], tmp_path: Path, name: str) -> None:
    before = _held(fresh["small"])
    for value in GARBAGE.values():
        folder = tmp_path / "index"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fresh["small"], folder)
        connection = sqlite3.connect(folder / "catalogue.sqlite")
        connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
        connection.commit()
        connection.close()
        _check(folder, before)


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))


def test_garbage_in_the_manifest_is_named(fresh: dict[str, Path], tmp_path: Path) -> None:
    """Even where its checksum fits."""
    folder = tmp_path / "index"
    shutil.copytree(fresh["large"], folder)
    before = _held(folder)
    file = folder / "index.json"
    manifest = {key: value for key, value in json.loads(file.read_text()).items() if key != "sha256"}
    for path in _paths(manifest):
        for value in [*(v for v in GARBAGE.values() if not isinstance(v, bytes)), [], {}, True]:
            changed = json.loads(json.dumps(manifest))
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            file.write_text(json.dumps(sealed(changed)))
            for use in (lambda index: index.search(QUERY, 5), CaseIndex.verify, CaseIndex.advice):
                found = _said(folder, use)
                assert isinstance(found, list | MedclipError), (path, value)
    for text in ("", "[]", "7", "null", _DEEP, '{"format": NaN}', "\xff"):
        file.write_text(text)
        assert isinstance(_said(folder, CaseIndex.verify), MedclipError)
    file.write_text(json.dumps(sealed(manifest)))
    assert _held(folder) == before


def test_one_changed_bit_of_the_manifest_is_noticed(fresh: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(fresh["small"], folder)
    content = (folder / "index.json").read_bytes()
    manifest = json.loads(content)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / "index.json").write_bytes(changed)
        found = _said(folder, CaseIndex.verify)
        try:
            same = json.loads(changed) == manifest
        except ValueError:
            same = False
        assert same or isinstance(found, MedclipError), position


@pytest.mark.slow
def test_garbage_in_a_segment_is_named_and_mended(fresh: dict[str, Path], tmp_path: Path) -> None:
    before = _held(fresh["large"])
    for file in sorted((fresh["large"] / "segments").rglob("*.*")):
        for content in (None, b"", b"[]", b'{"1.0": "x"}', b"null", b"\xff" * 200, _DEEP.encode()):
            folder = tmp_path / "index"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(fresh["large"], folder)
            damaged = folder / file.relative_to(fresh["large"])
            damaged.unlink() if content is None else damaged.write_bytes(content)
            assert _said(folder, *USES, CaseIndex.verify) != []
        index = CaseIndex.open_for_repair(folder)
        assert index.repair()
        index.close()
        assert _said(folder, CaseIndex.verify) == []
        assert _held(folder) == before


def test_a_segment_that_the_catalogue_names_elsewhere_is_not_looked_for_there(
    fresh: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(fresh["large"], folder)
    segment = min((folder / "segments").iterdir())
    segment.rename(tmp_path / segment.name)
    connection = sqlite3.connect(folder / "catalogue.sqlite")
    connection.execute("UPDATE segments SET name = ? WHERE name = ?", (f"../../{segment.name}", segment.name))
    connection.commit()
    connection.close()
    assert "segment" in str(_said(folder, lambda index: index.search(QUERY, 1)))
    index = CaseIndex.open_for_repair(folder)
    assert index.repair()
    index.close()
    assert (tmp_path / segment.name).is_dir()
    assert _said(folder, CaseIndex.verify) == []
