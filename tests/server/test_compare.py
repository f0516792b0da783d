"""Query and archived case side by side: which slices come, with which values, and from where."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from medclip.archive.build import build_index
from medclip.cases import Case, read_cases
from medclip.server.app import make_app
from medclip.server.audit import Audit
from medclip.server.context import Context
from medclip.server.desk import Desk
from medclip.server.entrance import Entrance
from medclip.server.originals import Originals
from medclip.server.settings import Limits
from medclip.server.uploads import Desktop
from tests.conftest import Shared

DICTATION = Path(__file__).parents[1] / "modalities" / "dictation.flac"
JSON = {"accept": "application/json"}


@dataclass(frozen=True)
class Viewer:
    """A browser that entered, and the server's log."""

    browser: TestClient
    context: Context
    log: Path

    def ask(self, **files: bytes) -> str:
        """The address of a question with scans, by their names."""
        sent = [("scans", (name.replace("_", "."), content)) for name, content in files.items()]
        answer = self.browser.post("/questions", data={"history": "cough"}, files=sent, headers=JSON)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["address"])

    def slices(self, address: str) -> dict[str, object]:
        answer = self.browser.get(address, headers=JSON)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="session")
def archive(few: Path, tiny_model: Path, shared: Shared) -> Path:
    return shared("viewed", lambda out: build_index(read_cases(few), few, tiny_model, out) and None)


@pytest.fixture
def serve(archive: Path, tmp_path: Path) -> Iterator[Callable[..., Viewer]]:
    audits = []

    def made(originals: Path | None = None, **changed: int) -> Viewer:
        limits = replace(Limits(), **changed)
        (tmp_path / "room").mkdir(exist_ok=True)
        audit = Audit(tmp_path / "audit.jsonl")
        audits.append(audit)
        entrance = Entrance(None, 8)
        context = Context(
            Desk(archive, limits, threads=1), Desktop(tmp_path / "room", limits), entrance, limits,
            originals=Originals(originals, limits.slices_bytes, limits.kept_bytes),
        )  # fmt: skip
        browser = TestClient(make_app(context, audit, frozenset({"testserver"})))
        assert browser.get(f"/enter?key={entrance.link()}").status_code == 200
        return Viewer(browser, context, tmp_path / "audit.jsonl")

    yield made
    for audit in audits:
        audit.close()


def volume(slices: int = 30) -> tuple[bytes, np.ndarray]:
    """A CT as NIfTI, and its slices as they are shown."""
    values = np.full((40, 40, slices), -1000, np.int16)
    values[8:32, 8:32] = np.arange(slices) * 10
    values[20, 20] = 1500
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0]))
    return image.to_bytes(), np.stack([values[::-1, ::-1, n].T for n in range(slices)])


def png(side: int = 48) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1))).save(out, format="PNG")
    return out.getvalue()


def pictured(few: Path) -> Case:
    return next(case for case in read_cases(few) if len(case.scans) > 1)


def test_all_slices_of_a_question_come_with_their_own_values(serve: Callable[..., Viewer]) -> None:
    viewer, (content, shown) = serve(), volume()
    base = viewer.ask(a_nii=content)
    told = viewer.slices(f"{base}/slices?scan=1")
    assert (told["slices"], told["width"], told["height"], told["kind"], told["hounsfield"]) == (
        30,
        40,
        40,
        "int16",
        True,
    )
    assert {"name": "lung", "centre": -600, "width": 1500} in told["presets"]  # type: ignore[operator]
    assert told["scales"] == [[1.0, 0.0]] * 30
    raw = viewer.browser.get(f"{base}/values?scan=1&first=4&last=7").content
    assert np.array_equal(np.frombuffer(raw, "<i2").reshape(3, 40, 40), shown[4:7])
    page = viewer.browser.get(f"{base}/compare?case={read_cases_first(viewer)}").text
    assert f"{base}/slices?scan=1" in page
    assert not list((viewer.context.desktop.folder).iterdir())  # what was sent is deleted all the same


def read_cases_first(viewer: Viewer) -> str:
    index = viewer.context.desk.assistant().index
    return next(one.id for one in index.records() if index.thumbnails(one.id))


def test_slices_that_do_not_fit_are_left_out_and_said(serve: Callable[..., Viewer]) -> None:
    viewer = serve(slices_bytes=10 * 40 * 40 * 2 + 48 * 48)
    told = viewer.slices(f"{viewer.ask(a_nii=volume()[0], b_png=png())}/slices?scan=1")
    assert told["slices"] == 10
    assert "10 of 30 slices, evenly chosen: more do not fit here" in told["notes"]  # type: ignore[operator]


def test_slices_are_let_go_before_questions_are_and_that_is_said(serve: Callable[..., Viewer]) -> None:
    size, seen = 30 * 40 * 40 * 2, 12 * 40 * 40
    viewer = serve(kept_bytes=size + 3 * seen)
    first, second = viewer.ask(a_nii=volume()[0]), viewer.ask(a_nii=volume()[0])
    assert viewer.slices(f"{second}/slices?scan=1")["slices"] == 30
    told = viewer.slices(f"{first}/slices?scan=1")
    assert (told["slices"], told["kind"]) == (12, "uint8")
    assert any("let go" in note for note in told["notes"])  # type: ignore[attr-defined]
    assert viewer.browser.get(first).status_code == 200


def test_a_question_is_nobody_elses(serve: Callable[..., Viewer]) -> None:
    viewer = serve()
    base, entrance = viewer.ask(a_png=png()), viewer.context.entrance
    other = TestClient(viewer.browser.app)
    assert other.get(f"/enter?key={entrance.link()}").status_code == 200
    for address in ("slices?scan=1", "values?scan=1", f"compare?case={read_cases_first(viewer)}"):
        assert other.get(f"{base}/{address}").status_code == 404
    assert viewer.browser.get(f"{base}/slices?scan=2").status_code == 404


def test_an_archived_scan_is_its_original_where_that_is_had_else_the_thumbnail(
    serve: Callable[..., Viewer], few: Path, tmp_path: Path
) -> None:
    case = pictured(few)
    address = f"/case/slices?id={case.id}&scan=2"
    without = serve()
    told = without.slices(address)
    assert "--originals" in str(told["source"])
    assert without.browser.get(str(told["picture"])).headers["content-type"] == "image/jpeg"
    assert without.browser.get(f"/case/values?id={case.id}&scan=2").status_code == 404
    page = without.browser.get(f"/similar/compare?id={case.id}&case={case.id}").text
    assert page.count("The stored thumbnail: the original is not here") == 2
    own = tmp_path / "cases"
    shutil.copytree(few, own)
    having = serve(own)
    assert having.slices(address)["source"] == "the original file, unchanged since the index was built"
    raw = having.browser.get(f"/case/values?id={case.id}&scan=2").content
    assert np.array_equal(np.frombuffer(raw, np.uint8), np.asarray(Image.open(own / case.scans[1].file)).ravel())
    (own / case.scans[1].file).write_bytes(png(64))
    told = having.slices(address)
    assert (told["width"], "is not what the index was built from" in str(told["source"])) == (64, True)
    assert having.context.desk.assistant().index.record(case.id)
    assert having.context.originals.has(case, 1)


def test_no_link_leads_out_of_the_originals(serve: Callable[..., Viewer], few: Path, tmp_path: Path) -> None:
    case, own = pictured(few), tmp_path / "cases"
    shutil.copytree(few, own)
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    (own / case.scans[0].file).unlink()
    os.symlink(secret, own / case.scans[0].file)
    (own / case.scans[1].file).unlink()
    viewer = serve(own)
    outside = viewer.slices(f"/case/slices?id={case.id}&scan=1")
    assert ("leads out" in str(outside["source"]), "kind" in outside) == (True, False)
    assert viewer.browser.get(f"/case/values?id={case.id}&scan=1").status_code == 404
    assert "not in the folder" in str(viewer.slices(f"/case/slices?id={case.id}&scan=2")["source"])


def test_a_series_with_a_link_out_of_the_originals_is_not_read(
    serve: Callable[..., Viewer], few: Path, tmp_path: Path
) -> None:
    case, own = pictured(few), tmp_path / "cases"
    shutil.copytree(few, own)
    folder = own / case.scans[0].file
    folder.unlink()
    folder.mkdir()
    (tmp_path / "secret.dcm").write_bytes(png())
    os.symlink(tmp_path / "secret.dcm", folder / "1.dcm")
    assert "leads out" in str(serve(own).slices(f"/case/slices?id={case.id}&scan=1")["source"])


def test_the_page_links_what_can_be_compared_and_keeps_how_was_asked(serve: Callable[..., Viewer], few: Path) -> None:
    viewer = serve()
    base = viewer.ask(a_png=png())
    answer = viewer.browser.get(f"{base}?k=3").text
    assert answer.count(f"{base}/compare?case=") == 3
    case = pictured(few)
    page = viewer.browser.get(f"{base}/compare?case={case.id}&with=2&k=3").text
    assert f'href="{base}?k=3"' in page
    assert f"/picture?id={case.id}&amp;scan=1" in page  # without scripts, one picture of each
    assert f"{base}/scans/1" in page
    assert viewer.browser.get(f"{base}/compare?case={case.id}&with=9").status_code == 404
    assert viewer.browser.get(f"{base}/compare?case=nobody").status_code == 404


def test_who_looked_at_which_case_stands_in_the_log_as_a_hash(serve: Callable[..., Viewer], few: Path) -> None:
    viewer, case = serve(few), pictured(few)
    viewer.slices(f"/case/slices?id={case.id}&scan=1")
    last = viewer.log.read_text().splitlines()[-1]
    assert "GET /case/slices" in last
    assert '"cases"' in last
    assert case.id not in last


def test_a_script_is_told_in_json_what_a_reader_is_told_on_a_page(serve: Callable[..., Viewer]) -> None:
    viewer = serve()
    sent = {"files": [("scans", ("a.png", b"no picture"))]}
    for_script = viewer.browser.post("/questions", headers=JSON, **sent)
    for_reader = viewer.browser.post("/questions", **sent)
    assert for_script.status_code == for_reader.status_code == 422
    assert for_script.json()["detail"] in for_reader.text.replace("&#39;", "'")
    assert viewer.browser.post("/questions", data={"history": "cough"}, follow_redirects=False).status_code == 303


@pytest.mark.slow
def test_a_recording_is_written_down_to_be_corrected(serve: Callable[..., Viewer]) -> None:
    viewer = serve()
    sent = {"files": [("recordings", ("dictation.flac", DICTATION.read_bytes()))]}
    said = viewer.browser.post("/transcripts", headers=JSON, **sent).json()
    assert "effusion" in said["text"].lower()
    assert (said["language"], round(said["seconds"])) == ("en", 6)
    none = viewer.browser.post("/transcripts", headers=JSON, data={"history": "x"})
    assert (none.status_code, none.json()["detail"]) == (422, "recordings: none was given; record or choose one")


def test_a_folder_of_originals_that_is_none_is_one_line(archive: Path, tmp_path: Path, medclip, refused) -> None:  # type: ignore[no-untyped-def]
    said = refused(medclip("serve", archive, "--originals", tmp_path / "nowhere", "--audit-log", tmp_path / "log"))
    assert "nowhere: is no folder" in said
