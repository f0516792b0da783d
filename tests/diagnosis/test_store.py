"""A probe that is not as it was written answers nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.diagnosis.combination import Combination
from medclip.diagnosis.diagnoser import Diagnoser, Part
from medclip.diagnosis.probe import Probe
from medclip.diagnosis.store import load_diagnosers, save_diagnosers
from medclip.errors import ArchiveError
from medclip.files.sealed import sealed
from medclip.files.tensors import read_tensors, write_tensors


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    probe = Probe(rng.normal(size=(4, 2)).astype(np.float32), np.zeros(2, np.float32))
    part = Part(probe, Combination(0.5, 1.2), 0.9, 0.05, 40)
    classes = ("Abdomen", "Thorax")
    diagnoser = Diagnoser("location", classes, np.asarray([0.5, 0.5]), dict.fromkeys(classes, 20), {"scan": part})
    save_diagnosers([diagnoser], tmp_path)
    return tmp_path


def test_one_changed_bit_anywhere_is_noticed(stored: Path) -> None:
    before = repr(load_diagnosers(stored, 4))
    for name in ("diagnosers.json", "probes.safetensors"):
        content = (stored / name).read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1 << position % 8
            (stored / name).write_bytes(changed)
            try:
                assert repr(load_diagnosers(stored, 4)) == before, "read as if nothing were amiss, and it is"
            except ArchiveError as error:
                assert str(error).startswith(str(stored / name).removesuffix(name))  # noqa: PT017
        (stored / name).write_bytes(content)
    assert repr(load_diagnosers(stored, 4)) == before


def test_classes_in_another_order_are_noticed(stored: Path) -> None:
    file = stored / "diagnosers.json"
    value = json.loads(file.read_text())
    value["diagnosers"][0]["classes"].reverse()
    file.write_text(json.dumps(value))
    with pytest.raises(ArchiveError, match="has changed since it was written"):
        load_diagnosers(stored, 4)


def _set(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return change


_ONE = ("diagnosers", 0)
_PART = (*_ONE, "parts", "scan")


@pytest.mark.parametrize(
    "change",
    [
        _set((*_ONE, "classes"), ["Abdomen"]), _set((*_ONE, "classes"), ["Abdomen", "Head"]),
        _set((*_ONE, "classes"), ["Abdomen", "Abdomen"]), _set((*_ONE, "patients"), {"Abdomen": 20, "Thorax": 0}),
        _set((*_PART, "temperature"), 0), _set((*_PART, "temperature"), -1.0), _set((*_PART, "vote_weight"), 1.5),
        _set((*_PART, "examples"), "many"), _set(("diagnosers",), {}), _set(("tensors",), None), _set((*_ONE, "more"), 1),
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
        load_diagnosers(stored, 4)


@pytest.mark.parametrize("what", ["NaN", "infinity", "another width", "another type", "one too many"])
def test_tensors_that_cannot_be_are_refused_even_where_the_checksum_fits(stored: Path, what: str) -> None:
    tensors = read_tensors(stored / "probes.safetensors", None)
    key = "location/scan/weights"
    weights = tensors[key].copy()
    if what in ("NaN", "infinity"):
        weights[0, 0] = np.nan if what == "NaN" else np.inf
    elif what == "another width":
        weights = weights[:3]
    elif what == "another type":
        weights = weights.astype(np.float64)
    else:
        tensors["more"] = weights
    digest = write_tensors(stored / "probes.safetensors", {**tensors, key: weights})
    file = stored / "diagnosers.json"
    value = {k: part for k, part in json.loads(file.read_text()).items() if k != "sha256"}
    file.write_text(json.dumps(sealed({**value, "tensors": digest})))
    with pytest.raises(ArchiveError, match=r"probes\.safetensors: the probe is damaged"):
        load_diagnosers(stored, 4)


def test_what_an_older_medclip_wrote_is_read(stored: Path) -> None:
    before = repr(load_diagnosers(stored, 4))
    file = stored / "diagnosers.json"
    value = json.loads(file.read_text())
    file.write_text(json.dumps({"diagnosers": value["diagnosers"]}))
    assert repr(load_diagnosers(stored, 4)) == before


def test_others_may_read_what_the_umask_lets_them(stored: Path) -> None:
    modes = {(stored / name).stat().st_mode & 0o777 for name in ("diagnosers.json", "probes.safetensors")}
    assert len(modes) == 1
