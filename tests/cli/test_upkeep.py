"""Keeping an index current from the command line."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclip.cases import read_cases
from medclip.index import CaseIndex


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index, tmp_path / "index"))


@pytest.fixture
def cases(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "cases"))


def _json(ran: Any) -> Any:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_add_embeds_only_what_is_new_and_update_only_what_changed(
    medclip: Callable[..., Any], copy: Path, cases: Path
) -> None:
    before = _json(medclip("index", "stats", copy, "--json"))
    change = _json(medclip("index", "add", copy, cases, "--split", "dev", "--json"))
    dev = [case.id for case in read_cases(cases) if case.split == "dev"]
    assert (sorted(change["written"]), change["unchanged"]) == (sorted(dev), [])
    assert _json(medclip("index", "add", copy, cases, "--split", "dev", "--json"))["written"] == []
    after = _json(medclip("index", "stats", copy, "--json"))
    assert (after["cases"], after["generation"]) == (before["cases"] + len(dev), before["generation"] + 1)
    assert {"patients", "views", "structure", "bytes"} <= set(after)

    lines = (cases / "cases.jsonl").read_text().splitlines()
    changed = [json.loads(line) for line in lines]
    wrong = next(case for case in changed if case["id"] == dev[0])
    wrong["labels"]["finding"] = "corrected"
    scan = cases / next(case for case in changed if case["id"] == dev[1])["scans"][0]["file"]
    shutil.copy(cases / changed[0]["scans"][0]["file"], scan)
    (cases / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in changed))
    left = _json(medclip("index", "add", copy, cases, "--split", "dev", "--json"))
    assert set(left["left"]) == set(dev[:2])
    change = _json(medclip("index", "update", copy, cases, "--split", "dev", "--json"))
    assert (sorted(change["written"]), len(change["unchanged"])) == (sorted(dev[:2]), len(dev) - 2)
    opened = CaseIndex.open(copy)
    assert opened.record(dev[0]).labels["finding"] == "corrected"
    opened.close()
    assert medclip("index", "verify", copy).code == 0


def test_a_patient_is_removed_and_it_is_shown(
    medclip: Callable[..., Any], refused: Callable[..., str], copy: Path, unseen: Any
) -> None:
    opened = CaseIndex.open(copy)
    record = next(iter(opened.records()))
    opened.close()
    removal = _json(medclip("index", "remove", copy, "--patient", record.patient, "--json"))
    assert record.id in [one["case_id"] for one in removal["removed"]]
    assert all(one["vectors"] > 0 for one in removal["removed"])
    assert removal["traces"]
    answer = _json(medclip("query", copy, "--text", "a round nodule", "-k", 500, "--json"))
    assert record.id not in [case["case_id"] for case in answer["similar"]]
    line = refused(medclip("index", "remove", copy, "--patient", record.patient))
    assert "that patient" in line
    assert record.patient not in line
    assert "check the id" in refused(medclip("index", "remove", copy, "no-such-case"))
    assert "nothing to remove" in refused(medclip("index", "remove", copy))
    compacted = _json(medclip("index", "compact", copy, "--json"))
    assert "finding" in compacted["label_sets"]
    assert medclip("query", copy, "--text", "a round nodule").code == 0
    del unseen


def test_a_query_may_be_narrowed(medclip: Callable[..., Any], refused: Callable[..., str], index: Path) -> None:
    answer = _json(medclip("query", index, "--text", "a nodule", "--where", "label.location = 'Head'", "--json"))
    assert len(answer["similar"]) == 10
    assert {case["labels"]["location"] for case in answer["similar"]} == {"Head"}
    other = answer["similar"][0]["case_id"]
    answer = _json(medclip("similar", index, other, "--where", "not label.location = 'Head' and age >= 50", "--json"))
    assert all(case["labels"]["location"] != "Head" and case["age"] >= 50 for case in answer["similar"])
    assert "there is no field 'colour'" in refused(medclip("query", index, "--text", "x", "--where", "colour = 'red'"))
    assert "cannot be understood" in refused(
        medclip("query", index, "--text", "x", "--where", "age = 1); DROP TABLE cases; --")
    )


def test_a_backup_and_a_move_to_milvus_and_back_hold_the_same(
    medclip: Callable[..., Any], refused: Callable[..., str], index: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    assert medclip("index", "backup", index, "--out", tmp_path / "backup").code == 0
    assert "already exists" in refused(medclip("index", "backup", index, "--out", tmp_path / "backup"))
    export = tmp_path / "cases.jsonl.gz"
    assert medclip("index", "export", index, "--out", export).code == 0
    moved = tmp_path / "milvus"
    uri = tmp_path / "cases.db"
    ran = medclip("index", "import", export, "--like", index, "--out", moved, "--backend", "milvus", "--uri", uri)
    assert ran.code == 0, ran.err
    again = tmp_path / "again.jsonl.gz"
    assert medclip("index", "export", moved, "--out", again).code == 0
    back = tmp_path / "back"
    assert medclip("index", "import", again, "--like", moved, "--out", back).code == 0
    # Each backend scores words in its own way, so the vectors alone are compared.
    ask = ("--text", "a round nodule of the lung", "--no-words", "--where", "age >= 40 and modality = 'CT'", "--json")
    answers = [_json(medclip("query", one, *ask)) for one in (index, tmp_path / "backup", moved, back)]
    for answer in answers:
        assert "since its answers were fitted" not in " ".join(answer["cautions"]), "the same cases, elsewhere"
    found = [{case["case_id"]: case["similarity"] for case in answer["similar"]} for answer in answers]
    for one in found[1:]:  # cases as similar as each other may change places: each library sums in its own order
        assert one == pytest.approx(found[0], abs=1e-5)
    content = bytearray(export.read_bytes())
    content[len(content) // 2] ^= 4
    export.write_bytes(content)
    assert "damaged" in refused(medclip("index", "import", export, "--like", index, "--out", tmp_path / "broken"))
    assert not (tmp_path / "broken").exists()


def test_an_answer_says_that_the_cases_changed_since_it_was_fitted(
    medclip: Callable[..., Any], copy: Path, cases: Path, tmp_path: Path
) -> None:
    def cautions() -> str:
        asked = _json(medclip("query", copy, "--text", "a round nodule of the lung", "--json"))
        return " ".join(asked["cautions"])

    fitted = _json(medclip("index", "stats", copy, "--json"))["cases"]
    assert "since its answers were fitted" not in cautions()
    export = tmp_path / "before.gz"
    assert medclip("index", "export", copy, "--out", export).code == 0
    added = _json(medclip("index", "add", copy, cases, "--split", "dev", "--json"))["written"]
    told = f"changed since its answers were fitted ({fitted} cases then, {fitted + len(added)} now)"
    assert told in cautions()
    assert told in " ".join(medclip("index", "info", copy).out.split())
    assert told in " ".join(_json(medclip("similar", copy, added[0], "--json"))["cautions"])
    assert medclip("index", "import", export, "--like", copy, "--out", tmp_path / "earlier").code == 0
    earlier = _json(medclip("query", tmp_path / "earlier", "--text", "a round nodule of the lung", "--json"))
    assert "since its answers were fitted" not in " ".join(earlier["cautions"]), "those among which they were fitted"
    assert medclip("index", "remove", copy, added[0]).code == 0
    assert "since its answers were fitted" in cautions()
    assert medclip("index", "compact", copy).code == 0
    assert "since its answers were fitted" not in cautions()
    record = copy / "probe" / "fitted.json"
    record.write_text(record.read_text().replace('"cases": ', '"cases": 1'))
    assert medclip("index", "verify", copy).code == 1
    record.unlink()
    assert "not known whether this index' cases changed" in cautions()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_export_and_an_import_report_as_json(index: Path, tmp_path: Path, medclip: Callable[..., Any]) -> None:
    export, moved = tmp_path / "cases.jsonl.gz", tmp_path / "moved"
    exported = json.loads(medclip("index", "export", index, "--out", export, "--json").out)
    made = json.loads(medclip("index", "import", export, "--like", index, "--out", moved, "--json").out)
    held = json.loads(medclip("index", "stats", moved, "--json").out)
    assert exported == {"file": str(export), "cases": held["cases"]}
    assert (made["cases"], made["views"]) == (held["cases"], held["views"])


def test_a_milvus_server_that_is_down_or_goes_down_loses_nothing(
    medclip: Callable[..., Any], refused: Callable[..., str], index: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    port = _free_port()
    command = [str(Path(sys.executable).with_name("milvus-lite")), "server", "--data-dir", str(tmp_path / "data"),
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip

    def start() -> "subprocess.Popen[bytes]":
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return server
            time.sleep(0.1)
        raise AssertionError("the Milvus server did not start")

    server = start()
    try:
        export, moved = tmp_path / "e.gz", tmp_path / "moved"
        assert medclip("index", "export", index, "--out", export).code == 0
        uri = f"http://127.0.0.1:{port}"
        files = f"file://{tmp_path / 'objects'}"
        ran = medclip("index", "import", export, "--like", index, "--out", moved, "--backend", "milvus", "--uri", uri,
                      "--files", files)  # fmt: skip
        assert ran.code == 0, ran.err
        before = _json(medclip("index", "stats", moved, "--json"))["cases"]
        opened = CaseIndex.open(moved)
        new = next(iter(opened.entries()))
        insert = opened._backend._client.insert  # type: ignore[attr-defined]

        def insert_and_die(*given: Any) -> Any:
            done = insert(*given)
            server.send_signal(signal.SIGKILL)
            server.wait()
            return done

        opened._backend._client.insert = insert_and_die  # type: ignore[attr-defined]
        from dataclasses import replace

        with pytest.raises(Exception, match="Milvus cannot be reached"):
            opened.add([replace(new, record=replace(new.record, id="half-inserted"))])
        opened.close()
        line = refused(medclip("query", moved, "--text", "a nodule"))
        assert "Milvus cannot be reached" in line
        server = start()
        assert _json(medclip("index", "stats", moved, "--json"))["cases"] == before
        assert medclip("index", "verify", moved).code == 0
        ran = medclip("index", "remove", moved, new.record.id)
        assert ran.code == 0, ran.err
        assert medclip("index", "verify", moved).code == 0
        assert _json(medclip("index", "stats", moved, "--json"))["cases"] == before - 1
    finally:
        server.kill()
        server.wait()


def test_an_interrupted_add_goes_on_where_it_stopped(copy: Path, cases: Path, medclip: Callable[..., Any]) -> None:
    """Killed while it embeds; the index is untouched, and what was embedded is not embedded again."""
    before = _json(medclip("index", "stats", copy, "--json"))
    work = copy.parent / ".index.embedded"
    command = [str(Path(sys.executable).with_name("medclip")), "index", "add", str(copy), str(cases), "--threads", "1"]
    lines = [json.loads(line) for line in (cases / "cases.jsonl").read_text().splitlines()]
    more = [{**case, "id": f"{case['id']}-again", "patient": f"{case['id']}-again"} for case in lines]
    (cases / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in more))
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(work.glob("*.safetensors")):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert _json(medclip("index", "stats", copy, "--json"))["generation"] == before["generation"]
    made = {path: path.stat().st_mtime_ns for path in work.glob("*.safetensors")}
    assert made
    seen: dict[Path, int] = {}
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None:
        seen |= {path: path.stat().st_mtime_ns for path in made if path.exists()}
        time.sleep(0.02)
    assert running.returncode == 0
    assert seen == made
    assert not work.exists()
    assert _json(medclip("index", "stats", copy, "--json"))["cases"] == before["cases"] + len(more)


def test_embedding_on_a_ray_cluster_gives_the_vectors_of_one_process(
    medclip: Callable[..., Any], sample: Path, model: Path, tmp_path: Path
) -> None:
    """Two nodes, one of which is taken away while it works; then an index is built of what they made."""
    pytest.importorskip("ray", reason="the extra distributed is not installed")
    script = Path(__file__).with_name("ray_cluster.py")
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    done = subprocess.run(
        [sys.executable, str(script), str(sample), str(model), str(tmp_path / "ray")],
        env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "one node was removed" in done.stdout
    assert medclip("embed", sample, "--model", model, "--out", tmp_path / "here").code == 0
    names = sorted(path.name for path in (tmp_path / "here").glob("*.safetensors"))
    assert sorted(path.name for path in (tmp_path / "ray").glob("*.safetensors")) == names
    from safetensors.numpy import load_file

    for name in names:
        here, there = load_file(tmp_path / "here" / name), load_file(tmp_path / "ray" / name)
        for tensor in here:
            np.testing.assert_allclose(there[tensor], here[tensor], atol=1e-6)
    built = medclip("index", "build", sample, "--model", model, "--embedded", tmp_path / "ray", "--out", tmp_path / "i")
    assert built.code == 0, built.err
    assert medclip("index", "verify", tmp_path / "i").code == 0
