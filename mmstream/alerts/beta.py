"""Quantiles of the beta distribution, which is what a rate known from k of n blocks follows."""

from __future__ import annotations

import math

MAX_TERMS = 1000


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by Lentz's continued fraction (DLMF 8.17.22).

    >>> round(beta_cdf(0.5, 2.0, 2.0), 12), beta_cdf(0.0, 1.0, 3.0), beta_cdf(1.0, 1.0, 3.0)
    (0.5, 0.0, 1.0)
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side only
        return 1.0 - beta_cdf(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b)
    return math.exp(log_front) * _fraction(x, a, b) / a


def beta_quantile(q: float, a: float, b: float) -> float:
    """The x in (0, 1) with ``beta_cdf(x, a, b) == q``, by bisection to 1e-12.

    >>> round(beta_quantile(0.9, 1.0, 1.0), 9)
    0.9
    """
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = 0.5 * (low + high)
        if beta_cdf(middle, a, b) < q:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _fraction(x: float, a: float, b: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + ...))) of DLMF 8.17.23, from the front (Lentz)."""
    c, d, value = 1.0, 0.0, 1.0
    for number in range(1, MAX_TERMS):
        m = number // 2
        if number % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + term * d)
        c = 1.0 + term / c
        value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return 1.0 / value


def beta_binomial_interval(count: int, a: float, b: float, *, level: float = 0.99) -> tuple[int, int]:
    """The least and the most successes of ``count`` trials that are not rarer than ``1 - level`` in both tails
    together, when their probability is itself beta distributed.

    >>> beta_binomial_interval(10, 1.0, 1.0, level=0.8)
    (1, 9)
    """
    tail = (1.0 - level) / 2
    below, least, most = 0.0, 0, count
    for successes in range(count + 1):
        chance = math.exp(
            math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
            + math.lgamma(successes + a) + math.lgamma(count - successes + b) - math.lgamma(count + a + b)
            + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        )  # fmt: skip
        if below + chance <= tail:
            least = successes + 1
        below += chance
        if below >= 1.0 - tail:
            most = successes
            break
    return least, most
