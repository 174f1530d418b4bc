"""
The bootstrap: whole clusters are drawn with replacement, and the draws become intervals.

Two kinds of measures are drawn. A function of sums over prompts (a mean is a sum over a count) costs one addition per
prompt and draw: `bootstrap_intervals`. A measure of ranks reads how often each row stands in a draw, and all judges
see the same draws, so that a difference of two is drawn as surely as either of them: `draw_statistics` and `interval`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from rlaif.core.system.threads import map_in_threads
from rlaif.stats.resampling import Measure, pick_clusters

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Times = NDArray[np.uint8]
"""How often each row stands in each draw, [D, N]. Of 256 clusters or more none is ever drawn 256 times."""
Statistic = Callable[[Times], Floats]
"""The measure of each draw, [D]; NaN where it has none."""

DRAWS = 2000
BLOCK = 2**18
"""Numbers of a block of weights: 2 MiB of float64, which fits into a cache."""
SMALL_BLOCK = 2**15
"""Numbers of a block of sums: 256 KiB, which stay in the cache of a core."""


def draw_statistics(
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
        picked_DG = pick_clusters(rng, count, clusters) + clusters * np.arange(count)[:, None]
        times_DG = np.bincount(picked_DG.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.uint8)
        times_DN = times_DG if of_itself else np.take(times_DG, cluster_N, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return [statistic(times_DN) for statistic in statistics.values()]

    blocks = map_in_threads(block, range(0, draws, size), os.cpu_count())
    return {name: np.concatenate(parts) for name, parts in zip(statistics, zip(*blocks, strict=True), strict=True)}


def interval(
    values_D: Floats, cluster_R: Ints, value: float | None = None, contribution_R: Floats | None = None
) -> tuple[float, float] | None:
    """
    Return the 95 % interval of draws; None for fewer than two clusters or without a finite draw.

    BCa (Efron 1987, "Better bootstrap confidence intervals", eq. 2.3, 6.6) where the contributions of rows are known,
    else percentiles, which near 0 and 1 hold the truth too seldom. The interval of few clusters is too narrow, so that
    the level is raised until that of a mean is about as wide as Student's: see `reach_of_students_t`.

    Args:
        values_D: the measure of each draw.
        cluster_R: the cluster of each row.
        value: the measure itself.
        contribution_R: of each row to the measure, which is their mean.

    """
    from scipy.stats import norm

    values_D = values_D[np.isfinite(values_D)]
    names, number_R = np.unique(cluster_R, return_inverse=True)
    clusters = len(names)
    if clusters < 2 or not len(values_D):
        return None
    bias = skew = 0.0
    if value is not None and contribution_R is not None:
        rounding = 1e-12  # of sums in another order
        below = (values_D < value - rounding).mean() + (np.abs(values_D - value) <= rounding).mean() / 2
        bias = float(norm.ppf(np.clip(below, 0.001, 0.999)))
        sum_G = np.bincount(number_R, weights=contribution_R - contribution_R.mean())
        skew = float((sum_G**3).sum() / (6 * (sum_G**2).sum() ** 1.5)) if sum_G.any() else 0.0
    reach = reach_of_students_t(0.95, clusters)
    # The divisor is above 0.15: of G numbers with the sum 0 the skew is at most (G - 2) / (6 sqrt(G (G - 1))).
    ends = [bias + (bias + z) / (1 - skew * (bias + z)) for z in (-reach, reach)]
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


BCA_LIMIT = 2000
"""Prompts up to which intervals are BCa: its jackknife is quadratic, and what it corrects fades with 1 / sqrt(G)."""


Interval = tuple[float, float]


def bootstrap_intervals(
    measure: Measure, sums_KG: Floats, levels: Sequence[float], *, draws: int, seed: int
) -> list[Interval | None]:
    """
    Return a confidence interval of `measure` for each level, by resampling G >= 2 prompts with all their pairs.

    BCa (Efron 1987, "Better bootstrap confidence intervals") by scipy; percentiles beyond `BCA_LIMIT` prompts and
    where BCa is undefined, as without variance. A bootstrap of few prompts is too narrow, so that the level is raised
    until the interval of a mean is about as wide as Student's (Hesterberg 2015, arXiv 1411.5279; `ExpandProbs` of his
    R package resample). None where a bound is not finite.

    Args:
        measure: what is computed from the sums over all prompts.
        sums_KG: K sums of each prompt.
        levels: such as 0.95.
        draws: resamples.
        seed: of the resamples.

    """
    from scipy.stats import bootstrap

    clusters = sums_KG.shape[1]
    methods = ("BCa", "percentile") if clusters <= BCA_LIMIT else ("percentile",)

    def interval_of_sample(*columns: Floats, axis: int) -> Floats:
        return measure(np.stack([column.sum(axis=axis) for column in columns]))

    rng, size = np.random.default_rng([seed, 0]), max(1, SMALL_BLOCK // clusters)
    found: list[Interval | None] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns where BCa is undefined
        picked = (pick_clusters(rng, min(size, draws - start), clusters) for start in range(0, draws, size))
        values = [interval_of_sample(*(column_G[picked_DG] for column_G in sums_KG), axis=1) for picked_DG in picked]
        drawn = SimpleNamespace(bootstrap_distribution=np.concatenate(values))
        for level in levels:
            for method in methods:
                done = bootstrap(
                    tuple(sums_KG), interval_of_sample, n_resamples=0, batch=size, paired=True, vectorized=True,
                    confidence_level=_raise_level(level, clusters), method=method, bootstrap_result=drawn,
                )  # fmt: skip
                low, high = map(float, done.confidence_interval)
                if math.isfinite(low) and math.isfinite(high):
                    break
            found.append((low, high) if math.isfinite(low) and math.isfinite(high) else None)
    return found


def _raise_level(level: float, prompts: int) -> float:
    """Return the level at which a normal interval of a bootstrap's width is as wide as Student's t at `level`."""
    from scipy.special import ndtr

    return min(1 - 1e-9, 1 - 2 * float(ndtr(-reach_of_students_t(level, prompts))))


def reach_of_students_t(level: float, clusters: int) -> float:
    """
    Return how many standard deviations of a bootstrap's draws an interval of a mean has to reach on both sides.

    A bootstrap of few clusters is too narrow; this is as wide as Student's t (Hesterberg 2015, arXiv 1411.5279;
    `ExpandProbs` of his R package resample).

    Args:
        level: such as 0.95.
        clusters: that were resampled.

    """
    from scipy.special import stdtrit

    return math.sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, (1 + level) / 2))
