"""Measurements as people write them, and as vectors."""

import numpy as np
import pytest

from medclip.cases.case import Case, Measurement
from medclip.errors import MeasurementError
from medclip.modalities.measurements.coding import MeasurementCoding, fit_coding
from medclip.modalities.measurements.shared_units import left_out, units_of
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


def _ferritin(*measured: tuple[float, str]) -> list[Case]:
    """A patient a value."""
    return [
        Case(id=f"c{i}", patient=f"p{i}", measurements=(Measurement(name="ferritin", value=value, unit=unit),))
        for i, (value, unit) in enumerate(measured)
    ]


SIX_IN_UG = tuple((float(value), "ug/L") for value in (100, 110, 120, 130, 140, 150))


@pytest.mark.parametrize("last", [True, False])
def test_values_of_a_name_that_medclip_does_not_know_are_compared_in_one_unit(last: bool) -> None:
    other = (0.2, "mg/L")  # 200 ug/L
    cases = _ferritin(*SIX_IN_UG, other) if last else _ferritin(other, *SIX_IN_UG)
    coding = fit_coding(cases)
    [column] = coding.columns
    assert (column.unit, column.mean) == ("ug/L", pytest.approx(np.mean([100, 110, 120, 130, 140, 150, 200])))
    in_mg = next(case for case in cases if case.measurements[0].unit == "mg/L")
    np.testing.assert_allclose(coding.encode(in_mg.measured), coding.encode({"ferritin": 200.0}), atol=1e-6)
    assert left_out(cases, units_of(cases)) == []


def test_a_value_that_cannot_be_converted_is_left_out_and_named() -> None:
    cases = _ferritin((450.0, "pmol/L"), *SIX_IN_UG, (0.2, "mg/L"))
    coding = fit_coding(cases)
    assert coding.columns == fit_coding(cases[1:]).columns
    assert not np.any(coding.encode(cases[0].measured))
    [found] = left_out(cases, units_of(cases))
    assert (found.name, found.unit, found.wanted, found.case_ids) == ("ferritin", "pmol/L", "ug/L", ("c0",))
    [fault] = coding.faults(cases[0].measured)
    assert "pmol/L" in fault
    assert "ug/L" in fault


def test_the_unit_to_which_most_patients_can_be_converted_holds() -> None:
    cases = _ferritin(*[(300.0, "pmol/L")] * 4, *[(100.0, "ug/L")] * 3, *[(0.1, "mg/L")] * 2)
    assert units_of(cases)["ferritin"] == "ug/L"


def test_a_query_in_another_unit_is_converted_to_the_models() -> None:
    coding = fit_coding(_ferritin(*SIX_IN_UG))
    assert values_of(["ferritin=0.2mg/L"], None, None, known=coding) == {"ferritin": pytest.approx(200)}
    with pytest.raises(MeasurementError, match="ferritin: 'pmol/L' cannot be converted to ug/L"):
        values_of(["ferritin=450pmol/L"], None, None, known=coding)
    with pytest.raises(MeasurementError, match="ferritin=450: has no unit; write it in ug/L"):
        values_of(["ferritin=450"], None, None, known=coding)


def test_a_known_measurement_written_by_hand_in_another_unit_is_converted_too() -> None:
    cases = [
        Case(id=f"c{i}", patient=f"p{i}", measurements=(Measurement(name="temperature", value=value, unit=unit),))
        for i, (value, unit) in enumerate([*((36.0 + i, "Cel") for i in range(5)), (98.6, "[degF]")])
    ]
    [column] = fit_coding(cases).columns
    assert (column.unit, column.mean) == ("Cel", pytest.approx((36 + 37 + 38 + 39 + 40 + 37) / 6))


def test_a_model_that_states_no_unit_opens_and_compares_what_medclip_knows_alone() -> None:
    columns = [{"name": name, "mean": 37.0, "sd": 1.0} for name in ("temperature", "ferritin")]
    coding = MeasurementCoding.model_validate({"columns": columns})
    measured = {
        "temperature": Measurement(name="temperature", value=100.4, unit="[degF]"),
        "ferritin": Measurement(name="ferritin", value=38, unit="ug/L"),
    }
    np.testing.assert_allclose(coding.scores(measured), [1.0, np.nan], atol=1e-5)
