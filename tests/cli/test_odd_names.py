"""Names, classes and texts of the user's that mean something to terminals, locales or file systems."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Medclip = Callable[..., Any]
ODD = "[/y] \x1b[31mred :smile:"  # rich's markup, a terminal's colour, an emoji code
LATIN = os.fsdecode(b"na\xefve")  # a name in Latin-1


@pytest.fixture(scope="module")
def odd(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty cases with such ids, classes and diagnoses, in a folder of such a name."""
    cases = tmp_path_factory.mktemp("odd") / "[" / "z]"
    rows = [json.loads(line) for line in (sample / "cases.jsonl").read_text().splitlines()[:40]]
    for row in rows:
        row["id"] = f"[b]{row['id']}"
        row["labels"]["finding"] = {"none": "[/y]"}.get(row["labels"]["finding"], row["labels"]["finding"])
        row["labels"]["[b]set"] = "[red]a" if row["labels"]["finding"] == "[/y]" else "b"
        row["outcome"] = {"diagnosis": ODD, "confirmed_by": ODD, "treatment": ODD}
    cases.mkdir(parents=True)  # the folder z] in the folder [
    shutil.copytree(sample / "scans", cases / "scans")
    (cases / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return cases


@pytest.fixture(scope="module")
def odd_index(odd: Path, tiny_model: Path, medclip: Medclip) -> Path:
    built = medclip("index", "build", odd, "--model", tiny_model, "--out", odd.with_name("index]"))
    assert built.code == 0, built.err
    assert "[/index]: 40 cases" in built.out
    return odd.with_name("index]")


def test_nothing_of_the_user_s_is_markup_or_steers_the_terminal(odd: Path, odd_index: Path, medclip: Medclip) -> None:
    checked = medclip("cases", "check", odd)
    assert checked.code == 0, checked.err
    assert "label set [b]set: b" in checked.out
    for command in (["verify"], ["info"], ["stats"]):
        ran = medclip("index", *command, odd_index)
        assert ran.code == 0, ran.err
    assert f"{odd_index}: verified" in medclip("index", "verify", odd_index).out
    case_id = json.loads((odd / "cases.jsonl").read_text().splitlines()[0])["id"]
    for ran in (
        medclip("query", odd_index, "--text", "a nodule", "-k", 3),
        medclip("similar", odd_index, case_id, "-k", 3),
        medclip("index", "remove", odd_index.parent / "nowhere" / ODD, "x"),
    ):
        assert "\x1b" not in ran.out + ran.err
        assert "Traceback" not in ran.err
    shown = medclip("query", odd_index, "--text", "a nodule", "-k", 3).out
    assert "\\x1b[31mred :smile:" in " ".join(shown.split())


@pytest.mark.parametrize("strange", ["\x01", "\x7f", "\u202e", "\u2028"])
def test_ids_that_cannot_be_seen_are_found_before_the_work(
    strange: str, sample: Path, tiny_model: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    line = json.loads((sample / "cases.jsonl").read_text().splitlines()[0])
    (tmp_path / "cases.jsonl").write_text(json.dumps({**line, "id": f"a{strange}b"}) + "\n")
    checked = medclip("cases", "check", tmp_path)
    assert checked.code == 1
    assert "control character" in " ".join(checked.out.split())
    out = tmp_path / "index"
    assert "control character" in refused(medclip("index", "build", tmp_path, "--model", tiny_model, "--out", out))


def test_a_name_in_latin_1_loses_nothing(
    odd_index: Path, pacs: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    tree = shutil.copytree(pacs, tmp_path / "tree")
    first, *others = sorted(path for path in tree.iterdir() if path.is_dir())
    for study in others:
        shutil.rmtree(study)
    image = next(first.rglob("*.dcm"))
    shutil.copy(image, image.with_name(f"{LATIN}.dcm"))
    (image.parent / f"{LATIN}.txt").write_text("no DICOM")
    done = medclip("cases", "import", "dicom", tree, "--out", tmp_path / "cases")
    assert done.code == 0, done.err
    assert len((tmp_path / "cases" / "cases.jsonl").read_text().splitlines()) == len(list(first.iterdir()))
    report = json.loads((tmp_path / "cases.key.import-report.json").read_text())
    assert any("\udcef" in skipped["case_id"] for skipped in report["skipped"])
    assert "not UTF-8" in refused(medclip("index", "backup", odd_index, "--out", tmp_path / LATIN))


def test_a_locale_without_utf_8(odd_index: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["query", odd_index, "--text", "a nodule", "--html", page, "--json"]
    env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for last in (arguments, [*arguments[:4], "-k", "3"]):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("medclip")), *map(str, last)],
            env=env, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
    assert "similar cases" in page.read_text(encoding="utf-8")


def test_outputs_that_cannot_be_are_one_line(sample: Path, tmp_path: Path, medclip: Medclip, refused: Medclip) -> None:
    assert "no such name" in refused(medclip("cases", "import", "sample", "--out", tmp_path / ("x" * 300)))
    assert "too long" in refused(medclip("index", "stats", tmp_path / ("x" * 300)))
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "symbolic link" in refused(medclip("cases", "import", "sample", "--out", tmp_path / "dangling"))
    (tmp_path / "mine").write_text("mine")
    assert "not replaced" in refused(medclip("cases", "import", "sample", "--out", tmp_path / "mine", "--force"))
    assert (tmp_path / "mine").read_text() == "mine"
    cases = shutil.copytree(sample, tmp_path / "cases")
    gone = next((cases / "scans").iterdir())
    gone.unlink()
    assert gone.name in refused(medclip("cases", "mask", cases, "--out", tmp_path / "masked"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases", "dangling", "mine"]


def test_what_cannot_be_read_or_written_is_one_line(
    odd_index: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no plain file" in refused(medclip("query", odd_index, "--text-file", tmp_path / "pipe"))
    assert "not UTF-8" in refused(medclip("similar", odd_index, LATIN))
    for to in ("> /dev/full", ">&-"):
        command = f"'{Path(sys.executable).with_name('medclip')}' index stats '{odd_index}' --json {to}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == (2 if "full" in to else 0)
        assert "Traceback" not in done.stderr


def test_a_page_or_an_export_replaces_only_its_own_kind(
    odd_index: Path, tmp_path: Path, medclip: Medclip, refused: Medclip
) -> None:
    page, export = tmp_path / "page.html", tmp_path / "export.gz"
    asked = ("query", odd_index, "--text", "a nodule", "--html", page)
    moved = ("index", "export", odd_index, "--out", export)
    for file, command in ((page, asked), (export, moved)):
        file.write_text("mine")
        assert "--force" in refused(medclip(*command))
        assert "not replaced" in refused(medclip(*command, "--force"))
        assert file.read_text() == "mine"
        file.unlink()
        assert medclip(*command).code == 0
        assert "--force" in refused(medclip(*command))
        assert medclip(*command, "--force").code == 0
