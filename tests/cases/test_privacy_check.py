"""What ``cases check --privacy`` finds in the files of a folder: headers, pictures, texts of any encoding."""

import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from medclip.cases.case import Case
from medclip.cases.privacy.files import kinds_in_file
from medclip.cases.privacy.folder import look_for_leaks
from tests.cases.studies import radiograph

TEXT = "Gesehen von Dr. Müller, Tel. 0316/385-1234."


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"ImageComments": "ask Huber"}, "comment"), ({"PatientComments": "lives alone"}, "comment"),
        ({"StudyDescription": "CT for Dr. Huber"}, "name"), ({"ProtocolName": "as of 4 March 2024"}, "date"),
        ({"PatientAge": "097Y"}, "age"),
    ],
)  # fmt: skip
def test_a_header_s_prose_comments_and_high_ages_are_found(tmp_path: Path, values: dict[str, Any], kind: str) -> None:
    plain = radiograph(
        StudyDescription="CT thorax", PatientAge="067Y", ProtocolName="Chest PA", SoftwareVersions="17.5.2024.1"
    )
    plain.save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    assert kind not in kinds_in_file(tmp_path / "plain.dcm")
    radiograph(**values).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert kind in kinds_in_file(tmp_path / "a.dcm")


def test_what_a_de_identified_header_says_in_prose_is_found_too(tmp_path: Path) -> None:
    scan = radiograph(PatientIdentityRemoved="YES", StudyDescription="CT for Dr. Huber", PatientAge="097Y")
    scan.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert {"name", "age"} <= set(kinds_in_file(tmp_path / "a.dcm"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_is_read_in_any_usual_encoding(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = TEXT.encode(encoding)
    (tmp_path / "notes").write_bytes(gzip.compress(content) if packed else content)
    assert sorted(kinds_in_file(tmp_path / "notes")) == ["contact", "name"]


def test_a_chinese_text_without_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes("报告医师：王小明".encode("gb18030"))
    assert kinds_in_file(tmp_path / "notes.txt") == ["name"]


def test_bytes_that_are_no_text_are_said_to_be_unreadable(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_bytes(bytes(range(256)))
    assert kinds_in_file(tmp_path / "notes.bin") == ["unreadable"]


def test_what_hides_in_or_behind_a_picture_is_found(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    picture.save(tmp_path / "plain.png")
    assert kinds_in_file(tmp_path / "plain.png") == []
    (tmp_path / "behind.png").write_bytes((tmp_path / "plain.png").read_bytes() + b"Dr. Huber")
    assert kinds_in_file(tmp_path / "behind.png") == ["name"]
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("Comment", "Huber^Anna")
    picture.save(tmp_path / "text.png", pnginfo=text)
    exif[270] = "Huber^Anna"
    picture.save(tmp_path / "exif.jpg", exif=exif)
    assert kinds_in_file(tmp_path / "text.png") == kinds_in_file(tmp_path / "exif.jpg") == ["name"]


@pytest.mark.parametrize(
    ("name", "kind"), [("HUBER^ANNA.png", "name"), ("mrn48213.png", "number"), ("ct-12.png", None)]
)
def test_names_of_files_and_of_label_sets_are_looked_at(
    tmp_path: Path, name: str, kind: str | None, medclip: Callable  # type: ignore[type-arg]
) -> None:  # fmt: skip
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / name)
    label = {"read by Dr. Huber on 2024-03-04": "mass"} if kind else {"finding": "mass"}
    case = {"id": "x", "scans": [{"file": name}], "labels": label}
    (tmp_path / "cases.jsonl").write_text(json.dumps(case) + "\n")
    done = medclip("cases", "check", tmp_path, "--privacy", "--json")
    found = {
        (p["kind"], p["message"].partition(" in ")[2].rpartition(":")[0]) for p in json.loads(done.out)["problems"]
    }
    wanted = {
        ("privacy-name", "labels and facts"),
        ("privacy-date", "labels and facts"),
        (f"privacy-{kind}", "file names"),
    }
    assert found == (wanted if kind else set())
    assert "Huber" not in done.out


def test_a_picture_that_is_too_large_is_told_as_that_and_one_below_the_limit_is_looked_into(tmp_path: Path) -> None:
    said = PngImagePlugin.PngInfo()
    said.add_text("Author", "Huber")
    Image.new("1", (9600, 9600)).save(tmp_path / "a.png", pnginfo=said, compress_level=1)
    Image.new("1", (16_000, 12_000)).save(tmp_path / "b.png", pnginfo=said, compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds_in_file(tmp_path / "a.png") == ["name"]
        assert kinds_in_file(tmp_path / "b.png") == ["large"]
    cases = [Case.model_validate({"id": "c1", "scans": [{"file": "b.png"}]})]
    told = [leak.message for leak in look_for_leaks(tmp_path, cases) if leak.kind == "large"]
    assert told == ["pictures of over 100 million pixels, too large to look into, in metadata of scans: 1"]
