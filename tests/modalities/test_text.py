"""Texts as users have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip.cases.sources.covid_chestxray import LABEL_WORDS
from medclip.errors import TextError
from medclip.modalities.text.clean import clean_text, mask_words, require_readable


def test_label_words_are_masked_whole() -> None:
    text = "COVID-19 pneumonia, RT-PCR positive for SARS-CoV-2; no effusion."
    assert mask_words(text, LABEL_WORDS) == "[masked] positive for [masked] no effusion."


def test_a_word_that_only_contains_a_label_word_stays() -> None:
    assert mask_words("escape", ("cap",)) == "escape"


@pytest.mark.parametrize("text", ["", "   \n", "--- ... !!!"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(TextError, match="empty"):
        require_readable(text, None)


def test_chinese_is_refused_by_an_english_tower_and_taken_by_any_other() -> None:
    text = "右肺上叶可见结节影，未见胸腔积液。"
    with pytest.raises(TextError, match="cannot read"):
        require_readable(text, ("LATIN",))
    assert require_readable(text, None)


def test_greek_letters_and_units_are_fine() -> None:
    assert require_readable("β-blocker, 5 µm, α-fetoprotein raised", ("LATIN",))


@given(st.text())
def test_cleaning_settles(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert "\n" not in once
