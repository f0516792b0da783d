"""A probe that is not as it was written answers nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.diagnosis.diagnoser import Diagnoser, Fit, Measured
from medclip.diagnosis.probe import Probe
from medclip.diagnosis.sets import Scores
from medclip.diagnosis.store import load_diagnosers, save_diagnosers
from medclip.errors import ArchiveError
from medclip.files.sealed import sealed
from medclip.files.tensors import read_tensors, write_tensors
from medclip.fusion.composition import Part
from medclip.metrics.probabilities import Bin

WIDTHS: dict[Part, int] = {"scan": 4, "history": 3, "report": 3, "measurements": 0}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    probe = Probe(rng.normal(size=(4, 2)).astype(np.float32), np.zeros(2, np.float32))
    measured = Measured(0.9, 0.05, 40, (Bin(9, 1.0, 0.95, 0.9),))
    right = rng.uniform(size=40).astype(np.float32)
    scores = Scores(np.arange(40) % 2, np.ones(40, np.float32), right, 2)
    fit = Fit((0.1, 0.5, 1.2), measured, (0.1, 0.8), measured, {"vote": measured, "scan": measured}, scores, scores)
    classes = ("Abdomen", "Thorax")
    diagnoser = Diagnoser("location", classes, dict.fromkeys(classes, 20), {"scan": probe}, {"scan": fit})
    save_diagnosers([diagnoser], WIDTHS, tmp_path)
    return tmp_path


def test_one_changed_bit_anywhere_is_noticed(stored: Path) -> None:
    before = repr(load_diagnosers(stored, WIDTHS))
    for name in ("diagnosers.json", "probes.safetensors"):
        content = (stored / name).read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1 << position % 8
            (stored / name).write_bytes(changed)
            try:
                assert repr(load_diagnosers(stored, WIDTHS)) == before, "read as if nothing were amiss, and it is"
            except ArchiveError as error:
                assert str(error).startswith(str(stored / name).removesuffix(name))  # noqa: PT017
        (stored / name).write_bytes(content)
    assert repr(load_diagnosers(stored, WIDTHS)) == before


def test_classes_in_another_order_are_noticed(stored: Path) -> None:
    file = stored / "diagnosers.json"
    value = json.loads(file.read_text())
    value["diagnosers"][0]["classes"].reverse()
    file.write_text(json.dumps(value))
    with pytest.raises(ArchiveError, match="has changed since it was written"):
        load_diagnosers(stored, WIDTHS)


def _set(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


_ONE = ("diagnosers", 0)
_PART = (*_ONE, "fits", "scan")


@pytest.mark.parametrize(
    "change",
    [
        _set((*_ONE, "classes"), ["Abdomen"]), _set((*_ONE, "classes"), ["Abdomen", "Head"]),
        _set((*_ONE, "classes"), ["Abdomen", "Abdomen"]), _set((*_ONE, "patients"), {"Abdomen": 20, "Thorax": 0}),
        _set((*_PART, "weights"), [0.5]), _set((*_PART, "weights"), [0.1, 0.5, -1.0]), _set((*_PART, "alone"), []),
        _set((*_PART, "measured", "patients"), "many"), _set((*_PART, "measured", "accuracy"), 1.5),
        _set((*_ONE, "probes"), []), _set(("widths", "scan"), 5), _set(("format",), 5),
        _set(("diagnosers",), {}), _set(("tensors",), None), _set((*_ONE, "more"), 1),
        _set(("diagnosers",), []),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_even_where_the_checksum_fits(
    stored: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    file = stored / "diagnosers.json"
    value = {key: part for key, part in json.loads(file.read_text()).items() if key != "sha256"}
    change(value)
    file.write_text(json.dumps(sealed(value)))
    with pytest.raises(ArchiveError, match="probe is damaged"):
        load_diagnosers(stored, WIDTHS)


def _rewritten(stored: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The tensors with a change and checksums that fit it, as somebody else might write them."""
    tensors = {name: tensor.copy() for name, tensor in read_tensors(stored / "probes.safetensors", None).items()}
    change(tensors)
    digest = write_tensors(stored / "probes.safetensors", tensors)
    file = stored / "diagnosers.json"
    value = {k: part for k, part in json.loads(file.read_text()).items() if k != "sha256"}
    file.write_text(json.dumps(sealed({**value, "tensors": digest})))


@pytest.mark.parametrize("key", ["location/scan/weights", "location/scan/scores"])
@pytest.mark.parametrize("what", ["NaN", "infinity", "another width", "another type", "one too many"])
def test_tensors_that_cannot_be_are_refused_even_where_the_checksum_fits(stored: Path, key: str, what: str) -> None:
    def change(tensors: dict[str, Any]) -> None:
        if what in ("NaN", "infinity"):
            tensors[key][0, 0] = np.nan if what == "NaN" else np.inf
        elif what == "another width":
            tensors[key] = tensors[key][:3]
        elif what == "another type":
            tensors[key] = tensors[key].astype(np.float64)
        else:
            tensors["more"] = tensors[key]

    _rewritten(stored, change)
    with pytest.raises(ArchiveError, match=r"probes\.safetensors: the probe is damaged"):
        load_diagnosers(stored, WIDTHS)


@pytest.mark.parametrize(
    ("row", "value"),
    [(0, 2), (0, -1), (0, 0.5), (1, 0), (1, -1), (1, 2), (2, 1.5), (2, -0.1), (3, 1.5)],
    ids=["class-3", "class-", "class-half", "weight-0", "weight-", "weight-2", "pool-1.5", "pool-", "vote-1.5"],
)
def test_scores_of_no_patient_are_refused_in_one_line(stored: Path, row: int, value: float) -> None:
    """By them a class would be ruled out for a patient."""

    def change(tensors: dict[str, Any]) -> None:
        tensors["location/scan/scores"][row, 7] = value

    _rewritten(stored, change)
    with pytest.raises(ArchiveError, match=r"probes\.safetensors: the probe is damaged") as refused:
        load_diagnosers(stored, WIDTHS)
    assert "\n" not in str(refused.value)
    assert "medclip index compact" in str(refused.value)


def test_what_is_of_another_model_is_refused(stored: Path) -> None:
    with pytest.raises(ArchiveError, match="is of another model"):
        load_diagnosers(stored, {**WIDTHS, "scan": 5})


def test_what_an_older_medclip_wrote_is_told_apart(stored: Path) -> None:
    file = stored / "diagnosers.json"
    for older in (
        {"diagnosers": []},
        sealed({"diagnosers": [], "tensors": None}),
        sealed({"format": 2}),
        sealed({"format": 3}),
    ):
        file.write_text(json.dumps(older))
        assert load_diagnosers(stored, WIDTHS) is None


def test_others_may_read_what_the_umask_lets_them(stored: Path) -> None:
    modes = {(stored / name).stat().st_mode & 0o777 for name in ("diagnosers.json", "probes.safetensors")}
    assert len(modes) == 1
