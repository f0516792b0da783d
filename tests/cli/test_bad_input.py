"""Bad input: one line, exit code 2, nothing half-written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medclip.cases import Case
from medclip.files.sealed import read_sealed, sealed

Medclip = Callable  # type: ignore[type-arg]


@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_a_bad_scan(
    content: bytes | None, tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.png"
    if content is not None:
        scan.write_bytes(content)
    page = tmp_path / "page.html"
    assert "scan.png" in refused(medclip("query", tiny_index, "--scan", scan, "--html", page))
    assert not page.exists()


def test_a_truncated_scan(
    tiny_index: Path, sample: Path, unseen: Case, medclip: Medclip, refused: Medclip, tmp_path: Path
) -> None:
    whole = (sample / unseen.scans[0].file).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    assert "half.png" in refused(medclip("query", tiny_index, "--scan", tmp_path / "half.png"))


def test_texts(index: Path, tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path) -> None:
    assert "empty" in refused(medclip("query", tiny_index, "--text", "  "))
    assert "cannot read" in refused(medclip("query", index, "--text", "右肺上叶可见结节影，未见胸腔积液。"))
    assert "nothing to ask" in refused(medclip("query", tiny_index))
    assert "missing.txt" in refused(medclip("query", tiny_index, "--text-file", tmp_path / "missing.txt"))
    (tmp_path / "latin.txt").write_bytes("Läsion".encode("latin-1"))
    assert "UTF-8" in refused(medclip("query", tiny_index, "--text-file", tmp_path / "latin.txt"))
    (tmp_path / "long.txt").write_text("The lungs are clear. No effusion. " * 3000)
    assert medclip("query", tiny_index, "--text-file", tmp_path / "long.txt", "--json").code == 0
    (tmp_path / "endless.txt").write_text("clear " * 200_000)
    assert "characters" in refused(medclip("query", tiny_index, "--text-file", tmp_path / "endless.txt"))


def test_what_is_no_index_or_case(tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path) -> None:
    assert "not an index" in refused(medclip("query", tmp_path, "--text", "x y z"))
    assert "nobody" in refused(medclip("similar", tiny_index, "nobody"))
    assert "'mood'" in refused(medclip("query", tiny_index, "--text", "nodule", "--label", "mood"))


def test_an_index_whose_model_was_swapped(tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_index, tmp_path / "index")
    manifest = read_sealed(copy / "index.json").value
    (copy / "index.json").write_text(json.dumps(sealed({**manifest, "fingerprint": "0" * 64})))
    assert "another model" in refused(medclip("query", copy, "--text", "nodule"))


def test_an_index_with_a_damaged_model(tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_index, tmp_path / "index")
    head = copy / "model" / "scan_head.onnx"
    content = bytearray(head.read_bytes())
    content[len(content) // 2] ^= 1
    head.write_bytes(content)
    assert "scan_head.onnx" in refused(medclip("query", copy, "--text", "nodule"))


def test_a_bad_line_in_a_manifest(
    sample: Path, tiny_model: Path, medclip: Medclip, refused: Medclip, tmp_path: Path
) -> None:
    cases = shutil.copytree(sample, tmp_path / "cases")
    with (cases / "cases.jsonl").open("a") as handle:
        handle.write('{"id": "late", "age": "seventy"}\n')
    out = tmp_path / "index"
    assert "line 161" in refused(medclip("index", "build", cases, "--model", tiny_model, "--out", out))
    assert "line 161" in refused(medclip("train", cases, "--out", tmp_path / "m", "--device", "cpu"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases"]


def test_unreadable_parts_are_skipped_and_counted(
    sample: Path, tiny_model: Path, medclip: Medclip, tmp_path: Path
) -> None:
    cases = shutil.copytree(sample, tmp_path / "cases")
    lines = (cases / "cases.jsonl").read_text().splitlines()[:30]
    first, second = json.loads(lines[0]), json.loads(lines[1])
    for scan in first["scans"]:
        (cases / scan["file"]).write_bytes(b"")
    second["notes"] = []
    second["scans"] = [{"file": "scans/gone.png"}]
    (cases / "cases.jsonl").write_text("\n".join([lines[0], json.dumps(second), *lines[2:]]) + "\n")
    done = medclip("index", "build", cases, "--model", tiny_model, "--out", tmp_path / "index", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["cases"] == 29
    assert list(report["skipped"]) == [second["id"]]
    assert list(report["partial"]) == [first["id"]]


def test_an_output_that_exists(
    sample: Path, tiny_model: Path, tiny_index: Path, medclip: Medclip, refused: Medclip, tmp_path: Path
) -> None:
    before = (tiny_index / "index.json").read_bytes()
    assert "--force" in refused(medclip("index", "build", sample, "--model", tiny_model, "--out", tiny_index))
    assert (tiny_index / "index.json").read_bytes() == before
    assert "--force" in refused(medclip("cases", "import", "sample", "--out", sample))
    assert "--force" in refused(medclip("train", sample, "--out", tiny_model, "--device", "cpu"))
    (tmp_path / "precious.txt").write_text("mine")
    assert "not replaced" in refused(medclip("cases", "import", "sample", "--out", tmp_path, "--force"))
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert "does not exist" in refused(medclip("cases", "import", "sample", "--out", tmp_path / "a" / "b"))


def test_a_disk_that_is_full(few: Path, tiny_model: Path, hub_layout: Path, tmp_path: Path) -> None:
    """The system's own refusal, met half-way: a file may not grow past a limit that the model exceeds."""
    import resource
    import subprocess
    import sys

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = Path(sys.executable).with_name("medclip")
    trained = ["train", few, "--towers", f"local-dir:{hub_layout}", "--device", "cpu"]
    for arguments in (["index", "build", few, "--model", tiny_model], trained):
        done = subprocess.run(
            [str(command), *map(str, arguments), "--out", str(tmp_path / "new")],
            capture_output=True, text=True, check=False, preexec_fn=limit,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "disk is full" in done.stderr
        assert not (tmp_path / "new").exists()
        assert not list(tmp_path.glob(".new*"))


def test_labels_that_occur_once_do_not_stop_a_build(
    sample: Path, tiny_model: Path, medclip: Medclip, tmp_path: Path
) -> None:
    cases = shutil.copytree(sample, tmp_path / "cases")
    rows = [json.loads(line) for line in (cases / "cases.jsonl").read_text().splitlines()[:40]]
    for i, row in enumerate(rows):
        row["labels"]["rare"] = f"class {i}"
    (cases / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    done = medclip("index", "build", cases, "--model", tiny_model, "--out", tmp_path / "index", "--json")
    assert done.code == 0, done.err
    assert "rare" not in json.loads(done.out)["label_sets"]


@pytest.mark.slow
def test_help_of_every_command(medclip: Medclip) -> None:
    for command in ([], ["cases"], ["model"], ["index"], ["train"], ["query"], ["similar"], ["evaluate"], ["demo"]):
        done = medclip(*command, "--help")
        assert done.code == 0
        assert "Usage: medclip" in done.out
    assert medclip("query").code == 2
    assert medclip("--version").out.startswith("medclip 0.")
