"""Which texts are in a language that a text tower does not read."""

import pytest

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
    ("text", "language"),
    [
        ("Der Patient klagt über Husten und Fieber.", "German"),
        ("Raumforderung in der Leber", "German"),
        ("Épanchement pleural gauche chez un patient de 60 ans", "French"),
        ("Paciente con fiebre y dolor de cabeza", "Spanish"),
    ],
)
def test_another_language_is_named_where_it_is_not_read(text: str, language: str) -> None:
    english, multilingual = languages_read(("LATIN",)), languages_read(SCRIPTS)
    assert english is not None
    assert multilingual is not None
    assert unread_language(text, english) == language
    assert unread_language(text, multilingual) is None


def test_of_a_tower_of_any_script_nothing_is_known() -> None:
    assert languages_read(None) is None
