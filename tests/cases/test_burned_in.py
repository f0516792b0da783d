"""``medclip cases check --burned-in``: words burnt into scans that name the finding or the patient are planted here."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medclip.cases.check import CheckReport, Problem, check_cases, check_privacy
from medclip.errors import MissingDependencyError
from medclip.modalities.scan import burned_in
from medclip.modalities.scan.pictures import GreyPicture
from medclip.modalities.scan.read import as_tiff

pytestmark = pytest.mark.slow  # the reader takes seconds to start, and about one a scan

Words = dict[tuple[int, int], str]
"""Left and top, in pixels → what is written there."""

MARKS: Words = {
    (8, 8): "R",
    (8, 30): "AP SUPINE",
    (8, 216): "120 kV 5 mAs",
    (190, 216): "W 350 L 40",
    (270, 110): "10 cm",
}


def _scan(words: Words, *, size: int = 18) -> GreyPicture:
    """(240, 320) of smooth shades with words on it."""
    shades = np.random.default_rng(3).integers(0, 110, (9, 11), dtype=np.uint8)
    picture = Image.fromarray(shades).resize((320, 240), Image.Resampling.BICUBIC)
    for place, word in words.items():
        ImageDraw.Draw(picture).text(place, word, fill=255, font=ImageFont.load_default(size))
    return np.asarray(picture)


def _folder(place: Path, pictures: dict[str, Words], **about: Any) -> Path:
    for name, words in pictures.items():
        Image.fromarray(_scan(words)).save(place / f"{name}.png")
    text = [{"kind": "history", "text": "Cough for three weeks."}]
    cases = [{"id": name, "notes": text, "scans": [{"file": f"{name}.png"}], **about} for name in pictures]
    (place / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)) + "\n")
    return place


def _found(report: CheckReport) -> dict[str, Problem]:
    return {problem.kind: problem for problem in report.problems}


@pytest.mark.parametrize("burnt", ["PNEUMOTHORAX", "Large pneumothoraces", "hydropneumothorax"])
def test_a_scan_that_names_its_diagnosis_is_found_with_the_place(burnt: str, tmp_path: Path) -> None:
    scans = {"told": {(8, 8): "L", (90, 210): burnt}, "silent": MARKS, "other": {(20, 20): "PNEUMONIA"}}
    report = check_cases(_folder(tmp_path, scans, outcome={"diagnosis": "Tension pneumothorax"}), burned_in=True)
    leak = _found(report)["label-in-pixels"]
    assert (leak.severity, leak.case_ids, leak.places) == ("warning", ["told"], ["told.png: bottom"])
    assert "its diagnosis" in leak.message
    assert report.burned_in


def test_a_scan_that_names_its_class_is_found_and_findings_that_were_read_from_reports_are_no_class(
    tmp_path: Path,
) -> None:
    scans = {"told": {(8, 8): "Pleural effusions"}, "silent": MARKS}
    labels = {"finding/pleural effusion": "absent", "findings-in-report/effusion": "present"}
    problems = check_cases(_folder(tmp_path, scans, labels=labels), burned_in=True).problems
    leaks = [problem for problem in problems if problem.kind == "label-in-pixels"]
    assert [leak.places for leak in leaks] == [["told.png: top left"]]
    assert "its finding/pleural effusion" in leaks[0].message


def test_words_that_identify_are_a_warning_without_the_words(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    scans = {"named": {(8, 8): "DOE^JOHN", (180, 8): "12.03.1956", (8, 216): "MRN: 4821377"}, "silent": MARKS}
    done = medclip("cases", "check", _folder(tmp_path, scans), "--privacy", "--burned-in", "--json")
    found = {one["kind"]: (one["severity"], one["places"]) for one in json.loads(done.out)["problems"]}
    assert found == {
        "privacy-name": ("warning", ["named.png: top left"]),
        "privacy-date": ("warning", ["named.png: top right"]),
        "privacy-number": ("warning", ["named.png: bottom left"]),
    }
    assert done.code == 0
    assert not any(secret in done.out + done.err for secret in ("DOE", "1956", "4821377"))


def test_a_file_s_name_that_identifies_is_not_quoted(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {"HUBER^ANNA": {(180, 8): "12.03.1956"}}, id="x")
    found = _found(check_privacy(folder, burned_in=True))
    assert found["privacy-date"].places == ["a scan of case 1: top right"]


def test_of_a_volume_the_first_the_middle_and_the_last_slice_are_read(tmp_path: Path) -> None:
    slices = [_scan({(20, 20): "PNEUMOTHORAX"} if at in (1, 2, 4) else {}) for at in range(5)]
    folder = _folder(tmp_path, {"a": {}}, outcome={"diagnosis": "pneumothorax"}, scans=[{"file": "a.tif"}])
    (folder / "a.tif").write_bytes(as_tiff(slices))
    places = _found(check_cases(folder, burned_in=True))["label-in-pixels"].places
    assert places == ["a.tif: middle slice, top left", "a.tif: last slice, top left"]


def test_unless_asked_for_words_are_not_looked_for_and_that_is_said(tmp_path: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    folder = _folder(tmp_path, {"told": {(8, 8): "PNEUMOTHORAX"}}, outcome={"diagnosis": "pneumothorax"})
    done = medclip("cases", "check", folder)
    assert done.out.splitlines()[-1].startswith("words burnt into scans were not looked for")
    assert "label-in-pixels" not in _found(check_cases(folder))
    assert not check_cases(folder).burned_in


def test_a_scan_that_takes_too_long_is_named_and_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burned_in, "_SECONDS", 0.01)
    folder = _folder(tmp_path, {"a": MARKS})
    report = check_cases(folder, burned_in=True)
    found = _found(report)["unsearched-scan"]
    assert (found.case_ids, report.ok) == (["a"], False)
    assert "a.png: takes over" in found.message
    leak = _found(check_privacy(folder, burned_in=True))["privacy-unreadable"]
    assert (leak.severity, leak.places) == ("error", ["a.png: all of it"])


@pytest.mark.parametrize("check", [check_cases, check_privacy])
def test_without_the_extra_it_is_named_before_anything_is_read(
    check: Callable[..., CheckReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingDependencyError, match=r"medclip-assistant\[ocr\]"):
        check(_folder(tmp_path, {"a": MARKS}), burned_in=True)
