"""
The bootstrap: draws whole clusters with replacement, and turns the draws into intervals.

There are two kinds of measures. `bootstrap_intervals` is for functions of sums over prompts, such as a mean; they cost
one addition per prompt and draw. `draw_statistics` and `interval` are for rank measures, which need to know how often
each row occurs in a draw. All judges share the same draws, so the difference of two judges can be resampled too.
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
"""How often each row occurs in each draw, [D, N]. In practice no cluster is drawn 256 times."""
Statistic = Callable[[Times], Floats]
"""Returns the measure of each draw, [D]; NaN where it is undefined."""

DRAWS = 2000
BLOCK = 2**18
"""Size of a block of weights: 2 MiB of float64, which fits into the cache."""
SMALL_BLOCK = 2**15
"""Size of a block of sums: 256 KiB of float64, which stays in the cache of one core."""


def draw_statistics(
    statistics: Mapping[Hashable, Statistic], cluster_N: Ints, *, draws: int = DRAWS, seed: int = 0
) -> dict[Hashable, Floats]:
    """
    Compute several statistics on the same draws. Rows of a cluster are drawn together.

    Args:
        statistics: the statistics, under any names.
        cluster_N: the cluster of each row, in [0, G).
        draws: number of draws.
        seed: seed of the draws; each block of draws derives its own seed from it.

    Returns:
        The values of each statistic, [draws].

    """
    rows, clusters = len(cluster_N), int(cluster_N.max()) + 1
    size = max(1, BLOCK // max(rows, clusters))
    is_unclustered = bool((cluster_N == np.arange(rows)).all())  # each row its own cluster, in order

    def block(start: int) -> list[Floats]:
        count = min(size, draws - start)
        rng = np.random.default_rng([seed, start])
        picked_DG = pick_clusters(rng, count, clusters) + clusters * np.arange(count)[:, None]
        times_DG = np.bincount(picked_DG.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.uint8)
        times_DN = times_DG if is_unclustered else np.take(times_DG, cluster_N, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return [statistic(times_DN) for statistic in statistics.values()]

    blocks = map_in_threads(block, range(0, draws, size), os.cpu_count())
    return {name: np.concatenate(parts) for name, parts in zip(statistics, zip(*blocks, strict=True), strict=True)}


def interval(
    values_D: Floats, cluster_R: Ints, value: float | None = None, contribution_R: Floats | None = None
) -> tuple[float, float] | None:
    """
    Return the 95 % interval of a measure from its draws.

    Uses BCa (Efron 1987, "Better bootstrap confidence intervals", eq. 2.3, 6.6) if the contributions of rows are known,
    else percentiles, whose coverage is too low near 0 and 1. A bootstrap of few clusters is too narrow, so the level is
    raised until the interval of a mean is about as wide as Student's: see `reach_of_students_t`.

    Args:
        values_D: the measure of each draw.
        cluster_R: the cluster of each row.
        value: the measure of all rows.
        contribution_R: contribution of each row to the measure; their mean is the measure.

    Returns:
        The lower and upper bound, or None for fewer than two clusters or without a finite draw.

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
    Widen an interval that is the single point 0 or 1, because resampling cannot show an error that never occurred.

    The bound is that of `units` successes in a row (Clopper & Pearson 1934; about 1 - 3.7 / n, the rule of three).

    Args:
        ci95: the bootstrap interval.
        units: number of independent rows behind the figure.

    """
    if ci95 not in ((0.0, 0.0), (1.0, 1.0)):
        return ci95
    bound = 0.025 ** (1 / units)
    return (bound, 1.0) if ci95 == (1.0, 1.0) else (0.0, 1 - bound)


# --- measures of sums over prompts --------------------------------------------------------------------------------


BCA_LIMIT = 2000
"""Largest number of prompts for BCa: its jackknife is quadratic, and its correction shrinks with 1 / sqrt(G)."""


Interval = tuple[float, float]


def bootstrap_intervals(
    measure: Measure, sums_KG: Floats, levels: Sequence[float], *, draws: int, seed: int
) -> list[Interval | None]:
    """
    Return a confidence interval of `measure` for each level, by resampling G >= 2 prompts with all their pairs.

    Uses BCa (Efron 1987, "Better bootstrap confidence intervals") from scipy, and percentiles beyond `BCA_LIMIT`
    prompts or where BCa is undefined, for example without variance. A bootstrap of few prompts is too narrow, so the
    level is raised until the interval of a mean is about as wide as Student's (Hesterberg 2015, arXiv 1411.5279;
    `ExpandProbs` of his R package resample).

    Args:
        measure: computes the measure from the sums over all prompts.
        sums_KG: K sums of each prompt.
        levels: confidence levels, such as 0.95.
        draws: number of resamples.
        seed: seed of the resamples.

    Returns:
        The lower and upper bound for each level, or None where a bound is not finite.

    """
    from scipy.stats import bootstrap

    clusters = sums_KG.shape[1]
    methods = ("BCa", "percentile") if clusters <= BCA_LIMIT else ("percentile",)

    def interval_of_sample(*columns: Floats, axis: int) -> Floats:
        return measure(np.stack([column.sum(axis=axis) for column in columns]))

    rng, size = np.random.default_rng([seed, 0]), max(1, SMALL_BLOCK // clusters)
    found: list[Interval | None] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns if BCa is undefined
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
    """Return the level at which a bootstrap interval is as wide as Student's t at `level`."""
    from scipy.special import ndtr

    return min(1 - 1e-9, 1 - 2 * float(ndtr(-reach_of_students_t(level, prompts))))


def reach_of_students_t(level: float, clusters: int) -> float:
    """
    Return the half-width of the interval of a mean, in standard deviations of the bootstrap draws.

    A bootstrap of few clusters is too narrow; this makes it as wide as Student's t (Hesterberg 2015, arXiv 1411.5279;
    `ExpandProbs` of his R package resample).

    Args:
        level: confidence level, such as 0.95.
        clusters: number of clusters that were resampled, at least 2.

    """
    from scipy.special import stdtrit

    return math.sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, (1 + level) / 2))
