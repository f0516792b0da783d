"""Cases, cases folders, and what the check finds."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from medclip.cases import Case, Scan, read_cases, write_cases
from medclip.cases.check import check_cases
from medclip.cases.splits import hold_out, kfold, published_split
from medclip.errors import CaseError


def _case(i: int, patient: str, **more: object) -> Case:
    return Case.model_validate(
        {"id": f"c{i}", "patient": patient, "notes": [{"kind": "history", "text": "cough"}], **more}
    )


def test_a_case_written_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(
        '{"id": "a-1", "scans": [{"file": "scans/a.png", "caption": "Clear lungs."}], "labels": {"finding": "none"}}\n\n'
    )
    case = read_cases(tmp_path)[0]
    assert (case.patient, case.labels, case.report) == ("a-1", {"finding": "none"}, "Clear lungs.")


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "x"},
        {"id": "", "notes": [{"kind": "history", "text": "y"}]},
        {"id": "x", "scans": [{"file": "/etc/passwd"}]},
        {"id": "x", "scans": [{"file": "../../secret.png"}]},
        {"id": "x", "scans": [{"file": "a.png"}, {"file": "a.png"}]},
        {"id": "x", "notes": [{"kind": "history", "text": "y"}], "age": 400},
        {"id": "x", "notes": [{"kind": "history", "text": "y"}], "diagnose": "typo"},
        {"id": "x", "notes": [{"kind": "history", "text": "y"}], "labels": {"finding": None}},
    ],
)
def test_what_is_no_case_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Case.model_validate(bad)


def test_a_case_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        _case(1, "p").id = "other"  # type: ignore[misc]


def test_an_unknown_label_is_not_an_absent_one() -> None:
    scans = [{"file": "a.png", "labels": {"modality": "CT"}}, {"file": "b.png", "labels": {"modality": "MR"}}]
    case = Case.model_validate({"id": "x", "scans": scans, "labels": {"location": "Head"}})
    assert case.case_labels == {"location": "Head"}  # its scans differ in modality, so the case has none
    assert case.scan_labels(case.scans[1]) == {"location": "Head", "modality": "MR"}


@given(st.lists(st.tuples(st.text(min_size=1, max_size=40), st.floats(0, 130)), min_size=1, max_size=5))
def test_cases_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]]) -> None:
    cases = []
    for i, (text, age) in enumerate(rows):
        if text.strip():
            cases.append(_case(i, f"p{i}", age=age, labels={"set": "class"}, outcome={"diagnosis": text}))
    folder = tmp_path_factory.mktemp("cases")
    if cases:
        write_cases(folder, cases)
        assert read_cases(folder) == cases


def test_a_bad_line_is_named_without_quoting_the_patient(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(
        '{"id": "a", "notes": [{"kind": "history", "text": "ok"}]}\n{"id": 7, "age": "Mr Smith"}\n'
    )
    with pytest.raises(CaseError, match=r"cases\.jsonl line 2") as caught:
        read_cases(tmp_path)
    assert "Smith" not in str(caught.value)


def test_no_patient_stands_on_both_sides() -> None:
    cases = [_case(i, f"p{i % 17}") for i in range(60)]
    folds = kfold(cases, 5, seed=3)
    for fold in [*folds, hold_out(cases, 0.2, seed=1)]:
        assert not {c.patient for c in fold.train} & {c.patient for c in fold.held_out}
        assert len(fold.train) + len(fold.held_out) == 60
    assert sorted(c.id for fold in folds for c in fold.held_out) == sorted(c.id for c in cases)
    assert folds == kfold(cases, 5, seed=3) != kfold(cases, 5, seed=4)


def test_a_patient_in_train_and_dev_is_refused() -> None:
    with pytest.raises(CaseError, match="stand in train and dev"):
        published_split([_case(1, "p", split="train"), _case(2, "p", split="dev")])


def test_test_cases_train_nothing() -> None:
    fold = published_split([_case(1, "a", split="train"), _case(2, "b", split="dev"), _case(3, "c", split="test")])
    assert fold is not None
    assert [c.id for c in (*fold.train, *fold.held_out)] == ["c1", "c2"]


def _png(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (12, 12), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(out, format="PNG")
    return out.getvalue()


def _jpeg(png: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).save(out, format="JPEG", quality=60)
    return out.getvalue()


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A cases folder with one of every fault."""
    files = {
        "a": _png(1),
        "b": _png(2),
        "same": _png(1),
        "near": _jpeg(_png(2)),
        "cut": _png(5)[:300],
        "twice": _png(6),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "twice2.png").write_bytes(files["twice"])
    note = [{"kind": "history", "text": "Known sarcoidosis, for follow-up."}]
    rows = [
        {
            "id": "a",
            "patient": "p1",
            "scans": [{"file": "a.png"}],
            "notes": note,
            "labels": {"f": "sarcoidosis"},
            "split": "train",
        },
        {
            "id": "b",
            "patient": "p1",
            "scans": [{"file": "b.png"}],
            "notes": note,
            "labels": {"f": "normal"},
            "split": "dev",
        },
        {"id": "same", "patient": "p2", "scans": [{"file": "same.png"}]},
        {"id": "near", "patient": "p3", "scans": [{"file": "near.png"}], "notes": note},
        {"id": "cut", "patient": "p4", "scans": [{"file": "cut.png"}], "notes": note},
        {"id": "gone", "patient": "p5", "scans": [{"file": "gone.png"}], "notes": note},
        {"id": "twice", "patient": "p6", "scans": [{"file": "twice.png"}, {"file": "twice2.png"}], "notes": note},
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    return tmp_path


def test_the_check_finds_every_fault(faulty: Path) -> None:
    report = check_cases(faulty)
    found = {problem.kind: problem.case_ids for problem in report.problems}
    assert found["bad-line"] == ["line 8"]
    assert found["unreadable-scan"] == ["cut", "gone"]
    assert found["duplicate-across-patients"] == ["a", "same"]
    assert found["duplicate"] == ["twice"]
    assert found["near-duplicate-across-splits"] == ["b", "near"]
    assert found["patient-in-two-splits"] == ["a", "b"]
    assert found["label-in-text"] == ["a"]
    assert found["no-text"] == ["same"]
    assert "rare-class" in found
    assert not report.ok


def test_the_check_s_exit_code(faulty: Path, sample: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    bad = medclip("cases", "check", faulty, "--json")
    assert bad.code == 1
    assert json.loads(bad.out)["ok"] is False
    good = medclip("cases", "check", sample)
    assert good.code == 0
    assert "160 of them synthetic" in good.out


def test_scans_are_immutable_too() -> None:
    with pytest.raises(ValidationError):
        Scan(file="a.png").file = "b.png"  # type: ignore[misc]


def test_the_same_seed_draws_the_same_cohort(sample: Path, medclip: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    again = tmp_path / "again"
    assert medclip("cases", "import", "sample", "--out", again).code == 0
    for file in sorted(sample.rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (again / file.relative_to(sample)).read_bytes(), file.name
    shutil.rmtree(again)
    assert medclip("cases", "import", "sample", "--out", again, "--seed", 1).code == 0
    assert (again / "cases.jsonl").read_bytes() != (sample / "cases.jsonl").read_bytes()
