"""What commands remember of each other, as a user sees it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medclip.assistant import Assistant
from medclip.files import remembered


@pytest.fixture
def known(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index whose model was found well before."""
    monkeypatch.setattr(remembered, "_SETTLED", 0)
    Assistant.open(kept / "index")
    return kept / "index"


def _spoil(file: Path) -> None:
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_model_that_changed_since_is_refused(known: Path, medclip: Callable, refused: Callable) -> None:  # type: ignore[type-arg]
    asked = ("query", known, "--text", "a round cyst")
    assert medclip(*asked).code == 0
    _spoil(known / "model" / "text_tower.onnx")
    said = refused(medclip(*asked))
    assert str(known / "model" / "text_tower.onnx") in said
    assert "has changed since it was written" in said


def test_verify_looks_at_a_model_that_a_command_does_not_need(
    known: Path, medclip: Callable, refused: Callable
) -> None:  # type: ignore[type-arg]
    _spoil(known / "model" / "text_tower.onnx")
    asked = ("similar", known, "c1")
    assert medclip(*asked).code == 0
    assert "text_tower.onnx: has changed" in refused(medclip(*asked, "--verify"))


def test_verify_says_what_a_query_without_it_says(known: Path, medclip: Callable) -> None:  # type: ignore[type-arg]
    asked = ("query", known, "--text", "a round cyst", "--json")
    assert medclip(*asked, "--verify").out == medclip(*asked).out


@pytest.mark.parametrize("option", [(), ("--verify",)])
def test_a_server_ends_by_a_model_that_is_refused(known: Path, tmp_path: Path, option: tuple[str, ...]) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    _spoil(known / "model" / "text_tower.onnx")
    medclip = [sys.executable, "-P", "-c", "from medclip.cli.app import main; main()"]
    served = ["serve", str(known), "--port", str(_free()), "--audit-log", str(tmp_path / "audit.jsonl"), *option]
    done = subprocess.run([*medclip, *served], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    [said] = done.stderr.splitlines()
    assert said.startswith("medclip: ")
    assert "text_tower.onnx: has changed" in said


def _free() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
