"""What one does in the browser, without scripts, and the same as a program."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from medclip.cases import Case
from tests.server.conftest import Served

Medclip = Callable[..., Any]


def _links(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'href="(/[^"]*)"', page)]


@pytest.fixture(scope="module")
def scan(sample: Path, unseen: Case) -> Path:
    return sample / unseen.scans[0].file


def test_a_form_becomes_a_question_that_can_be_asked_again(served: Served, scan: Path, unseen: Case) -> None:
    browser = served.browser()
    ask = browser.get("/").text
    assert 'name="only.label.location"' in ask
    assert "Thorax (" in ask, "values with counts"
    given = {"history": unseen.note_text("history"), "report": "", "age": "", "sex": ""}
    with scan.open("rb") as file:
        answer = browser.post("/questions", data=given, files={"scans": ("ct.png", file)})
    assert answer.status_code == 200
    place = answer.url.path
    assert re.fullmatch(r"/questions/[\w-]{20,}", place)
    assert unseen.labels["location"] in answer.text
    assert "of new patients" in answer.text, "the set and its promise"
    assert "SYNTHETIC" in answer.text
    assert browser.get(f"{place}/scans/1").headers["content-type"] == "image/jpeg"
    assert browser.get(f"{place}/scans/2").status_code == 404

    links = _links(answer.text)
    shown = re.findall(r'<b>\d+\. <a href="/case\?id=([^"]*)"', answer.text)
    assert len(shown) == 10
    liked = next(link for link in links if f"like={shown[3]}" in link and "unlike" not in link)
    again = browser.get(liked)
    assert "drawn to " + shown[3] in again.text
    assert "Marked: more like this" in again.text
    unliked = next(link for link in links if f"unlike={shown[0]}" in link)
    assert shown[0] not in re.findall(r'<b>\d+\. <a href="/case\?id=([^"]*)"', browser.get(unliked).text)
    without = next(link for link in links if "without=scan" in link)
    assert "asked without the scan" in browser.get(without).text
    few = browser.get(f"{place}?k=3&where=label.location+%3D+%27Head%27")
    assert len(re.findall(r'<b>\d+\. <a href="/case', few.text)) == 3
    region = browser.get(f"{place}?region=1:0.2,0.2,0.8,0.8")
    assert "searched by a region of scan 1" in region.text
    for wrong in (
        "k=0",
        "k=x",
        "coverage=1.5",
        "without=scan&without=history",
        "region=1:9",
        "where=nonsense",
        "without=hat",
    ):
        assert browser.get(f"{place}?{wrong}").status_code == 422, wrong
    assert browser.get(f"{place}?like=no-such-case").status_code == 404


def test_texts_cannot_break_out_of_a_page(served: Served) -> None:
    page = (
        served.browser().post("/questions", data={"history": "nodule <script>alert(1)</script> \"'><img src=x>"}).text
    )
    assert "<script>alert" not in page
    assert "<img src=x>" not in page
    named = served.browser().get("/case", params={"id": "<script>alert(1)</script>"})
    assert named.status_code == 404
    assert "<script>alert" not in named.text


def test_measurements_and_choices_of_a_form(served: Served) -> None:
    browser = served.browser()
    given = {"history": "cough", "age": "61", "sex": "female", "only.label.location": "Thorax", "from.age": "40"}
    answer = browser.post("/questions", data=given)
    assert answer.status_code == 200
    assert "label.location" in answer.url.params["where"]
    assert "age &gt;= 40" in answer.text or "age >= 40" in unescape(answer.text)
    for wrong in (
        {"age": "old"},
        {"age": "200"},
        {"sex": "M?"},
        {"unknown": "x"},
        {"from.age": "x", "history": "a"},
        {"history": " "},
    ):
        assert browser.post("/questions", data=wrong).status_code == 422, wrong


def test_the_archive_can_be_walked(served: Served) -> None:
    browser = served.browser()
    first = browser.get("/cases")
    cases = [one for one in _links(first.text) if one.startswith("/case?")]
    assert len(set(cases)) == 24
    later = next(one for one in _links(first.text) if "offset=24" in one)
    assert set(cases).isdisjoint(_links(browser.get(later).text))
    heads = browser.get("/cases", params={"only.label.location": "Head", "sort": "-age"})
    assert heads.status_code == 200
    assert "location: Thorax" not in heads.text
    page = browser.get(cases[0])
    assert "Most similar cases of other patients" in page.text
    picture = next(unescape(one) for one in re.findall(r'src="(/picture[^"]*)"', page.text))
    assert browser.get(picture).headers["content-type"] == "image/jpeg"
    asked = browser.get(next(one for one in _links(page.text) if one.startswith("/similar")))
    assert "What this case turned out to be" in asked.text
    assert browser.get("/about").text.count("<h2>") >= 3
    drawn = browser.get("/map?colour=location")
    assert drawn.text.count("<circle") > 100
    assert browser.get("/map?colour=hat").status_code == 422
    for missing in ("/case?id=nobody", "/similar?id=nobody", "/picture?id=nobody&scan=0", "/nowhere"):
        assert browser.get(missing).status_code == 404, missing
    assert browser.get("/cases?where=nonsense").status_code == 422


def test_where_a_question_lies_on_the_map(served: Served) -> None:
    browser = served.browser()
    place = browser.post("/questions", data={"report": "a solid nodule of the lung"}).url.path
    drawn = browser.get("/map", params={"question": place.rpartition("/")[2]})
    assert "your question" in drawn.text


def test_a_program_gets_what_the_command_prints(
    served: Served, index: Path, scan: Path, unseen: Case, medclip: Medclip
) -> None:
    ask, history = served.program(), unseen.note_text("history")
    with scan.open("rb") as file:
        given = ask.post("/api/v1/query", params={"k": 4}, data={"history": history}, files={"scans": file})
    assert given.status_code == 200, given.text
    printed = json.loads(medclip("query", index, "--scan", scan, "--text", history, "-k", 4, "--json").out)
    answer = given.json()
    assert [one["case_id"] for one in answer["similar"]] == [one["case_id"] for one in printed["similar"]]
    assert [one["answer"] for one in answer["labels"]] == [one["answer"] for one in printed["labels"]]
    assert answer.keys() == printed.keys()
    case_id = answer["similar"][0]["case_id"]
    similar = ask.get("/api/v1/similar", params={"id": case_id, "k": 3}).json()
    assert similar == json.loads(medclip("similar", index, case_id, "-k", 3, "--json").out)
    assert ask.get("/api/v1/case", params={"id": case_id}).json()["case_id"] == case_id
    assert ask.get("/api/v1/values", params={"field": "sex"}).json()[0]["kind"] == "text"
    told = ask.get("/api/v1/info").json()
    assert told["archive"] == json.loads(medclip("index", "info", index, "--json").out)
    listed = ask.get("/api/v1/cases", params={"where": "sex = 'female'", "sort": ["-age", "case"], "limit": 5}).json()
    ages = [one["age"] for one in listed["cases"]]
    assert ages == sorted(ages, reverse=True)


def test_a_record_had_by_the_page_or_the_api_answers_again(
    served: Served, index: Path, medclip: Medclip, tmp_path: Path
) -> None:
    browser, ask = served.browser(), served.program()
    place = browser.post("/questions", data={"report": "a solid nodule of the lung"}).url.path
    of_page = browser.get(f"{place}/record?k=4").content
    of_similar = browser.get("/similar/record?id=sample-001").content
    of_api = ask.post("/api/v1/record", data={"history": "cough"}).content
    for number, record in enumerate((of_page, of_similar, of_api)):
        file = tmp_path / f"{number}.json"
        file.write_bytes(record)
        assert medclip("explain", index, file).code == 0
        told = ask.post("/api/v1/explain", content=record)
        assert (told.status_code, told.json()["same"]) == (200, True)
    changed = of_api.replace(b"0.", b"1.", 1)
    assert ask.post("/api/v1/explain", content=changed).status_code == 422
    assert ask.post("/api/v1/explain", content=b"[]").status_code == 422


def test_the_api_says_what_every_answer_may_be(served: Served) -> None:
    document = served.program().get("/api/v1/openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"200", "401", "403", "404", "413", "422", "500", "503"} <= set(operation["responses"])
    assert "scans" in json.dumps(document["paths"]["/api/v1/query"])


def test_a_series_in_a_zip_is_one_scan(served: Served, tmp_path: Path) -> None:
    import io
    import zipfile

    from pydicom.data import get_testdata_file

    folder = Path(str(get_testdata_file("CT_small.dcm")))
    from pydicom import dcmread

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(4):
            header = dcmread(folder)
            header.ImagePositionPatient = [0, 0, 5 * number]
            header.InstanceNumber = number + 1
            header.SOPInstanceUID = f"1.2.3.{number}"
            file = tmp_path / "slice.dcm"
            header.save_as(file)
            archive.write(file, f"Doe^Jane/series/{number}.dcm")
    browser = served.browser()
    answer = browser.post("/questions", files={"scans": ("series.zip", made.getvalue())})
    assert answer.status_code == 200, answer.text
    assert answer.text.count('data-scan="') == 1
    assert "Doe" not in answer.text
