"""Findings read from reports, multi-label sets, and masking."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medclip.cases import Case, read_cases
from medclip.cases.labelling import findings_of
from medclip.cases.masking import mask_cases
from medclip.evaluation.protocols import Figure, with_families
from medclip.label_sets import REPORT_FAMILY, family_of, is_verified
from medclip.modalities.text.assertion import FindingReader
from medclip.modalities.text.lexicon import load_lexicon

Medclip = Callable  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def reader() -> FindingReader:
    return FindingReader(load_lexicon())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion.", {"pleural effusion": "absent"}),
        ("There is no pleural effusion or pneumothorax.", {"pleural effusion": "absent", "pneumothorax": "absent"}),
        ("Small left pleural effusions.", {"pleural effusion": "present"}),
        ("Possible pneumonia.", {"pneumonia": "uncertain"}),
        ("Pneumonia cannot be excluded.", {"pneumonia": "uncertain"}),
        ("Findings suggestive of tuberculosis.", {"tuberculosis": "uncertain"}),
        ("Meningioma versus metastasis.", {"meningioma": "uncertain", "metastasis": "uncertain"}),
        ("Large mass with surrounding edema but no hydrocephalus.",
         {"mass": "present", "edema": "present", "hydrocephalus": "absent"}),
        ("The pneumothorax has resolved.", {"pneumothorax": "absent"}),
        ("No change in the pleural effusion.", {"pleural effusion": "present"}),
        ("Lungs are clear of consolidation. There is a fracture.", {"consolidation": "absent", "fracture": "present"}),
        ("No effusion on the right. Effusion on the left.", {"pleural effusion": "present"}),
        ("The heart is normal.", {}),
    ],
)  # fmt: skip
def test_findings_are_affirmed_denied_or_doubted(text: str, expected: dict[str, str], reader: FindingReader) -> None:
    assert findings_of(reader, [text]) == [expected]


def _write(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir()
    (folder / "cases.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return folder


@pytest.mark.slow
def test_labels_from_reports_are_kept_apart_from_verified_ones(tmp_path: Path, medclip: Medclip) -> None:
    said = ["Pleural effusion.", "No effusion.", "Possible effusion.", "Nothing of note."]
    rows = [
        {"id": f"c{i}", "notes": [{"kind": "findings", "text": said[i % 4]}], "labels": {"finding": "x"}}
        for i in range(16)
    ]
    cases = _write(tmp_path / "cases", rows)
    done = medclip("cases", "label", cases, "--least", 3)
    assert done.code == 0, done.err
    assert "not verified" in done.out
    labelled = read_cases(cases)
    name = f"{REPORT_FAMILY}/pleural effusion"
    assert [case.labels.get(name) for case in labelled[:4]] == ["present", "absent", None, None]
    assert all(case.labels["finding"] == "x" for case in labelled)
    assert not is_verified(name)
    assert is_verified("finding")
    before = (cases / "cases.jsonl").read_bytes()
    assert medclip("cases", "label", cases, "--least", 3).code == 0
    assert (cases / "cases.jsonl").read_bytes() == before


@pytest.mark.slow
def test_no_frequent_finding_leaves_the_cases_as_they_are(tmp_path: Path, medclip: Medclip, refused: Medclip) -> None:
    cases = _write(tmp_path / "cases", [{"id": "c", "notes": [{"kind": "findings", "text": "No effusion."}]}])
    before = (cases / "cases.jsonl").read_bytes()
    assert "--least" in refused(medclip("cases", "label", cases))
    assert (cases / "cases.jsonl").read_bytes() == before


def test_a_class_of_a_multi_label_set_is_present_or_absent() -> None:
    assert family_of("findings/effusion") == "findings"
    assert family_of("finding") is None
    notes = [{"kind": "history", "text": "x"}]
    Case.model_validate({"id": "c", "notes": notes, "labels": {"findings/effusion": "absent"}})
    with pytest.raises(ValueError, match="present or absent"):
        Case.model_validate({"id": "c", "notes": notes, "labels": {"findings/effusion": "maybe"}})


def test_the_figures_of_a_multi_label_set_are_means_over_its_classes() -> None:
    def figure(label_set: str, value: float) -> Figure:
        return Figure("full", label_set, "vote", "macro_auroc", value, None, 10)

    found = with_families([figure("f/a", 0.6), figure("f/b", 0.8), figure("f/c", float("nan")), figure("g", 0.1)])
    [mean] = [one for one in found if one.label_set == "f"]
    assert mean.value == pytest.approx(0.7)
    assert mean.n == 30


def test_several_findings_at_once_are_trained_voted_on_and_measured(
    sample: Path, hub_layout: Path, tmp_path: Path, medclip: Medclip
) -> None:
    """The sample's lesions as three classes that may each be present: the whole way to an answer and its figures."""
    cases = tmp_path / "cases"
    shutil.copytree(sample, cases)
    rows = [json.loads(line) for line in (cases / "cases.jsonl").read_text().splitlines()]
    for row in rows:
        lesion = row["labels"].pop("finding")
        for name in ("nodule", "collection", "cyst"):
            row["labels"][f"lesions/{name}"] = "present" if name == lesion else "absent"
    (cases / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    model, index = tmp_path / "model", tmp_path / "index"
    trained = medclip("train", cases, "--out", model, "--towers", f"local-dir:{hub_layout}", "--fuser", "concat",
                      "--epochs", 8, "--device", "cpu")  # fmt: skip
    assert trained.code == 0, trained.err
    assert medclip("index", "build", cases, "--model", model, "--split", "train", "--out", index).code == 0
    dev = [row for row in rows if row["split"] == "dev"]
    asked = next(row for row in dev if row["labels"]["lesions/collection"] == "present")
    text = next(note["text"] for note in asked["notes"] if note["kind"] == "history")
    query = ("query", index, "--scan", cases / asked["scans"][0]["file"], "--text", text)
    answers = {found["label_set"]: found for found in json.loads(medclip(*query, "--json").out)["labels"]}
    assert answers["lesions/collection"]["answer"] == "present"
    assert answers["lesions/cyst"]["answer"] == "absent"
    assert "collection" in medclip(*query).out
    _write(tmp_path / "unseen", dev)
    shutil.copytree(cases / "scans", tmp_path / "unseen" / "scans")
    figures = json.loads(medclip("evaluate", tmp_path / "unseen", "--index", index, "--json").out)
    area = {f["method"]: f["value"] for f in figures
            if f["label_set"] == "lesions" and f["protocol"] == "full" and f["metric"] == "macro_auroc"}  # fmt: skip
    assert area["combined"] > 0.8
    assert area["majority"] == pytest.approx(0.5)


def test_label_words_are_masked_in_a_copy(tmp_path: Path) -> None:
    row = {
        "id": "c1",
        "scans": [{"file": "scans/a.png", "caption": "CT of a meningioma.", "labels": {"modality": "CT"}}],
        "notes": [{"kind": "history", "text": "Known meningiomas; father had a glioma. He fell. 3 ct later."}],
        "labels": {"tumour": "meningioma", "findings/oedema": "present"},
        "outcome": {"diagnosis": "Convexity meningioma"},
    }
    other = {"id": "c2", "notes": [{"kind": "findings", "text": "Oedema."}], "labels": {"tumour": "glioma"}}
    cases = _write(tmp_path / "cases", [row, other])
    (cases / "scans").mkdir()
    (cases / "scans" / "a.png").write_bytes(np.random.default_rng(0).bytes(100))
    assert mask_cases(cases, tmp_path / "masked", words=["fell"]).changed == 2
    first, second = read_cases(tmp_path / "masked")
    assert first.note_text("history") == "Known [masked]; father had a [masked]. He [masked]. 3 ct later."
    assert first.scans[0].caption == "[masked] of a [masked]."
    assert second.note_text("findings") == "[masked]."
    assert first.outcome.diagnosis == "Convexity meningioma"
    assert (tmp_path / "masked" / "scans" / "a.png").read_bytes() == (cases / "scans" / "a.png").read_bytes()
