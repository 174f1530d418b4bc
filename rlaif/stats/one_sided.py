"""Whether numbers have risen, where only a rise is asked about: for checks that are made again and again."""

from __future__ import annotations

import math

import numpy as np

from rlaif.stats.pairs import Scores, pairs_of


def p_of_rise(before: Scores, after: Scores) -> float | None:
    """
    Return the p-value of a rise of the mean, of Student's one-sided paired t-test.

    Args:
        before: one number a pair; None where there is none.
        after: of the same pairs, in the same order.

    Returns:
        The probability of a rise at least as clear where the truth is no rise. Where all pairs differ by the same, it
        is 0 for a rise and else 1. None for fewer than two pairs.

    Raises:
        InputError: lengths differ, or a number is not finite.

    """
    from scipy.stats import t

    before_and_after_N2 = pairs_of(before, after).columns_NK
    count = len(before_and_after_N2)
    if count < 2:
        return None
    rises_N = before_and_after_N2[:, 1] - before_and_after_N2[:, 0]
    mean = float(rises_N.mean())
    if np.ptp(rises_N) <= 1e-12 * np.abs(rises_N).max():
        return 0.0 if mean > 0 else 1.0
    return float(t.sf(mean / (float(rises_N.std(ddof=1)) / math.sqrt(count)), count - 1))
