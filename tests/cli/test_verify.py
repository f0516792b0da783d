"""What ``medclip index verify`` looks at, and what ``import`` believes, on a real index."""

import base64
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medclip.errors import ArchiveError, BundleError, MedclipError


@pytest.fixture
def copy(tiny_index: Path, tmp_path: Path) -> Path:
    """An index folder that a test may spoil."""
    return Path(shutil.copytree(tiny_index, tmp_path / "copy"))


def _flip(file: Path, position: int = -30) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["probe/probes.safetensors", "probe/diagnosers.json", "vocabulary.json", "index.json", "model/serving.json",
     "model/text_head.onnx", "model/probes.safetensors", "catalogue.sqlite", "map.safetensors"],
)  # fmt: skip
def test_one_changed_bit_is_found_in_every_file(copy: Path, name: str) -> None:
    from medclip.archive.verify import verify_index

    _flip(copy / name, 100 if name == "catalogue.sqlite" else -30)
    try:
        faults = verify_index(copy).faults
    except MedclipError as error:
        faults = [str(error)]
    assert any(str(copy / name.split("/")[0]) in fault or name in fault for fault in faults), faults


def test_a_damaged_probe_is_a_fault_and_answers_nobody(
    copy: Path, medclip: Callable[..., Any], refused: Callable[..., str]
) -> None:
    assert f"{copy}: verified" in medclip("index", "verify", copy).out
    _flip(copy / "probe" / "probes.safetensors")
    ran = medclip("index", "verify", copy, "--json")
    assert ran.code == 1
    assert "probes.safetensors: the probe is damaged" in json.loads(ran.out)["faults"][0]
    assert "medclip index compact" in refused(medclip("query", copy, "--text", "a nodule"))
    assert medclip("index", "compact", copy).code == 0
    assert medclip("query", copy, "--text", "a nodule").code == 0


def test_what_has_no_checksum_and_what_is_not_known_is_said(copy: Path, medclip: Callable[..., Any]) -> None:
    for name in ("index.json", "probe/diagnosers.json", "vocabulary.json"):
        value = {key: part for key, part in json.loads((copy / name).read_text()).items() if key != "sha256"}
        if "diagnosers" in value:
            value = {"diagnosers": []}
        (copy / name).write_text(json.dumps(value.get("words", value)))
    (copy / "notes.txt").write_text("mine")
    ran = medclip("index", "verify", copy, "--json")
    assert ran.code == 0
    notes = json.loads(ran.out)["notes"]
    assert [note.split(":")[0] for note in notes] == [
        str(copy / name) for name in ("index.json", "probe/diagnosers.json", "vocabulary.json", "notes.txt")
    ]
    assert medclip("index", "compact", copy).code == 0
    assert [note.split(":")[0] for note in json.loads(medclip("index", "verify", copy, "--json").out)["notes"]] == [
        str(copy / "notes.txt")
    ]
    backup = copy.parent / "backup"
    assert medclip("index", "backup", copy, "--out", backup).code == 0
    assert not (backup / "notes.txt").exists()


@pytest.mark.parametrize(
    "name",
    ["probe/diagnosers.json", "probe/probes.safetensors", "model/serving.json", "vocabulary.json", "map.safetensors"],
)
def test_a_pipe_hangs_nothing(copy: Path, name: str) -> None:
    from medclip.archive.verify import verify_index

    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(ArchiveError, match="no plain file"):
        verify_index(copy)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can read as another user")
def test_colleagues_can_ask_and_what_they_may_not_read_is_named(tiny_index: Path, shared_place: Path) -> None:
    import multiprocessing

    copy = Path(shutil.copytree(tiny_index, shared_place / "copy"))
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    context.Process(target=_ask_as_nobody, args=(copy, theirs), daemon=True).start()
    for name in ("", "probe/probes.safetensors", "model/text_head.onnx", "index.json", "catalogue.sqlite", "probe"):
        before = (copy / name).stat().st_mode
        if name:
            (copy / name).chmod(0o600)
        mine.send("ask")
        assert mine.poll(90)
        said = mine.recv()
        (copy / name).chmod(before)
        if name:
            assert "no permission to read it" in said
            assert str(copy / name.split("/")[0]) in said
        else:
            assert said == "answered"


def _ask_as_nobody(folder: Path, pipe: Any) -> None:
    from medclip.assistant.assistant import Assistant

    Assistant.open(folder).query([], ["a round nodule"])  # loads what nobody may not read: Python's own modules
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    while pipe.recv():
        try:
            Assistant.open(folder).query([], ["a round nodule"])
            pipe.send("answered")
        except (ArchiveError, BundleError) as error:
            pipe.send(str(error))


# ---- import


@pytest.fixture(scope="module")
def exported(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from medclip.archive.moving import export_index

    out = tmp_path_factory.mktemp("export") / "e.gz"
    export_index(tiny_index, out)
    return out


def _forged(exported: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The export with its first case changed, and a checksum that fits: anybody can make one."""
    head, first, *rest = gzip.decompress(exported.read_bytes()).decode().splitlines()
    case = json.loads(first.partition(" ")[2])
    change(case)
    text = json.dumps(case, sort_keys=True)
    line = f"{hashlib.sha256(text.encode()).hexdigest()[:32]} {text}"
    out.write_bytes(gzip.compress(("\n".join([head, line, *rest]) + "\n").encode(), 1))
    return out


def _jpeg(content: bytes) -> Callable[[dict[str, Any]], None]:
    return lambda case: case.update(thumbnails={"0": base64.b64encode(content).decode()})


def _zeros(vector: str) -> str:
    return base64.b64encode(bytes(len(base64.b64decode(vector)))).decode()


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "of another case": lambda case: case["document"].update(id="another"),
    "case or patient": lambda case: case["document"].update(patient="another"),
    "is no case": lambda case: case["document"].update(scans="none"),
    "document is no case": lambda case: case["document"].update(more=1),
    "its labels": lambda case: case["labels"].update(finding="none at all"),
    "labels of a vector": lambda case: case["views"][0][2].update(finding="none at all"),
    "that its document lacks": lambda case: case["views"][0].__setitem__(1, 99),
    "another width": lambda case: case["views"][0].__setitem__(3, base64.b64encode(bytes(16)).decode()),
    "no small JPEG": _jpeg(b"<script>alert(1)</script>"),
    "small JPEG": _jpeg(b"\xff\xd8" + bytes(300_000)),
    "is damaged after": lambda case: case["facts"].update(age=[10**400]),
    "is damaged": lambda case: case["document"].update(source="\ud800"),
    "cannot be indexed": lambda case: case["views"][0].__setitem__(3, _zeros(case["views"][0][3])),
}  # fmt: skip


@pytest.mark.parametrize("fault", FORGERIES)
def test_a_forged_export_is_refused_though_its_checksums_fit(
    tiny_index: Path, exported: Path, tmp_path: Path, fault: str
) -> None:
    from medclip.archive.build import Place
    from medclip.archive.moving import import_index

    file = _forged(exported, tmp_path / "forged.gz", FORGERIES[fault])
    with pytest.raises(ArchiveError, match=fault):
        import_index(file, tiny_index, tmp_path / "out", Place())
    assert [path.name for path in tmp_path.iterdir()] == ["forged.gz"]


def test_what_filters_and_words_go_by_is_made_of_the_document(tiny_index: Path, exported: Path, tmp_path: Path) -> None:
    from medclip.archive.build import Place
    from medclip.archive.moving import import_index
    from medclip.index import CaseIndex

    def change(case: dict[str, Any]) -> None:
        case["facts"], case["text"] = {"modality": ["forged"]}, "forged"

    import_index(_forged(exported, tmp_path / "e.gz", change), tiny_index, tmp_path / "out", Place())
    whole, again = CaseIndex.open(tiny_index), CaseIndex.open(tmp_path / "out")
    assert [repr(record) for record in again.records()] == [repr(record) for record in whole.records()]
    whole.close()
    again.close()
