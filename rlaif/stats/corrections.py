"""The spread of a figure over several seeds, and the correction of p-values for multiple tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rlaif.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Spread:
    """
    Mean and spread of a figure over several seeds.

    Args:
        n: number of seeds that have the figure.
        mean: mean over seeds; None if no seed has the figure.
        std: standard deviation, one degree of freedom removed; None for fewer than two seeds.
        ci95: interval of the mean, by Student's t with n - 1 degrees of freedom; None for fewer than two seeds.

    """

    n: int
    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None


def seed_spread(values: Sequence[float | None]) -> Spread:
    """
    Return the mean and spread of a figure over seeds.

    Args:
        values: one value per seed; None is left out.

    """
    from scipy.stats import t

    known = [x for x in values if x is not None]
    if len(known) < 2:
        return Spread(len(known), known[0] if known else None, None, None)
    mean, std = statistics.fmean(known), statistics.stdev(known)
    half = float(t.ppf(0.975, len(known) - 1)) * std / math.sqrt(len(known))
    return Spread(len(known), mean, std, (mean - half, mean + half))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """
    Return p-values adjusted for multiple tests, so that the chance of any false alarm below 0.05 is 5 % (Holm 1979).

    Args:
        p_values: p-values of independent or dependent tests, in any order. None means that nothing was tested; it
            stays None and does not count.

    Raises:
        InputError: a p-value is not in [0, 1].

    """
    if wrong := [p for p in p_values if p is not None and not 0 <= p <= 1]:
        raise InputError(f"{wrong[0]} is not a p-value: it should be in [0, 1]")
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted
