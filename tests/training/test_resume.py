"""`--resume` goes on for what the work was begun for, and for nothing else."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the extra train")

from medclip.cases import Case, Note, Scan
from medclip.errors import CaseError, OutputError
from medclip.training.run import Reporter, train_model
from medclip.training.settings import FuserSettings, LossWeights, Settings, TuneSettings


class _Killed(BaseException):
    """What stops a training after it has noted what it was begun for, as a kill does."""


def _stop(stage: str) -> None:
    if stage == "loading the towers":
        raise _Killed


def _grey(file: Path, level: int) -> None:
    Image.fromarray(np.full((40, 40), level, np.uint8)).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cases" / "scans").mkdir(parents=True)
    for number in range(4):
        _grey(tmp_path / "cases" / "scans" / f"{number}.bmp", 10 * number)
    return tmp_path / "cases"


def _cases(count: int = 4) -> list[Case]:
    return [
        Case(
            id=f"case-{number}",
            patient=f"patient-{number}",
            scans=(Scan(file=f"scans/{number}.bmp"),),
            notes=(Note(kind="findings", text=f"Finding number {number}."),),
            split="dev" if number == 3 else "train",
        )
        for number in range(count)
    ]


@pytest.fixture
def train(folder: Path, tmp_path: Path) -> Callable[..., None]:
    """Begin a training that is killed at once, or go on with it; the first is begun already."""

    def run(cases: Sequence[Case] | None = None, place: Path = folder, resume: bool = True, **how: Any) -> None:
        with pytest.raises(_Killed):
            train_model(
                _cases() if cases is None else cases,
                place,
                tmp_path / "model",
                resume=resume,
                report=Reporter(stage=_stop),
                **how,
            )

    run(resume=False)
    return run


def test_the_same_cases_go_on_also_from_a_copied_folder(train: Callable[..., None], folder: Path) -> None:
    train()
    copied = shutil.copytree(folder, folder.with_name("copied"), copy_function=shutil.copyfile)  # the times are new
    train(place=copied)


def _without_one() -> list[Case]:
    return [case for case in _cases() if case.id != "case-1"]


def _said_otherwise() -> list[Case]:
    first, *rest = _cases()
    return [first.model_copy(update={"notes": (Note(kind="findings", text="No nodule."),)}), *rest]


def _dealt_otherwise() -> list[Case]:
    first, *rest = _cases()
    return [first.model_copy(update={"split": "dev"}), *rest]


@pytest.mark.parametrize(
    ("cases", "said"),
    [(_without_one, "other cases"), (_dealt_otherwise, "other cases"), (_said_otherwise, "other records of the cases")],
)
def test_other_cases_are_refused(train: Callable[..., None], cases: Callable[[], list[Case]], said: str) -> None:
    with pytest.raises(OutputError, match=f"{said}.*--force") as refused:
        train(cases())
    assert "\n" not in str(refused.value)


def test_a_scan_of_other_contents_and_the_same_size_is_refused(train: Callable[..., None], folder: Path) -> None:
    before = (folder / "scans" / "2.bmp").stat().st_size
    _grey(folder / "scans" / "2.bmp", 200)
    assert (folder / "scans" / "2.bmp").stat().st_size == before
    with pytest.raises(OutputError, match="other scan files"):
        train()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"settings": Settings(epochs=7)}, r"--epochs \(was 30\)"),
        ({"settings": replace(Settings(), batch=64)}, r"settings.batch \(was 128\)"),
        ({"fuser": FuserSettings("gated")}, r"--fuser \(was sum\)"),
        ({"fuser": FuserSettings(weights=LossWeights(1, 2, 3))}, r"--loss-weights \(was 1,1,0.3\)"),
        ({"tune": TuneSettings(epochs=2)}, r"else: --unfreeze \(was off\); repeat"),
        (
            {"crops": True, "towers_name": "multilingual"},
            r"--towers, --image-tower or --text-tower \(was default\), --crops \(was off\)",
        ),
    ],
)
def test_other_settings_are_refused_by_name(train: Callable[..., None], how: dict[str, Any], said: str) -> None:
    with pytest.raises(OutputError, match=said):
        train(**how)


def test_what_an_earlier_medclip_left_is_refused(train: Callable[..., None], tmp_path: Path) -> None:
    request = tmp_path / "model.training" / "request.json"
    request.write_text(json.dumps({"towers": "default", "crops": False, "tune": None, "seed": 0}))
    with pytest.raises(OutputError, match=r"earlier medclip.*--force"):
        train()
    request.write_text("{")
    with pytest.raises(OutputError, match="is damaged; start anew with --force"):
        train()


def test_a_scan_that_is_gone_is_named(train: Callable[..., None], folder: Path) -> None:
    (folder / "scans" / "1.bmp").unlink()
    with pytest.raises(CaseError, match=r"1\.bmp: not found; see  medclip cases check"):
        train()
