"""What ``medclip cases mask`` takes from a text, what it leaves, and what it says of both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medclip.cases import read_cases
from medclip.cases.check import check_cases
from medclip.cases.masking import MASKED, mask_cases

Medclip = Callable  # type: ignore[type-arg]


def _cases(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "cases.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return folder


def _case(text: str, diagnosis: str = "", **more: Any) -> dict[str, Any]:
    outcome = {"outcome": {"diagnosis": diagnosis}} if diagnosis else {}
    return {"id": "c1", "notes": [{"kind": "findings", "text": text}], **outcome, **more}


def _masked(tmp_path: Path, *rows: dict[str, Any]) -> str:
    mask_cases(_cases(tmp_path / "cases", *rows), tmp_path / "masked")
    return read_cases(tmp_path / "masked")[0].note_text("findings")


@pytest.mark.parametrize(
    ("diagnosis", "text", "expected"),
    [
        ("Occipital Condyle Fractures", "There is a left occipital condyle fracture.", "There is a left [masked]."),
        ("Congenital Cholesteatoma", "Suspected cholesteatoma.", "Suspected [masked]."),
        ("Pulmonary Embolism", "A saddle embolism; further emboli.", "A saddle [masked]; further [masked]."),
        ("Pulmonary Embolism", "No PE. Pulmonary arteries are wide.", "No [masked]. Pulmonary arteries are wide."),
        ("Cerebral infarct", "Two infarcts, an infarcted gyrus", "Two [masked], an [masked] gyrus"),
        ("Carotid stenosis", "stenotic and stenosed, no stenoses", "[masked] and [masked], no [masked]"),
        ("Renal vein thrombosis", "A thrombus or thrombotic clot; the cortex", "A [masked] or [masked] clot; the cortex"),
        ("Lung metastases", "metastatic to the lung, metastasis", "[masked] to the lung, [masked]"),
        ("Fibrous dysplasia", "a dysplastic tibia", "a [masked] tibia"),
        ("Adenocarcinoma of the Lung", "carcinoma of the left lung", "[masked] of the left lung"),
        ("Cerebral haemorrhage", "hemorrhagic", "[masked]"),
        ("Crohn's Disease", "Crohn disease; disease of the bowel", "[masked]; disease of the bowel"),
        ("Acute appendicitis", "An acute course. The appendix is thick; an appendicolith.",
         "An acute course. The appendix is thick; an [masked]."),
        ("Adrenal mass", "A mass of the liver. An adrenal mass.", "A mass of the liver. An [masked]."),
        ("Left upper lobe collapse", "The left upper lobe is small: collapsed.",
         "The left upper lobe is small: [masked]."),
    ],
)  # fmt: skip
def test_what_names_the_diagnosis_goes_and_anatomy_stays(
    diagnosis: str, text: str, expected: str, tmp_path: Path
) -> None:
    assert _masked(tmp_path, _case(text, diagnosis)) == expected


def test_a_finding_read_from_the_reports_is_not_masked(tmp_path: Path) -> None:
    """They are what a report says: without them "mass" would go from every text of the folder."""
    row = _case("A mass in the chest.", "Lymphoma", labels={"findings-in-report/mass": "present"})
    assert _masked(tmp_path, row) == "A mass in the chest."


def test_a_class_of_one_plain_word_is_kept_and_named(tmp_path: Path, medclip: Medclip) -> None:
    labels = {"location": "Head", "kind": "cyst", "site": "Spine and Muscles"}
    cases = _cases(tmp_path / "cases", _case("Head: cysts. Disease of spine and muscles.", labels=labels))
    done = medclip("cases", "mask", cases, "--out", tmp_path / "masked")
    assert done.code == 0, done.err
    assert "Head" in done.out
    assert "--word" in done.out
    [case] = read_cases(tmp_path / "masked")
    assert case.note_text("findings") == "Head: [masked]. Disease of [masked]."


def test_each_masked_word_is_counted(tmp_path: Path, medclip: Medclip) -> None:
    rows = [
        _case("Fracture here, fracture there, Jane Doe.", "Rib fracture"),
        {**_case("A fracture; rib fractures.", "Rib fracture"), "id": "c2"},
    ]
    cases = _cases(tmp_path / "cases", *rows)
    done = medclip("cases", "mask", cases, "--out", tmp_path / "masked", "--word", "Jane Doe", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["cases"], report["changed"]) == (2, 2)
    counts = {word["word"]: (word["times"], word["cases"]) for word in report["words"]}
    assert counts == {"fracture": (3, 2), "rib fractures": (1, 1), "--word 1": (1, 1)}
    assert json.loads((tmp_path / "masked" / MASKED).read_text()) == report
    assert "Jane" not in (tmp_path / "masked" / MASKED).read_text()


def test_check_finds_what_a_masked_folder_still_says(tmp_path: Path) -> None:
    cases = _cases(tmp_path / "cases", _case("Two fractures.", "Rib fracture"))
    kinds = {problem.kind for problem in check_cases(cases).problems}
    assert "diagnosis-in-masked-text" not in kinds  # it does not say that it is masked
    masked = tmp_path / "masked"
    mask_cases(cases, masked)
    assert "diagnosis-in-masked-text" not in {problem.kind for problem in check_cases(masked).problems}
    manifest = masked / "cases.jsonl"
    manifest.write_text(manifest.read_text().replace("[masked]", "fractured ribs"))
    [problem] = [one for one in check_cases(masked).problems if one.kind == "diagnosis-in-masked-text"]
    assert (problem.severity, problem.case_ids) == ("error", ["c1"])
    assert "medclip cases mask" in problem.message


def test_nothing_to_mask_is_refused(tmp_path: Path, medclip: Medclip, refused: Medclip) -> None:
    cases = _cases(tmp_path / "cases", _case("A fracture.", labels={"location": "Head"}))
    said = refused(medclip("cases", "mask", cases, "--out", tmp_path / "masked"))
    assert "--word" in said
    assert not (tmp_path / "masked").exists()
