"""``medclip index list``, ``show`` and ``values``, as a user types them."""

import json
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

KEPT = Path(__file__).parents[1] / "archive" / "index-0.1.zip"
Medclip = Callable  # type: ignore[type-arg]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    return tmp_path / "index"


def test_a_list_is_paged_and_says_how_it_goes_on(folder: Path, medclip: Medclip) -> None:
    done = medclip("index", "list", folder, "--sort", "-age", "--limit", 3)
    assert done.code == 0, done.err
    assert "cases 1 to 3 of 12; the next:  --offset 3" in done.out
    first = json.loads(medclip("index", "list", folder, "--sort", "-age", "--limit", 3, "--json").out)
    second = json.loads(medclip("index", "list", folder, "--sort", "-age", "--limit", 3, "--offset", 3, "--json").out)
    ages = [case["age"] for page in (first, second) for case in page["cases"]]
    assert ages == sorted(ages, reverse=True)
    assert all(case["case_id"] in done.out for case in first["cases"])
    assert "no further case: there are 12" in medclip("index", "list", folder, "--offset", 12).out


def test_the_example_that_values_prints_can_be_pasted(folder: Path, medclip: Medclip) -> None:
    said = medclip("index", "values", folder).out
    assert "label.finding (text): cyst 6, nodule 6" in said
    pasted = shlex.split(said.split("for example:")[1])
    done = medclip(*pasted[1:])
    assert done.code == 0, done.err
    assert "cases 1 to 6 of 6" in done.out


def test_a_case_is_shown_with_its_outcome_and_neighbours(folder: Path, medclip: Medclip) -> None:
    said = medclip("index", "show", folder, "c3").out
    assert all(word in said for word in ("diagnosis: cyst, drawn", "scans/c3.png", "of the same patient: c9", "c11"))
    whole = json.loads(medclip("index", "show", folder, "c3", "-k", 2, "--json").out)
    assert (whole["case_id"], len(whole["neighbours"])) == ("c3", 2)
    assert "patient" not in whole


def test_similar_shows_the_case_that_was_asked_about_first(folder: Path, medclip: Medclip, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = medclip("similar", folder, "c3", "--html", page).out
    assert said.index("asked about c3: cyst, drawn") < said.index("similar cases")
    assert page.read_text().index("What this case turned out to be") < page.read_text().index("most similar cases")
    asked = json.loads(medclip("similar", folder, "c3", "--json").out)["of"]
    assert (asked["case_id"], asked["diagnosis"]) == ("c3", "cyst, drawn")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--sort", "colour"), "there is no field 'colour'; there are case, age"),
        (("list", "--where", "label.finding = 'tumour'"), "label.finding is cyst, nodule"),
        (("show", "c99"), "has no case 'c99'; check the id"),
        (("values", "colour"), "there is no field 'colour'"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, medclip: Medclip, refused: Callable[..., str], words: tuple[str, ...], said: str
) -> None:
    assert said in refused(medclip("index", words[0], folder, *words[1:]))
