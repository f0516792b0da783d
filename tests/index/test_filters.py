"""The language of ``--where``."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip.errors import FilterError
from medclip.index.filters import parse_filter

FIELDS = {"age": "number", "sex": "text", "modality": "text", "label.findings/pleural effusion": "text"}
CASE = {"age": (61.0,), "modality": ("CT", "MR"), "label.findings/pleural effusion": ("present",)}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("age >= 61 and age < 61.5", True),
        ("age != 61", False),
        ("modality = 'CT'", True),
        ("modality != 'CT'", False),
        ("modality in ('CR', 'MR')", True),
        ("modality not in ('CR')", True),
        ("NOT (modality = 'CR' OR age > 70)", True),
        ("sex = 'male'", False),
        ("not sex = 'male'", False),
        ("sex is unknown and age is known", True),
        ("not sex is known", True),
        ("\"label.findings/pleural effusion\" = 'present'", True),
        ("sex = 'male' or sex = 'female' and age > 1", False),
        ("age = 61 or sex = 'x' and sex = 'y'", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, holds: bool) -> None:
    assert parse_filter(text, FIELDS).matches(CASE) is holds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 'red'", "there is no field 'colour'; there are age, label"),
        ("age >= '60'", "age is a number"),
        ("modality = 60", "modality is a text"),
        ("modality > 'CT'", "has no order"),
        ("age >=", "cannot be understood at its end"),
        ("age = 1; DROP TABLE cases", "cannot be understood at character 8"),
        ("__import__('os').system('x')", "cannot be understood"),
        ("age = 1 or 1 = 1", "cannot be understood"),
        ("", "cannot be understood"),
        ("age = 1 or " * 2000 + "age = 1", "longer than"),
    ],
)
def test_what_is_no_expression_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(FilterError, match="filter") as caught:
        parse_filter(text, FIELDS)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_in_quotes_is_only_a_text(value: str) -> None:
    where = parse_filter("modality = '" + value.replace("'", "''") + "'", FIELDS)  # type: ignore[arg-type]
    assert where.matches({"modality": (value,)})
    assert not where.matches({"modality": (value + "x",)})


@given(st.text(max_size=60))
def test_no_text_is_more_than_an_expression(text: str) -> None:
    with contextlib.suppress(FilterError):  # anything else would be a bug
        parse_filter(text, FIELDS)  # type: ignore[arg-type]
