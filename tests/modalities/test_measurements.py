"""Measurements as people write them, and as vectors."""

import numpy as np
import pytest

from medclip.cases.case import Case, Measurement
from medclip.errors import MeasurementError
from medclip.modalities.measurements.coding import fit_coding
from medclip.modalities.measurements.values import parse_measurement, values_of


@pytest.mark.parametrize(
    ("written", "name", "value", "unit"),
    [
        ("temperature=38.9Cel", "temperature", 38.9, "Cel"),
        ("Temp = 102 [degF]", "temperature", 38.889, "Cel"),
        ("wbc=4000 /uL", "leukocytes", 4.0, "10*9/L"),
        ("Hb=13 g/dL", "haemoglobin", 130.0, "g/L"),
        ("SpO2=93%", "oxygen saturation", 93.0, "%"),
        ("heart_rate=1.2e2/min", "heart rate", 120.0, "/min"),
    ],
)
def test_values_are_converted_to_one_unit(written: str, name: str, value: float, unit: str) -> None:
    found = parse_measurement(written)
    assert (found.name, found.unit) == (name, unit)
    assert found.value == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("temperature=380Cel", "not plausible"),
        ("temperature=38.9", "has no unit"),
        ("temperature=38.9 parsec-ish", "no UCUM unit"),
        ("temperature=3 kg", "cannot be converted"),
        ("temperature=nan Cel", "no number"),
        ("temperature=inf Cel", "no number"),
        ("temperature", "is no measurement"),
        ("temperature=warm", "no value with a unit"),
        ("mood=3 1", "mood"),
    ],
)
def test_what_is_no_measurement_is_refused_by_name(written: str, words: str) -> None:
    with pytest.raises(MeasurementError, match=words) as caught:
        parse_measurement(written)
    assert written.partition("=")[0] in str(caught.value)


def _cases(count: int) -> list[Case]:
    return [
        Case(
            id=f"c{i}",
            patient=f"p{i}",
            measurements=(Measurement(name="temperature", value=36 + i % 4, unit="Cel"),) if i % 2 else (),
            age=40 + i,
            sex="female" if i % 3 else "male",
            notes=(),
            recordings=(),
            scans=({"file": f"{i}.png"},),  # type: ignore[arg-type]
        )
        for i in range(count)
    ]


def test_missing_values_are_a_mask_not_a_guess() -> None:
    cases = _cases(20)
    coding = fit_coding(cases)
    assert coding.names == ("age", "sex", "temperature")
    values = cases[1].measured
    whole, less = coding.encode(values), coding.encode({k: v for k, v in values.items() if k != "temperature"})
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-5)
    assert np.any(whole[6:])
    assert not np.any(less[6:])
    assert not np.any(coding.encode({}))
    assert not np.any(coding.encode({"unheard of": 3.0}))


def test_a_value_that_few_patients_have_is_no_column() -> None:
    assert fit_coding(_cases(4)).columns == ()


def test_too_much_and_too_little_are_told_apart_and_bounded() -> None:
    coding = fit_coding(_cases(20))
    low, high, absurd = (coding.encode({"temperature": t}) for t in (33.0, 42.0, 45.0))
    assert float(low @ high) < 0.5
    np.testing.assert_allclose(high, absurd, atol=1e-6)


def test_a_value_given_twice_and_a_sex_that_is_none_are_refused() -> None:
    coding = fit_coding(_cases(20))
    with pytest.raises(MeasurementError, match="given twice"):
        values_of(["temp=37Cel", "temperature=38Cel"], None, None, known=coding)
    with pytest.raises(MeasurementError, match="sex"):
        values_of([], None, "unknown", known=coding)
    assert values_of([], 54, "female", known=coding) == {"age": 54, "sex": -1.0}
