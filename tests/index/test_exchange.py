"""An export is a file that anybody may have written: it is read within bounds, and refused as a whole or taken whole."""

import gzip
import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medclip.errors import ArchiveError
from medclip.index import CaseIndex
from medclip.index.exchange import read_export, write_export
from medclip.index.packing import packed

from .conftest import create, make_entries
from .twin import same_entry


def _line(text: str) -> str:
    """With a checksum that fits: anybody can make one."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]} {text}\n"


def _write(file: Path, *lines: str, cases: Any = 1) -> Path:
    head = json.dumps({"format": 1, "fingerprint": "f", "cases": cases}) + "\n"
    file.write_bytes(gzip.compress("".join([head, *lines]).encode()))
    return file


def test_an_export_gives_back_what_went_in(tmp_path: Path) -> None:
    entries = make_entries(0, 12)
    create(tmp_path, entries, "faiss")
    index = CaseIndex.open(tmp_path)
    assert write_export(tmp_path / "e.gz", index) == 12
    index.close()
    back = list(read_export(tmp_path / "e.gz").entries())
    assert all(same_entry(one, other) for one, other in zip(entries, back, strict=True))


def _changes() -> dict[str, Callable[[dict[str, Any]], Any]]:
    def put(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda case: {**case, name: value}

    return {
        "an id that is no text": put("id", 7),
        "labels that are no object": put("labels", [["a", "b"]]),
        "a label that is no text": put("labels", {"a": 1}),
        "facts of two kinds": put("facts", {"age": [1, "two"]}),
        "a document that is none": put("document", "[]"),
        "views that are none": put("views", {"scan": 0}),
        "a view of two parts": put("views", [["scan", 0]]),
        "a number that is none": put("views", [["scan", "0", {}, "AACAPw=="]]),
        "a vector that is cut off": put("views", [["scan", 0, {}, "AAA="]]),
        "a vector that is none": put("views", [["scan", 0, {}, "?"]]),
        "thumbnails that are none": put("thumbnails", []),
        "a thumbnail of no scan": put("thumbnails", {"first": "AA=="}),
        "a part too many": put("more", 1),
        "no object": lambda case: [case],
    }


@pytest.mark.parametrize("change", _changes())
def test_a_line_that_is_no_case_is_refused_whatever_its_checksum(tmp_path: Path, change: str) -> None:
    case = json.loads(packed(make_entries(0, 1)[0]).partition(" ")[2])
    file = _write(tmp_path / "e.gz", _line(json.dumps(_changes()[change](case))))
    with pytest.raises(ArchiveError, match="is damaged after case 0") as error:
        list(read_export(file).entries())
    assert str(error.value).isprintable()


@pytest.mark.parametrize("cases", ["12", -1, 2**80, None, True, [1]])
def test_a_head_that_is_none_is_refused(tmp_path: Path, cases: Any) -> None:
    with pytest.raises(ArchiveError, match="is not an export"):
        read_export(_write(tmp_path / "e.gz", cases=cases))


def test_more_cases_than_stated_are_refused_at_the_first(tmp_path: Path) -> None:
    lines = [packed(entry) + "\n" for entry in make_entries(0, 3)]
    read = read_export(_write(tmp_path / "e.gz", *lines, cases=2)).entries()
    assert len([next(read), next(read)]) == 2
    with pytest.raises(ArchiveError, match="more cases than it states"):
        next(read)


@pytest.mark.parametrize("nested", [200_000, 40_000_000])
def test_brackets_within_brackets_are_refused(tmp_path: Path, nested: int) -> None:
    file = _write(tmp_path / "e.gz", _line("[" * nested))
    with pytest.raises(ArchiveError, match="is damaged after case 0"):
        list(read_export(file).entries())


def test_a_small_file_that_grows_without_end_is_refused_within_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    head = json.dumps({"format": 1, "fingerprint": "f", "cases": 10**6}) + "\n"
    with gzip.open(bomb, "wb") as out:
        out.write(head.encode())
        for _ in range(400):
            out.write(b" " * (1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArchiveError, match="longer than a case can be"):
        list(read_export(bomb).entries())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_many_lines_that_shrink_more_than_cases_do_are_refused(tmp_path: Path) -> None:
    case = json.loads(packed(make_entries(0, 1)[0]).partition(" ")[2])
    lines = [_line(json.dumps({**case, "id": f"c{i}", "text": "a" * (4 << 20)})) for i in range(20)]
    with pytest.raises(ArchiveError, match="grows more than an export can"):
        list(read_export(_write(tmp_path / "e.gz", *lines, cases=20)).entries())
