"""
Tests whether two judges differ: the contribution of each row to a measure, and a paired test of the contributions.

A contribution is the measure plus the row's influence on it (Hampel 1974), so the mean of the contributions is the
measure. For the AUROC these are the placement values of DeLong, DeLong & Clarke-Pearson 1988.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rlaif.stats.bootstrap import Floats, Ints
from rlaif.stats.resampling import sign_flip_test

FLIPPED = 1000
"""Largest number of clusters for the sign-flip test; beyond, Student's t gives the same result much faster."""


def auroc_contributions(score_N: Floats, good_N: NDArray[np.bool_]) -> Floats:
    """Return the contribution of each row to the AUROC, [N]. Needs good and bad rows."""
    good, bad = score_N[good_N], score_N[~good_N]
    beaten_P, beating_M = _share_below(bad, good), 1 - _share_below(good, bad)
    area = beaten_P.mean()
    contribution_N = np.full(len(score_N), area)
    contribution_N[good_N] += (beaten_P - area) * len(score_N) / len(good)
    contribution_N[~good_N] += (beating_M - area) * len(score_N) / len(bad)
    return contribution_N


def spearman_contributions(x_N: Floats, y_N: Floats) -> Floats:
    """
    Return the contribution of each row to Spearman's rank correlation, [N]. Neither side may be constant.

    With mid-ranks as shares F of the rows, it is S(x, y) / sqrt(S(x, x) S(y, y)), S(x, y) = mean(F(x) F(y)) - 1/4. A
    row counts in the mean, and in the rank of every row above it (Croux & Dehon 2010).
    """
    rank_x, rank_y = _share_below(x_N, x_N), _share_below(y_N, y_N)

    def change_without(a: Floats, rank_a: Floats, b: Floats, rank_b: Floats) -> tuple[float, Floats]:
        product = rank_a * rank_b
        ranks_above = _mean_above(a, rank_b) + _mean_above(b, rank_a)
        return float(product.mean()) - 0.25, product + ranks_above - 3 * product.mean()

    (xy, by_xy), (xx, by_xx), (yy, by_yy) = (
        change_without(a, rank_a, b, rank_b)
        for a, rank_a, b, rank_b in (
            (x_N, rank_x, y_N, rank_y), (x_N, rank_x, x_N, rank_x), (y_N, rank_y, y_N, rank_y),
        )
    )  # fmt: skip
    correlation = xy / math.sqrt(xx * yy)
    influence_N: Floats = by_xy / math.sqrt(xx * yy) - correlation / 2 * (by_xx / xx + by_yy / yy)
    return correlation + influence_N


def p_value(difference_N: Floats, cluster_N: Ints) -> float | None:
    """
    Return the two-sided p-value of a paired test that the mean difference of contributions is 0.

    Args:
        difference_N: contribution of one judge minus that of the other, for each row.
        cluster_N: cluster of each row; rows of a cluster are not independent, so their signs are flipped together.

    Returns:
        The p-value, or None for fewer than two clusters.

    """
    from scipy.stats import t

    names, cluster_N = np.unique(cluster_N, return_inverse=True)
    clusters = len(names)
    if clusters <= FLIPPED:
        tested = sign_flip_test(difference_N.tolist(), cluster_N.tolist())
        return None if tested is None else tested.value
    mean = difference_N.mean()
    sum_G = np.bincount(cluster_N, weights=difference_N - mean).astype(np.float64)
    error = math.sqrt(clusters / (clusters - 1) * float((sum_G**2).sum())) / len(difference_N)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(t.sf(abs(mean) / error, clusters - 1))


def _share_below(others: Floats, x: Floats) -> Floats:
    """Return the share of `others` below each number of `x`; equal numbers count half."""
    ordered = np.sort(others)
    both = np.searchsorted(ordered, x, side="left") + np.searchsorted(ordered, x, side="right")
    shares: Floats = both / (2 * len(others))
    return shares


def _mean_above(a_N: Floats, value_N: Floats) -> Floats:
    """Return for each row the mean over all rows of the value, where `a` is larger; half of it where `a` is equal."""
    names, group_N = np.unique(a_N, return_inverse=True)
    sum_G = np.bincount(group_N, weights=value_N, minlength=len(names))
    above_G = sum_G[::-1].cumsum()[::-1] - sum_G / 2
    shares: Floats = above_G[group_N] / len(a_N)
    return shares
