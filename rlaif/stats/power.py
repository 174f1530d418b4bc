"""Power analysis: the probability that a test finds a true difference."""

from __future__ import annotations

import math
from statistics import NormalDist

from rlaif.core.errors import InputError


def power(difference: float, std: float, n: int, *, alpha: float = 0.05) -> float:
    """
    Return the probability that a two-sided paired test at level `alpha` finds a true mean difference.

    Normal approximation: Phi(d sqrt(n) / s - z) + Phi(-d sqrt(n) / s - z), z the 1 - alpha / 2 quantile (Lachin 1981,
    "Introduction to sample size determination and power analysis for clinical trials"). If the difference is 0, the
    power is `alpha`.

    Args:
        difference: the true mean of after - before.
        std: standard deviation of the pairs' differences, or of the prompts' mean differences if a prompt has several
            pairs.
        n: number of pairs, or of prompts.
        alpha: level of the test.

    Raises:
        InputError: `std` or `n` is not positive.

    """
    if not (std > 0 and n > 0):
        raise InputError(f"power needs a positive standard deviation and number, not {std:g} and {n}")
    normal = NormalDist()
    shift, z = difference * math.sqrt(n) / std, normal.inv_cdf(1 - alpha / 2)
    return normal.cdf(shift - z) + normal.cdf(-shift - z)
