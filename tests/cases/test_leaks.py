"""``medclip cases check`` finds what lets an evaluation measure memory instead of diagnosis: each leak is planted here."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medclip.cases.check import Problem, check_cases
from medclip.cases.importing import import_cases

Grey = NDArray[np.uint8]


def _scan(seed: int) -> Grey:
    """(200, 240) of smooth shades, another for each seed."""
    small = np.random.default_rng(seed).integers(20, 220, (9, 11), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((240, 200), Image.Resampling.BICUBIC))


def _resized(scan: Grey) -> Grey:
    return np.asarray(Image.fromarray(scan).resize((97, 80), Image.Resampling.BILINEAR))


def _compressed(scan: Grey) -> Grey:
    out = io.BytesIO()
    Image.fromarray(scan).save(out, "JPEG", quality=50)
    return np.asarray(Image.open(out))


def _brighter(scan: Grey) -> Grey:
    return np.asarray(np.clip(scan * 1.2 + 10, 0, 255), np.uint8)


def _cropped(scan: Grey) -> Grey:
    return scan[6:-6, 7:-7]  # 3 % at each side


def _all_of_it(scan: Grey) -> Grey:
    return _compressed(_resized(_brighter(_cropped(scan))))


def _folder(place: Path, *rows: dict[str, Any], scans: dict[str, Grey]) -> Path:
    for name, picture in scans.items():
        Image.fromarray(picture).save(place / f"{name}.png")
    text = [{"kind": "history", "text": "Cough for three weeks."}]
    cases = [{"notes": text, "scans": [{"file": f"{row['id']}.png"}], **row} for row in rows]
    (place / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)) + "\n")
    return place


def _found(folder: Path) -> dict[str, Problem]:
    return {problem.kind: problem for problem in check_cases(folder).problems}


@pytest.mark.parametrize("altered", [_resized, _compressed, _brighter, _cropped, _all_of_it])
def test_an_altered_copy_under_another_patient_is_found(altered: Callable[[Grey], Grey], tmp_path: Path) -> None:
    scans = {f"c{seed}": _scan(seed) for seed in range(12)} | {"copy": altered(_scan(7))}
    rows = [{"id": name, "patient": f"p-{name}", "split": "train"} for name in scans]
    rows[-1]["split"] = "dev"
    found = _found(_folder(tmp_path, *rows, scans=scans))
    leak = found["near-duplicate-across-splits"]
    assert (leak.case_ids, leak.pairs) == (["c7", "copy"], [("c7", "copy")])
    assert "look at each pair" in leak.message
    assert "near-duplicate" not in found


def test_a_copy_in_the_same_split_is_told_apart_from_one_in_another(tmp_path: Path) -> None:
    scans = {"a": _scan(1), "b": _resized(_scan(1))}
    found = _found(_folder(tmp_path, {"id": "a"}, {"id": "b"}, scans=scans))
    assert found["near-duplicate"].pairs == [("a", "b")]
    assert "near-duplicate-across-splits" not in found


def test_neighbouring_slices_of_one_patient_do_not_matter(tmp_path: Path) -> None:
    scans = {"a": _scan(1), "b": _brighter(_scan(1))}
    rows = [{"id": name, "patient": "one"} for name in scans]
    assert not [kind for kind in _found(_folder(tmp_path, *rows, scans=scans)) if "duplicate" in kind]


def test_empty_pictures_are_no_copies_of_each_other(tmp_path: Path) -> None:
    scans = {"a": np.zeros((80, 80), np.uint8), "b": np.full((80, 80), 9, np.uint8), "c": _scan(2)}
    found = _found(_folder(tmp_path, *({"id": name} for name in scans), scans=scans))
    assert not [kind for kind in found if kind.startswith("near")]


def test_the_same_scan_in_two_splits_is_an_error(tmp_path: Path) -> None:
    scans = {"a": _scan(1), "b": _scan(1)}
    rows = ({"id": "a", "patient": "p", "split": "train"}, {"id": "b", "patient": "q", "split": "dev"})
    leak = _found(_folder(tmp_path, *rows, scans=scans))["duplicate-across-patients"]
    assert (leak.severity, leak.case_ids) == ("error", ["a", "b"])


def test_a_patient_in_two_splits_is_an_error(tmp_path: Path) -> None:
    scans = {"a": _scan(1), "b": _scan(2)}
    rows = ({"id": "a", "patient": "p", "split": "train"}, {"id": "b", "patient": "p", "split": "test"})
    leak = _found(_folder(tmp_path, *rows, scans=scans))["patient-in-two-splits"]
    assert (leak.severity, leak.case_ids) == ("error", ["a", "b"])


@pytest.mark.parametrize(
    ("label", "history"),
    [
        ("neoplasm", "Known neoplasms of the lung."),
        ("Klebsiella pneumonia", "klebsiella  pneumonia since May"),
        ("CT", "An outside CT was normal."),
    ],
)
def test_a_history_that_names_the_class_is_found_with_the_remedy(label: str, history: str, tmp_path: Path) -> None:
    told = {"id": "told", "labels": {"kind": label}, "notes": [{"kind": "history", "text": history}]}
    other = {"id": "silent", "labels": {"kind": label}}
    leak = _found(_folder(tmp_path, told, other, scans={"told": _scan(1), "silent": _scan(2)}))["label-in-text"]
    assert leak.case_ids == ["told"]
    assert "medclip cases mask" in leak.message


@pytest.mark.slow
def test_medpix_has_two_patients_under_two_ids_and_no_false_alarm(medpix: Path, tmp_path: Path) -> None:
    """Looked at: the same scans, age, sex and diagnosis; one of each in the official train split, one in dev."""
    import_cases("medpix-2.0", medpix, tmp_path / "cases")
    found = _found(tmp_path / "cases")
    assert found["near-duplicate-across-splits"].pairs == [("MPX1135", "MPX1683"), ("MPX1601", "MPX2518")]
    assert "near-duplicate" not in found
