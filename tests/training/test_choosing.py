"""By what the kept epoch is chosen: captions, else reports or findings, else nothing; and who is told."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from medclip.bundle.layout import Layout
from medclip.cases import Case, Note, read_cases, write_cases
from medclip.training.choosing import LAST_EPOCH, choose_by
from medclip.training.features import gather

Medclip = Callable  # type: ignore[type-arg]


def _silent(case: Case, *, findings: bool) -> Case:
    """The case as a source without captions gives it: what they said stands in the findings, or nowhere."""
    said = " ".join(dict.fromkeys(scan.caption for scan in case.scans if scan.caption))
    kept = [note for note in case.notes if note.kind == "history"]
    return case.model_copy(
        update={
            "scans": tuple(scan.model_copy(update={"caption": None}) for scan in case.scans),
            "notes": (*kept, Note(kind="findings", text=said)) if findings else tuple(kept),
        }
    )


@pytest.fixture
def train(sample: Path, hub_layout: Path, tmp_path: Path, medclip: Medclip) -> Callable[..., tuple[dict, str, str]]:  # type: ignore[type-arg]
    """Train small towers' projection on 24 + 30 cases, changed; gives training.json, the card and what was printed."""

    def run(change: Callable[[Case], Case]) -> tuple[dict, str, str]:  # type: ignore[type-arg]
        cases = copytree(sample, tmp_path / "cases")
        drawn = read_cases(cases)
        parts = [[case for case in drawn if case.split == split] for split in ("train", "dev")]
        write_cases(cases, [change(case) for case in (*parts[0][:24], *parts[1][:30])])
        done = medclip("train", cases, "--out", tmp_path / "model", "--towers", f"local-dir:{hub_layout}", "--epochs", 14,
                       "--device", "cpu", "--threads", 1)  # fmt: skip
        assert done.code == 0, done.err
        layout = Layout(tmp_path / "model")
        return json.loads(layout.training.read_text()), layout.card.read_text(), done.out

    return run


@pytest.mark.slow
def test_where_no_case_has_a_caption_reports_choose_the_epoch(train: Callable) -> None:  # type: ignore[type-arg]
    facts, card, said = train(lambda case: _silent(case, findings=True))
    assert facts["chosen_by"] == "reports"
    recalls = [epoch["recall"] for epoch in facts["epochs"]]
    assert 0 < max(recalls) < 1
    assert facts["best_epoch"] == 1 + recalls.index(max(recalls))
    assert facts["figures"]["report-to-scan recall@10"] + facts["figures"]["scan-to-report recall@10"] == pytest.approx(
        2 * max(recalls)
    )
    assert "the best on the dev cases by their reports" in card
    assert "chosen by reports" in said
    assert "report-to-scan recall@10" in said


@pytest.mark.slow
def test_where_nothing_can_choose_training_goes_to_the_last_epoch_and_says_so(train: Callable) -> None:  # type: ignore[type-arg]
    facts, card, said = train(lambda case: _silent(case, findings=False))
    assert facts["chosen_by"] == "none: trained to the last epoch"
    assert facts["best_epoch"] == len(facts["epochs"]) == 14
    assert {epoch["recall"] for epoch in facts["epochs"]} == {None}
    assert facts["figures"] == {}
    for told in (card, said):
        assert "none: trained to the last epoch" in told
        assert "no dev scan has a readable caption, report or findings" in told
    assert "the best on the dev cases" not in card


def _chosen(cases: list[Case]) -> str:
    return choose_by(gather(cases, ("LATIN",))[0]).by


def test_what_can_choose(sample_cases: list[Case]) -> None:
    cases = sample_cases[:30]
    assert _chosen(cases) == "captions"
    reports = [_silent(case, findings=True) for case in cases]
    assert _chosen(reports) == "reports"
    assert _chosen([cases[0], *reports[1:]]) == "captions"
    unreadable = [  # caption and, since it is mostly that, report
        case.model_copy(
            update={"scans": tuple(s.model_copy(update={"caption": "双肺未见明显异常" * 30}) for s in case.scans)}
        )
        for case in reports
    ]
    assert _chosen(unreadable) == "findings"
    assert _chosen([_silent(case, findings=False) for case in cases]) == LAST_EPOCH
    apart = [  # scans and reports, but never of one case
        case.model_copy(update={"scans": ()}) if i % 2 else _silent(case, findings=False)
        for i, case in enumerate(reports)
    ]
    assert _chosen(apart) == LAST_EPOCH


def test_a_dev_set_in_which_no_recall_can_miss_chooses_nothing(sample_cases: list[Case]) -> None:
    single = [case for case in sample_cases if len(case.scans) == 1]
    assert _chosen(single[:11]) == "captions"
    assert "too few" in choose_by(gather(single[:10], None)[0]).reason


@pytest.mark.slow
def test_towers_tuned_without_captions_are_those_of_the_last_epoch(
    sample: Path, sample_cases: list[Case], hub_layout: Path, tmp_path: Path
) -> None:
    import torch

    from medclip.cases.splits import Fold
    from medclip.training.settings import TuneSettings
    from medclip.training.towers import load_towers
    from medclip.training.unfreeze import tune_towers

    towers = load_towers(f"local-dir:{hub_layout}")
    cases = [_silent(case, findings=False) for case in sample_cases[:20]]
    seen = []
    tune_towers(
        towers,
        Fold(tuple(cases[:14]), tuple(cases[14:])),
        sample,
        TuneSettings(epochs=3),
        device="cpu",
        checkpoint=tmp_path / "work" / "tuning.safetensors",
        progress=lambda *_: seen.append(towers.model.visual.conv1.weight.detach().clone()),
    )
    kept = towers.model.visual.conv1.weight
    assert [bool(torch.equal(kept, weights)) for weights in seen] == [False, False, True]
