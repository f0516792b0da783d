"""Who may ask, how much, and what stays of it: nothing that is a patient's."""

import asyncio
import http.client
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from medclip.cases import read_cases
from medclip.errors import MedclipError, OptionError
from medclip.server.audit import Audit
from medclip.server.desk import BusyError, LateError
from medclip.server.entrance import Entrance, read_token
from medclip.server.uploads import workroom
from tests.server.browser.served import serving as open_server
from tests.server.conftest import TOKEN, Served, serving

PAGES = ["/", "/cases", "/about", "/map", "/case?id=x", "/similar?id=x", "/questions/x", "/picture?id=x&scan=0"]
CALLS = ["/api/v1/info", "/api/v1/cases", "/api/v1/values", "/api/v1/case?id=x", "/api/v1/openapi.json"]


@pytest.mark.parametrize("path", [*PAGES, *CALLS])
def test_nobody_enters_without_a_link_or_the_token(served: Served, path: str) -> None:
    for headers in (
        {},
        {"authorization": "Bearer another"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": "medclip=x"},
    ):
        refused = served.nobody(headers=headers).get(path)
        assert refused.status_code == 401
        assert "sample-" not in refused.text
        assert refused.headers.get("www-authenticate") == ("Bearer" if path in CALLS else None)


def test_a_link_lets_one_browser_in_once(served: Served) -> None:
    key, browser = served.context.entrance.link(), served.nobody()
    entered = browser.get(f"/enter?key={key}")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert browser.get("/").status_code == 200
    assert served.nobody().get(f"/enter?key={key}").status_code == 401, "used already"
    assert served.nobody().post("/enter", data={"token": TOKEN}).status_code == 200, "the token enters, too"
    assert served.nobody().post("/enter", data={"token": "guess"}).status_code == 401


def test_what_another_site_or_host_asks_for_is_not_done(served: Served) -> None:
    browser = served.browser()
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        refused = browser.post("/questions", data={"history": "cough"}, headers=headers, follow_redirects=False)
        assert refused.status_code == 403
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    assert (
        browser.post("/questions", data={"history": "a nodule"}, headers=own, follow_redirects=False).status_code == 303
    )
    for host in ("evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""):
        assert browser.get("/", headers={"host": host}).status_code == 421


def test_every_answer_forbids_what_pages_need_not(served: Served) -> None:
    browser = served.browser()
    for path in ("/", "/cases", "/no-such-page", "/api/v1/info", "/case?id=missing"):
        given = browser.get(path).headers
        policy = given["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert given["x-content-type-options"] == "nosniff"
        assert given["cache-control"] == "no-store"


def test_a_question_is_its_asker_s_alone_and_can_be_forgotten(served: Served) -> None:
    own, other = served.browser(), served.browser()
    asked = own.post("/questions", data={"history": "a solid nodule"}, follow_redirects=False)
    place = asked.headers["location"]
    assert "nodule" not in place
    assert own.get(place).status_code == 200
    assert other.get(place).status_code == 404
    assert other.post(f"{place}/forget").status_code == 200
    assert own.get(place).status_code == 200, "nobody else's to forget"
    own.post(f"{place}/forget")
    assert own.get(place).status_code == 404


def _zip(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_too_much_is_refused_and_nothing_is_left(limited: Callable[..., Any]) -> None:
    with limited(body=200_000, unpacked=1_000_000, files=20, scans=3) as served:
        ask = served.program()

        def refused(**given: Any) -> tuple[int, str]:
            answer = ask.post("/api/v1/query", **given)
            assert list(served.room.glob("*/*")) == []
            return answer.status_code, answer.json()["detail"]

        assert refused(files={"scans": ("a.png", b"x" * 300_000)})[0] == 413
        bomb = _zip({"a": bytes(3_000_000)})
        assert len(bomb) < 10_000
        status, told = refused(files={"scans": ("bomb.zip", bomb)})
        assert (status, "MiB" in told) == (422, True)
        status, told = refused(files={"scans": ("out.zip", _zip({"../../evil.png": b"x"}))})
        assert (status, told) == (422, "out.zip: names a file outside itself; make the zip anew")
        assert not list(served.room.parent.rglob("evil.png"))
        status, told = refused(files={"scans": ("many.zip", _zip({f"{n}.png": b"x" for n in range(30)}))})
        assert (status, "30 files" in told) == (422, True)
        status, told = refused(files=[("scans", (f"{n}.png", b"x")) for n in range(30)])
        assert status == 400
        assert "Too many files" in told
        status, told = refused(files=[("scans", (f"{n}.png", b"x")) for n in range(5)])
        assert (status, told) == (422, "5 scans were given; ask with at most 3")
        status, told = refused(files={"scans": ("cut.zip", _zip({"a": os.urandom(5000)})[:-40])})
        assert status == 422
        status, told = refused(files={"scans": ("../../Jane Doe.png", b"no picture")})
        assert status == 422
        assert told.startswith("Jane Doe.png: "), "as its sender called it, and no path of ours"
        assert refused(files={"recordings": ("speech.wav", b"no sound")})[0] in (422, 500)
        assert ask.post("/api/v1/query", data={"history": "a nodule"}).status_code == 200, "others are not disturbed"


def test_beyond_the_places_to_wait_one_is_told_when_to_come_again(limited: Callable[..., Any]) -> None:
    with limited(at_once=1, waiting=0) as served:
        hold, began = threading.Event(), threading.Event()

        async def busy() -> None:
            desk = served.context.desk

            def working() -> None:
                began.set()
                hold.wait(20)

            first = asyncio.create_task(desk.work(working))
            while not began.is_set():
                await asyncio.sleep(0.01)
            with pytest.raises(BusyError):
                await desk.work(lambda: None)
            hold.set()
            await first
            assert await desk.work(lambda: 5) == 5, "its place is free again"

        asyncio.run(busy())


def test_what_takes_too_long_is_given_up_and_keeps_its_place_until_it_ends(limited: Callable[..., Any]) -> None:
    with limited(at_once=1, waiting=5, seconds=0.2) as served:
        hold = threading.Event()

        async def late() -> None:
            desk = served.context.desk
            with pytest.raises(LateError):
                await desk.work(lambda: hold.wait(20))
            waiting = asyncio.create_task(desk.work(lambda: 5))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            hold.set()
            assert await waiting == 5

        asyncio.run(late())


def test_busy_and_late_are_503_with_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise BusyError("no more can wait")

    monkeypatch.setattr(served.context.desk, "look", refuse)
    for answer in (served.program().get("/api/v1/info"), served.browser().get("/")):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0


def test_the_log_says_who_asked_what_kind_of_thing_and_nothing_more(served: Served) -> None:
    browser = served.browser()
    browser.post("/questions", data={"history": "secretword of a patient", "where": "sex = 'female'"})
    browser.get("/case?id=sample-001")
    text = served.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"at", "who", "what", "status", "seconds"} <= set(lines[-1])
    assert lines[-1]["what"] == "GET /case"
    for secret in ("secretword", "sample-001", "female", TOKEN):
        assert secret not in text
    assert stat.S_IMODE(served.log.stat().st_mode) == 0o600
    with_key = Audit(served.log)
    assert lines[-1]["cases"] == [with_key.hashed("sample-001")], "whoever has the key finds who looked at a case"
    with_key.close()


def test_a_token_file_is_made_for_its_owner_and_a_loose_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = read_token(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_token(file) == token
    assert Entrance(token, 4).who({"authorization": f"Bearer {token}"}, {}) is not None
    file.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    file.write_text("short\n")
    with pytest.raises(OptionError, match="32"):
        read_token(file)


def test_what_a_killed_server_left_is_deleted_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from medclip.server.uploads import workroom\n"
        "with workroom(Path(sys.argv[1])) as room:\n"
        "    (room / 'scan.dcm').write_text('a patient'); print(room, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.strip())
    assert (left / "scan.dcm").exists()
    with workroom(tmp_path) as room, workroom(tmp_path) as beside:
        assert not left.exists()
        assert stat.S_IMODE(room.stat().st_mode) == 0o700
        assert beside.exists()
        assert room.exists(), "one that is at work is left alone"
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_goes_or_is_changed_while_people_ask(
    index: Path, tmp_path: Path, medclip: Callable[..., Any]
) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    (tmp_path / "served").mkdir()
    with serving(copy, tmp_path / "served") as served:
        ask = served.program()
        before = ask.get("/api/v1/cases").json()["total"]
        gone = ask.get("/api/v1/cases?limit=1").json()["cases"][0]["case_id"]
        assert medclip("index", "remove", copy, gone).code == 0
        assert ask.get("/api/v1/cases").json()["total"] == before - 1
        told = ask.post("/api/v1/query", data={"history": "a nodule"}).json()
        assert "since its answers were fitted" in " ".join(told["cautions"])
        assert ask.get("/api/v1/case", params={"id": gone}).status_code == 404
        assert medclip("index", "compact", copy).code == 0
        told = ask.post("/api/v1/query", data={"history": "a nodule"}).json()
        assert "since its answers were fitted" not in " ".join(told["cautions"]), "opened anew"
        shutil.rmtree(copy)
        lost = ask.post("/api/v1/query", data={"history": "a nodule"})
        assert lost.status_code == 500
        assert "is gone" in lost.json()["detail"]


def test_a_mistake_of_the_program_tells_nothing_of_the_patient(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise RuntimeError("Jane Doe, born 1950")

    monkeypatch.setattr(served.context.desk, "look", fail)
    for answer in (served.program().get("/api/v1/info"), served.browser().get("/")):
        assert answer.status_code == 500
        assert "Jane" not in answer.text
        assert "RuntimeError" in answer.text


def test_ports_that_are_taken_and_indexes_that_are_none(
    index: Path, tmp_path: Path, medclip: Callable[..., Any], refused: Callable[..., str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}" in refused(medclip("serve", index, "--port", port, "--audit-log", tmp_path / "log"))
    assert str(tmp_path) in refused(medclip("serve", tmp_path, "--port", 1 + port, "--audit-log", tmp_path / "log"))
    assert issubclass(BusyError, MedclipError)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_was_sent_goes_when_the_server_is_told_to_stop(
    index: Path, sample: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    """Of a real server, while it is reading a question."""
    spool = tmp_path / "spool"
    spool.mkdir()
    with open_server(index, tmp_path, TMPDIR=str(spool)) as site:
        body, kind = _form([scan for case in read_cases(sample)[:12] for scan in (sample / case.scans[0].file,)])
        address = urlsplit(site.address)
        asked = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {"authorization": f"Bearer {site.token}", "content-type": kind}
        asked.request("POST", "/api/v1/query", body, headers)
        for _ in range(600):
            if list(spool.glob(".medclip-serve-*/*/*")):
                break
            time.sleep(0.01)
        else:
            raise AssertionError("nothing was being read")
        os.kill(site.process, ending)
        for _ in range(600):
            if not list(spool.glob(".medclip-serve-*")):
                break
            time.sleep(0.1)
        assert list(spool.glob(".medclip-serve-*")) == []
        asked.close()


def _form(files: list[Path]) -> tuple[bytes, str]:
    body = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="scans"; filename="%d.png"\r\n\r\n%s\r\n' % (n, file.read_bytes())
        for n, file in enumerate(files)
    )
    return body + b"--x--\r\n", "multipart/form-data; boundary=x"


def test_who_connects_and_asks_nothing_keeps_nobody_out(index: Path, tmp_path: Path) -> None:
    with open_server(index, tmp_path) as site:
        address = urlsplit(site.address)
        idle = [socket.create_connection((str(address.hostname), address.port)) for _ in range(300)]
        try:
            asked = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
            asked.request("GET", "/api/v1/info", headers={"authorization": f"Bearer {site.token}"})
            assert asked.getresponse().status == 200
            asked.close()
            idle[0].settimeout(40)
            assert idle[0].recv(1) == b"", "closed by the server after a while"
        finally:
            for one in idle:
                one.close()


def test_a_stranger_may_send_a_token_and_no_more(served: Served) -> None:
    stranger = served.nobody()
    assert stranger.post("/enter", data={"token": "x" * 5000}).status_code == 413
    assert stranger.post("/enter", content=iter([b"token=", b"x"])).status_code == 413, "of unknown length"
    for host in ("[", "127.0.0.1:x", "localhost/evil"):
        assert stranger.get("/", headers={"host": host}).status_code == 421
    refused = served.browser().post("/questions", data={"history": "a"}, headers={"origin": "http://["})
    assert refused.status_code == 403


def test_a_log_that_is_moved_is_begun_anew_and_one_that_cannot_be_written_stops_the_work(
    limited: Callable[..., Any],
) -> None:
    with limited() as served:
        ask = served.program()
        assert ask.get("/api/v1/values").status_code == 200
        served.log.rename(served.log.with_suffix(".1"))
        assert ask.get("/api/v1/values").status_code == 200
        assert "GET /api/v1/values" in served.log.read_text()
        served.log.unlink()
        served.log.mkdir()  # nothing can be appended to a folder
        refused = ask.get("/api/v1/values")
        assert (refused.status_code, "log" in refused.json()["detail"]) == (503, True)
        served.log.rmdir()
        assert ask.get("/api/v1/values").status_code == 200


def test_a_question_means_nothing_to_another_model(index: Path, tiny_index: Path, tmp_path: Path) -> None:
    place = shutil.copytree(index, tmp_path / "index")
    (tmp_path / "served").mkdir()
    with serving(place, tmp_path / "served") as served:
        browser = served.browser()
        asked = browser.post("/questions", data={"history": "a solid nodule"})
        assert asked.status_code == 200
        place.rename(tmp_path / "earlier")
        shutil.copytree(tiny_index, place)
        again = browser.get(asked.url.path)
        assert again.status_code == 422
        assert "another model" in again.text


def test_odd_zips_and_mixed_patients_are_one_line(limited: Callable[..., Any], tmp_path: Path) -> None:
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    with limited() as served:
        ask = served.program()

        def told(name: str, content: bytes) -> str:
            answer = ask.post("/api/v1/query", files={"scans": (name, content)})
            assert answer.status_code == 422, answer.text
            return str(answer.json()["detail"])

        told("dot.zip", _zip({".": b"x", "a": b"y"}))
        encrypted = bytearray(_zip({"a.png": b"x" * 100}))
        encrypted[6] |= 1
        encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
        assert "encrypted" in told("locked.zip", bytes(encrypted))
        two = {}
        for number, patient in enumerate(("A1", "B2")):
            header = dcmread(str(get_testdata_file("CT_small.dcm")))
            header.PatientID, header.SOPInstanceUID = patient, f"1.2.{number}"
            header.save_as(tmp_path / "one.dcm")
            two[f"{number}.dcm"] = (tmp_path / "one.dcm").read_bytes()
        assert told("two.zip", _zip(two)).startswith("the DICOM files are of 2 patients")


def test_what_is_misspelt_or_asked_elsewhere_is_not_left_out_without_a_word(served: Served) -> None:
    ask = served.program()
    for refused in (
        ask.post("/api/v1/query?wher=x", data={"history": "a"}),
        ask.get("/api/v1/cases?wher=x"),
        ask.post("/api/v1/query", data={"history": "a", "where": "sex = 'male'"}),
        ask.post("/api/v1/query", data={"history": "a", "measure": "temperature 38.9 Cel"}),
        ask.post("/api/v1/query", data={"age": ""}),
    ):
        assert refused.status_code == 422, refused.text
    assert ask.post("/api/v1/query", json={"history": "a"}).status_code == 415
    missing = ask.get("/api/v1/case?id=nobody").json()["detail"]
    assert missing.startswith("the index: has no case"), "and not where it lies"


def test_pixels_are_bounded_and_names_with_dots_are_read(limited: Callable[..., Any]) -> None:
    import nibabel
    import numpy as np
    from PIL import Image

    with limited(pixels=1_000_000) as served:
        ask = served.program()
        picture = io.BytesIO()
        Image.new("L", (800, 800)).save(picture, "PNG")
        files = [("scans", (f"{n}.png", picture.getvalue())) for n in range(2)]
        refused = ask.post("/api/v1/query", files=files)
        assert (refused.status_code, "million pixels" in refused.json()["detail"]) == (422, True)
        volume = served.log.parent / "a.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(32, 32, 4)), np.eye(4)), volume)
        read = ask.post("/api/v1/query", files={"scans": ("T1.2mm.nii.gz", volume.read_bytes())})
        assert read.status_code == 200, read.text


def test_one_asker_s_questions_do_not_throw_out_another_s(limited: Callable[..., Any]) -> None:
    with limited(kept_each=2) as served:
        one, other = served.browser(), served.browser()
        first = other.post("/questions", data={"history": "a nodule"}).url.path
        asked = [one.post("/questions", data={"history": "a cyst"}).url.path for _ in range(3)]
        assert [one.get(place).status_code for place in asked] == [404, 200, 200], "its own oldest goes"
        assert other.get(first).status_code == 200
