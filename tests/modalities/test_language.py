"""Which texts are in a language that a text tower does not read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from medclip.modalities.text import language
from medclip.modalities.text.language import languages_read, unread_language
from medclip.modalities.text.use import SCRIPTS


@pytest.mark.parametrize(
    "text",
    [
        "pneumothorax",
        "CT abdomen",
        "Left lower lobe consolidation.",
        "57yo F with 1 mo cough presents for f/u CXR.",
        "T2 FLAIR hyperintensity, DWI restriction; MRA wnl",
        "Situs inversus.",
        "s/p MVC, c/o neck pain",
    ],
)
def test_jargon_and_short_texts_are_english(text: str) -> None:
    assert unread_language(text, languages_read(("LATIN",)) or frozenset()) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Der Patient klagt über Husten und Fieber.", "German"),
        ("Raumforderung in der Leber", "German"),
        ("Épanchement pleural gauche chez un patient de 60 ans", "French"),
        ("Paciente con fiebre y dolor de cabeza", "Spanish"),
    ],
)
def test_another_language_is_named_where_it_is_not_read(text: str, name: str) -> None:
    english, multilingual = languages_read(("LATIN",)), languages_read(SCRIPTS)
    assert english is not None
    assert multilingual is not None
    assert unread_language(text, english) == name
    assert unread_language(text, multilingual) is None


def test_of_a_tower_of_any_script_nothing_is_known() -> None:
    assert languages_read(None) is None


@pytest.fixture
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; the classifier is read from it as by a new process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    language._identifier.cache_clear()
    yield tmp_path / "medclip" / "languages"
    language._identifier.cache_clear()


TEXTS = ("Der Patient klagt über Husten.", "73-year-old male with hematuria", "左下肺炎", "T2 FLAIR; MRA wnl", "")


def _answers() -> list[object]:
    language._identifier.cache_clear()
    return [language._identifier().rank(text) for text in TEXTS]


def test_kept_tables_answer_as_those_of_the_package(anew: Path) -> None:
    ours = _answers()
    assert len(list(anew.iterdir())) == 1
    file = next(anew.rglob("steps.npy")).stat().st_ino
    assert _answers() == ours
    assert next(anew.rglob("steps.npy")).stat().st_ino == file, "read, not made"
    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    assert ours == [theirs.rank(text) for text in TEXTS]


def test_a_kept_table_that_changed_is_made_anew(anew: Path) -> None:
    ours = _answers()
    file = next(anew.rglob("steps.npy"))
    before = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:1000] + b"\1" * (len(content) - 1000))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _answers() == ours
    assert next(anew.rglob("steps.npy")).read_bytes() == content


def test_where_tables_cannot_be_kept_they_are_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert _answers() == _answers()
