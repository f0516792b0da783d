"""A model is verified once: what was found well is remembered as long as no file of it changes."""

import os
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from medclip.archive.verify import verify_index
from medclip.assistant import Assistant
from medclip.bundle import serving, verified
from medclip.bundle.layout import ServingLayout, ServingManifest
from medclip.bundle.serving import ServingModel
from medclip.errors import BundleError
from medclip.files import remembered
from medclip.files.remembered import Deed, Memory, deed_of, user_memory


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and files that are as good as old."""
    folder = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(remembered, "_SETTLED", 0)
    return folder / "medclip" / "verified"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose checksums are compared, and ``references`` whenever they are recomputed."""
    found: list[str] = []
    check, recompute = serving.check_file, ServingModel._verified

    def checked(file: Path, *rest: Any) -> None:
        found.append(file.name)
        check(file, *rest)

    def recomputed(self: ServingModel, *rest: Any) -> float:
        found.append("references")
        return recompute(self, *rest)

    monkeypatch.setattr(serving, "check_file", checked)
    monkeypatch.setattr(ServingModel, "_verified", recomputed)
    return found


def _spoil(file: Path) -> None:
    """Change one byte, and put size and time back."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _deeds(model: Path) -> list[Deed]:
    manifest = ServingManifest.model_validate_json(ServingLayout(model).manifest.read_bytes())
    same = {"manifest": manifest.fingerprint, "medclip": verified.__version__}
    found = [
        verified._deed("checksums", model, manifest, same),
        verified._deed("references", model, manifest, {**same, **verified.computed_by()}),
    ]
    return [one for one in found if one is not None]


def test_what_was_found_well_is_not_verified_again(kept: Path, looked_at: list[str]) -> None:
    Assistant.open(kept / "index")
    assert {"text_tower.onnx", "references"} <= {*looked_at}
    looked_at.clear()
    assert Assistant.open(kept / "index").query(history=["a round cyst"]).answer.similar
    assert looked_at == []


@pytest.mark.parametrize("name", ["scan_tower.onnx", "text_head.onnx", "tokenizer.json", "probes.safetensors"])
def test_a_changed_byte_is_noticed_whatever_size_and_time_say(kept: Path, name: str) -> None:
    Assistant.open(kept / "index")
    _spoil(kept / "index" / "model" / name)
    with pytest.raises(BundleError, match=re.escape(name) + ": has changed"):
        Assistant.open(kept / "index")


def test_another_manifest_is_verified_anew(kept: Path, looked_at: list[str]) -> None:
    Assistant.open(kept / "index")
    looked_at.clear()
    file = kept / "index" / "model" / "serving.json"
    file.write_bytes(file.read_bytes() + b"\n")
    Assistant.open(kept / "index")
    assert {"text_tower.onnx", "references"} <= {*looked_at}


def test_a_copy_is_verified_anew(kept: Path, looked_at: list[str]) -> None:
    Assistant.open(kept / "index")
    looked_at.clear()
    (kept / "index").rename(kept / "moved")
    Assistant.open(kept / "moved")
    assert "text_tower.onnx" in looked_at


def test_other_versions_of_what_computes_recompute_the_references(
    kept: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Assistant.open(kept / "index")
    looked_at.clear()
    monkeypatch.setattr(serving, "computed_by", lambda: {**verified.computed_by(), "onnxruntime": "another"})
    Assistant.open(kept / "index")
    assert looked_at == ["references"]


def test_verify_looks_at_all_of_it_and_forgets_what_it_finds_damaged(kept: Path, looked_at: list[str]) -> None:
    """As where a disk changed what nobody wrote, so that no time of the file tells."""
    folder, memory = kept / "index", user_memory()
    Assistant.open(folder)
    looked_at.clear()
    Assistant.open(folder, verify=True)
    assert {"text_tower.onnx", "references"} <= {*looked_at}
    _spoil(folder / "model" / "text_tower.onnx")
    for deed in _deeds(folder / "model"):
        memory.keep(deed)
    Assistant.open(folder)
    assert any("text_tower.onnx: has changed" in fault for fault in verify_index(folder).faults)
    with pytest.raises(BundleError, match="has changed"):
        Assistant.open(folder)


def test_what_is_remembered_says_nothing_and_is_the_users_alone(kept: Path, own_cache: Path) -> None:
    Assistant.open(kept / "index").query(history=["a round cyst"])
    deeds = list(own_cache.iterdir())
    assert len(deeds) >= 2
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o700
    for one in deeds:
        assert re.fullmatch("[0-9a-f]{64}", one.name)
        assert (stat.S_IMODE(one.stat().st_mode), one.stat().st_size) == (0o600, 0)


@pytest.mark.parametrize("place", ["a file", "a link", "for all", "no home"])
def test_where_nothing_can_be_kept_every_command_verifies(
    place: str, kept: Path, looked_at: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:  # fmt: skip
    cache = tmp_path / "cache"
    if place == "a file":
        cache.write_text("taken")
    elif place == "no home":
        monkeypatch.setattr(Path, "home", _no_home)
    else:
        (cache / "medclip").mkdir(parents=True)
        (tmp_path / "open").mkdir(mode=0o700)
        (cache / "medclip" / "verified").symlink_to(tmp_path / "open")
        if place == "for all":
            (cache / "medclip" / "verified").unlink()
            (cache / "medclip" / "verified").mkdir()
            (cache / "medclip" / "verified").chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", "" if place == "no home" else str(cache))
    for _ in range(2):
        looked_at.clear()
        assert Assistant.open(kept / "index").query(history=["a round cyst"]).answer.similar
        assert "references" in looked_at
    assert not [one for one in recwarn if "cache" in str(one.message)]
    assert list((tmp_path / "open").glob("*")) == []


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_file_that_just_changed_is_not_vouched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_SETTLED", 60 * 10**9)
    memory, file = Memory(tmp_path / "memory"), tmp_path / "file"
    file.touch()
    memory.keep(deed_of("looked at", [file], {}))
    assert not memory.knows(deed_of("looked at", [file], {}))


def test_the_oldest_is_forgotten_where_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST", 3)
    memory = Memory(tmp_path / "memory")
    deeds = [deed_of(f"deed {number}", [], {}) for number in range(6)]
    for number, deed in enumerate(deeds):
        memory.keep(deed)
        os.utime(tmp_path / "memory" / deed.name, (number, number))
    memory.keep(deed_of("the last", [], {}))
    assert [memory.knows(deed) for deed in deeds] == [False] * 4 + [True] * 2


def test_many_may_remember_at_once(tmp_path: Path) -> None:
    memory, deeds = Memory(tmp_path / "memory"), [deed_of(f"deed {number % 8}", [], {}) for number in range(200)]
    keep: Callable[[Deed], None] = memory.keep
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(keep, deeds))
    assert all(map(memory.knows, deeds))
    assert len(list((tmp_path / "memory").iterdir())) == 8
