"""
Measures of weighted rows. The weight of a row is how often it occurs in a bootstrap draw; all draws are computed at
once.

R of the N rows have a score. Scores are sorted once for all draws, so a weighted AUROC of 20,000 rows needs only a
cumulative sum per draw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rlaif.stats.bootstrap import Floats, Ints, Statistic, Times


def _weights(times_DN: Times, rows_R: Ints) -> Floats:
    return np.take(times_DN, rows_R, axis=1).astype(np.float64)


def mean(x_R: Floats, rows_R: Ints) -> Statistic:
    """Return a statistic that computes the mean."""

    def weigh(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows_R)
        means: Floats = (weight_DR @ x_R) / weight_DR.sum(axis=1)
        return means

    return weigh


def auroc(score_R: Floats, good_R: NDArray[np.bool_], rows_R: Ints) -> Statistic:
    """Return a statistic that computes the AUROC: how often a good text outscores a bad one, ties counted half."""
    order = np.argsort(score_R, kind="stable")  # reading memory in order is faster
    score_R, good_R, rows_R = score_R[order], good_R[order], rows_R[order]
    good, bad = rows_R[good_R], rows_R[~good_R]
    below, up_to = (np.searchsorted(score_R[~good_R], score_R[good_R], side=side) for side in ("left", "right"))
    ties = not np.array_equal(below, up_to)

    def weigh(times_DN: Times) -> Floats:
        good_DP = _weights(times_DN, good)
        beaten_DM = np.zeros((len(times_DN), len(bad) + 1))
        np.cumsum(_weights(times_DN, bad), axis=1, out=beaten_DM[:, 1:])
        beaten_DP = np.take(beaten_DM, below, axis=1)
        if ties:
            beaten_DP = (beaten_DP + np.take(beaten_DM, up_to, axis=1)) / 2
        areas: Floats = np.einsum("dp,dp->d", good_DP, beaten_DP) / (good_DP.sum(axis=1) * beaten_DM[:, -1])
        return areas

    return weigh


def average_precision(score_R: Floats, good_R: NDArray[np.bool_], rows_R: Ints) -> Statistic:
    """Return a statistic that computes the average precision of good texts, as scikit-learn does."""
    order = np.argsort(-score_R, kind="stable")
    rows, good = rows_R[order], good_R[order].astype(np.float64)
    last = np.flatnonzero(np.diff(score_R[order], append=np.nan) != 0)  # of each run of equal scores
    ties = len(last) < len(rows)

    def weigh(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows)
        all_DG = np.cumsum(weight_DR, axis=1)
        weight_DR *= good
        good_DG = np.cumsum(weight_DR, axis=1)
        gained_DG = weight_DR
        if ties:
            all_DG, good_DG = all_DG[:, last], good_DG[:, last]
            gained_DG = np.diff(good_DG, axis=1, prepend=0)
        np.maximum(all_DG, 1.0, out=all_DG)  # avoids 0 / 0 where no row has been drawn yet
        precisions: Floats = np.einsum("dg,dg->d", gained_DG, good_DG / all_DG) / good_DG[:, -1]
        return precisions

    return weigh


def spearman(x_R: Floats, y_R: Floats, rows_R: Ints) -> Statistic:
    """Return a statistic that computes Spearman's rank correlation, with mid-ranks among the drawn rows."""
    of_x, of_y = _ranks(x_R), _ranks(y_R)

    def weigh(times_DN: Times) -> Floats:
        weight_DR = _weights(times_DN, rows_R)
        total_D = weight_DR.sum(axis=1)
        x_DR, y_DR = of_x(weight_DR), of_y(weight_DR)

        def moment(a_DR: Floats, b_DR: Floats) -> Floats:
            products: Floats = np.einsum("dr,dr->d", weight_DR * a_DR, b_DR) / total_D - (total_D / 2) ** 2
            return products

        spread = moment(x_DR, x_DR) * moment(y_DR, y_DR)
        spread[spread <= 1e-9] = np.nan  # all drawn rows are equal
        correlations: Floats = moment(x_DR, y_DR) / np.sqrt(spread)
        return correlations

    return weigh


def _ranks(x_R: Floats) -> Callable[[Floats], Floats]:
    """Return a function that computes weighted mid-ranks: the weight below each row, and half of the equal weight."""
    order = np.argsort(x_R, kind="stable")
    _, group_R = np.unique(x_R, return_inverse=True)
    starts = np.flatnonzero(np.diff(x_R[order], prepend=np.nan) != 0)

    def rank(weight_DR: Floats) -> Floats:
        group_DG = np.add.reduceat(np.take(weight_DR, order, axis=1), starts, axis=1)
        rank_DG = np.cumsum(group_DG, axis=1) - group_DG / 2
        return np.take(rank_DG, group_R, axis=1)

    return rank
