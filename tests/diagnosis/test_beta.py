"""The Beta distribution, computed here, is SciPy's."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv

from medclip.metrics.beta import beta_distribution, beta_quantile

shapes = st.floats(0.5, 1e5)


@given(a=shapes, b=shapes, x=st.floats(0, 1))
def test_the_distribution_function_is_scipys(a: float, b: float, x: float) -> None:
    assert beta_distribution(a, b, x) == pytest.approx(float(betainc(a, b, x)), abs=1e-9)


@given(a=shapes, b=shapes, probability=st.floats(0.01, 0.99))
@example(a=8147.0, b=0.5, probability=0.95)  # where the density rises without bound
@example(a=0.5, b=8147.0, probability=0.05)
def test_quantiles_are_scipys(a: float, b: float, probability: float) -> None:
    assert beta_quantile(a, b, probability) == pytest.approx(float(betaincinv(a, b, probability)), abs=1e-9)


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_quantiles_of_a_symmetric_distribution_mirror_each_other(probability: float) -> None:
    low, high = beta_quantile(3.5, 3.5, probability), beta_quantile(3.5, 3.5, 1 - probability)
    assert low == pytest.approx(1 - high, abs=1e-14)
