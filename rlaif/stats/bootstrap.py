"""
The bootstrap, as weights: a draw says how often each row stands in it, and a measure reads that many rows at once.

Scores are sorted once for all draws, and all judges see the same draws, so that a difference of two judges is drawn
as surely as either of them. A weighted AUROC of 20,000 rows takes a cumulative sum, not a sort.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

from rlaif.core.system.threads import side_by_side

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Times = NDArray[np.uint8]
"""How often each row stands in each draw, [D, N]. Of 256 clusters or more none is ever drawn 256 times."""
Statistic = Callable[[Times], Floats]
"""The measure of each draw, [D]; NaN where it has none."""

DRAWS = 2000
BLOCK = 2**18
"""Numbers of a block of draws: 2 MiB of float64, which fits into a cache."""


def drawn(
    statistics: Mapping[Hashable, Statistic], cluster_N: Ints, *, draws: int = DRAWS, seed: int = 0
) -> dict[Hashable, Floats]:
    """
    Compute statistics of the same draws; rows of a cluster are drawn together.

    Args:
        statistics: by any name.
        cluster_N: the cluster of each row, in [0, G).
        draws: how many.
        seed: of the draws; each block of them has one of its own that follows from it.

    Returns:
        For each statistic its values, [draws].

    """
    rows, clusters = len(cluster_N), int(cluster_N.max()) + 1
    size = max(1, BLOCK // max(rows, clusters))
    of_itself = bool((cluster_N == np.arange(rows)).all())  # each row its own cluster, in order

    def block(start: int) -> list[Floats]:
        count = min(size, draws - start)
        rng = np.random.default_rng([seed, start])
        picked_DG = rng.integers(clusters, size=(count, clusters)) + clusters * np.arange(count)[:, None]
        times_DG = np.bincount(picked_DG.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.uint8)
        times_DN = times_DG if of_itself else np.take(times_DG, cluster_N, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return [statistic(times_DN) for statistic in statistics.values()]

    blocks = side_by_side(block, range(0, draws, size), os.cpu_count())
    return {name: np.concatenate(parts) for name, parts in zip(statistics, zip(*blocks, strict=True), strict=True)}


def interval(
    values_D: Floats, cluster_R: Ints, value: float | None = None, contribution_R: Floats | None = None
) -> tuple[float, float] | None:
    """
    Return the 95 % interval of draws; None for fewer than two clusters or without a finite draw.

    BCa (Efron 1987, "Better bootstrap confidence intervals", eq. 2.3, 6.6) where the contributions of rows are known,
    else percentiles, which near 0 and 1 hold the truth too seldom. The interval of few clusters is too narrow, so that
    the level is raised until that of a mean is about as wide as Student's (Hesterberg 2015, arXiv 1411.5279), as
    `rlaif.stats` does.

    Args:
        values_D: the measure of each draw.
        cluster_R: the cluster of each row.
        value: the measure itself.
        contribution_R: of each row to the measure, which is their mean.

    """
    from scipy.stats import norm, t

    values_D = values_D[np.isfinite(values_D)]
    names, number_R = np.unique(cluster_R, return_inverse=True)
    clusters = len(names)
    if clusters < 2 or not len(values_D):
        return None
    bias = skew = 0.0
    if value is not None and contribution_R is not None and np.ptp(values_D) > 0:
        rounding = 1e-12  # of sums in another order
        below = (values_D < value - rounding).mean() + (np.abs(values_D - value) <= rounding).mean() / 2
        bias = float(norm.ppf(np.clip(below, 0.001, 0.999)))
        sum_G = np.bincount(number_R, weights=contribution_R - contribution_R.mean())
        skew = float((sum_G**3).sum() / (6 * (sum_G**2).sum() ** 1.5)) if sum_G.any() else 0.0
    reach = math.sqrt(clusters / (clusters - 1)) * float(t.ppf(0.975, clusters - 1))
    ends = [bias + (bias + z) / max(1e-9, 1 - skew * (bias + z)) for z in (-reach, reach)]
    low, high = np.quantile(values_D, norm.cdf(ends))
    return float(low), float(high)


def less_certain(ci95: tuple[float, float] | None, units: int) -> tuple[float, float] | None:
    """
    Widen an interval that is a single point at 0 or 1: no draw can show an error that was never made.

    The bound is that of as many successes in a row (Clopper & Pearson 1934; 1 - 3.7 / n, by the rule of three).

    Args:
        ci95: by draws.
        units: independent rows behind the number.

    """
    if ci95 not in ((0.0, 0.0), (1.0, 1.0)):
        return ci95
    bound = 0.025 ** (1 / units)
    return (bound, 1.0) if ci95 == (1.0, 1.0) else (0.0, 1 - bound)


# --- measures of weighted rows: R of the N rows have a score ------------------------------------------------------


def _weights(times_DN: Times, rows_R: Ints) -> Floats:
    return np.take(times_DN, rows_R, axis=1).astype(np.float64)


def mean(x_R: Floats, rows_R: Ints) -> Statistic:
    """Make the mean of numbers."""

    def of(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows_R)
        means: Floats = (weight_DR @ x_R) / weight_DR.sum(axis=1)
        return means

    return of


def auroc(score_R: Floats, good_R: NDArray[np.bool_], rows_R: Ints) -> Statistic:
    """Make the area under the ROC curve: how often a good text outscores a bad one, a tie counted half."""
    order = np.argsort(score_R, kind="stable")  # look-ups in order are fast ones
    score_R, good_R, rows_R = score_R[order], good_R[order], rows_R[order]
    good, bad = rows_R[good_R], rows_R[~good_R]
    below, up_to = (np.searchsorted(score_R[~good_R], score_R[good_R], side=side) for side in ("left", "right"))
    ties = not np.array_equal(below, up_to)

    def of(times_DN: Times) -> Floats:
        good_DP = _weights(times_DN, good)
        beaten_DM = np.zeros((len(times_DN), len(bad) + 1))
        np.cumsum(_weights(times_DN, bad), axis=1, out=beaten_DM[:, 1:])
        beaten_DP = np.take(beaten_DM, below, axis=1)
        if ties:
            beaten_DP = (beaten_DP + np.take(beaten_DM, up_to, axis=1)) / 2
        areas: Floats = np.einsum("dp,dp->d", good_DP, beaten_DP) / (good_DP.sum(axis=1) * beaten_DM[:, -1])
        return areas

    return of


def average_precision(score_R: Floats, good_R: NDArray[np.bool_], rows_R: Ints) -> Statistic:
    """Make the average precision of good texts, as scikit-learn has it: equal scores are one threshold."""
    order = np.argsort(-score_R, kind="stable")
    rows, good = rows_R[order], good_R[order].astype(np.float64)
    last = np.flatnonzero(np.diff(score_R[order], append=np.nan) != 0)  # of each run of equal scores
    ties = len(last) < len(rows)

    def of(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows)
        all_DG = np.cumsum(weight_DR, axis=1)
        weight_DR *= good
        good_DG = np.cumsum(weight_DR, axis=1)
        gained_DG = weight_DR
        if ties:
            all_DG, good_DG = all_DG[:, last], good_DG[:, last]
            gained_DG = np.diff(good_DG, axis=1, prepend=0)
        np.maximum(all_DG, 1.0, out=all_DG)  # where nothing was drawn yet, nothing was gained either
        precisions: Floats = np.einsum("dg,dg->d", gained_DG, good_DG / all_DG) / good_DG[:, -1]
        return precisions

    return of


def spearman(x_R: Floats, y_R: Floats, rows_R: Ints) -> Statistic:
    """Make Spearman's rank correlation: Pearson's of mid-ranks, which are those among the rows that were drawn."""
    of_x, of_y = _ranks(x_R), _ranks(y_R)

    def of(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows_R)
        total_D = weight_DR.sum(axis=1)
        x_DR, y_DR = of_x(weight_DR), of_y(weight_DR)

        def moment(a_DR: Floats, b_DR: Floats) -> Floats:
            products: Floats = np.einsum("dr,dr->d", weight_DR * a_DR, b_DR) / total_D - (total_D / 2) ** 2
            return products

        spread = moment(x_DR, x_DR) * moment(y_DR, y_DR)
        spread[spread <= 1e-9] = np.nan  # all that was drawn is equal
        correlations: Floats = moment(x_DR, y_DR) / np.sqrt(spread)
        return correlations

    return of


def _ranks(x_R: Floats) -> Callable[[Floats], Floats]:
    """Make the mid-ranks of rows by their weights: what lies below, and half of what is equal."""
    order = np.argsort(x_R, kind="stable")
    _, group_R = np.unique(x_R, return_inverse=True)
    starts = np.flatnonzero(np.diff(x_R[order], prepend=np.nan) != 0)

    def of(weight_DR: Floats) -> Floats:
        group_DG = np.add.reduceat(np.take(weight_DR, order, axis=1), starts, axis=1)
        rank_DG = np.cumsum(group_DG, axis=1) - group_DG / 2
        return np.take(rank_DG, group_R, axis=1)

    return of
