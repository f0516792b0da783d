"""The Beta distribution: its distribution function, which is the regularised incomplete beta function, and its inverse.

SciPy has both; to load them takes a quarter of a second, as long as the rest of an answer.
"""

from functools import lru_cache
from math import exp, lgamma, log, log1p

__all__ = ["beta_distribution", "beta_quantile"]

_TINY = 1e-300
_EXACT = 4e-16  # relative
_CLOSE = 1e-8  # relative: of a step of Newton's, after which the next would be far below the last digit
_MOST_TERMS = 10_000  # about the square root of the larger shape are needed


def beta_distribution(a: float, b: float, x: float) -> float:
    """The probability that a Beta(a, b) variable is at most x; a and b are above 0.

    By the continued fraction of NIST DLMF 8.17.22, from whichever side it converges quickly, summed by Lentz's method
    (Lentz 1976, Appl. Opt. 15:668; Thompson and Barnett 1986, J. Comput. Phys. 64:490).

    Raises:
        ArithmeticError: it does not converge, for shapes beyond some ten million.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(b, a, 1 - x) / b
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """``1 / (1 + d1 / (1 + d2 / ...))``."""
    value, c, d = 1.0, 1.0, 0.0
    for n in range(1, _MOST_TERMS):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + term * d) or _TINY)
        c = (1 + term / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < _EXACT:
            return 1 / value
    raise ArithmeticError(f"the incomplete beta function of {a:g} and {b:g} does not converge")


@lru_cache(1024)  # of an archive's promises, which every answer states again
def beta_quantile(a: float, b: float, probability: float) -> float:
    """The x of which `beta_distribution` is that probability, by Newton's method, and by halving where that leaves the way.

    Raises:
        ArithmeticError: as `beta_distribution`.
    """
    low, high, x = 0.0, 1.0, a / (a + b)
    whole = lgamma(a + b) - lgamma(a) - lgamma(b)
    while high - low > _EXACT * high:
        missing = beta_distribution(a, b, x) - probability
        if missing > 0:
            high = x
        else:
            low = x
        slope = exp(whole + (a - 1) * log(x) + (b - 1) * log1p(-x))
        step = missing / slope if slope > _TINY else 2.0
        if abs(step) < _CLOSE * min(
            x, 1 - x
        ):  # near 1 a density may rise without bound: a small step there is not small
            return x - step
        x = x - step if low < x - step < high else (low + high) / 2
        if x in (low, high):
            break
    return x
