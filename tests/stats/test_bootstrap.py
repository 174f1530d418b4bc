"""Draws and their intervals, against the same rules written in plain Python and against scipy."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from statistics import NormalDist, fmean
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from rlaif.stats.bootstrap import (
    BLOCK,
    DRAWS,
    SMALL_BLOCK,
    bootstrap_intervals,
    draw_statistics,
    interval,
    less_certain,
    reach_of_students_t,
)

NORMAL = NormalDist()

# --- draws --------------------------------------------------------------------------------------------------------


def seen(cluster: np.ndarray, **keys: int) -> np.ndarray:
    """How often each row stands in each draw, [draws, rows]."""
    columns = {row: (lambda times, row=row: times[:, row].astype(float)) for row in range(len(cluster))}
    drawn = draw_statistics(columns, cluster, **keys)
    return np.stack([drawn[row] for row in range(len(cluster))], axis=1)


@pytest.mark.parametrize("rows_of_each", [1, 2])
def test_each_block_of_draws_has_random_numbers_of_its_own_that_follow_from_the_seed(rows_of_each):
    clusters = 2500
    cluster = np.repeat(np.arange(clusters), rows_of_each)
    size = 2**18 // (clusters * rows_of_each)
    assert size < 110 < 3 * size
    columns = {row: (lambda times, row=row: times[:, row].astype(float)) for row in (0, 7, len(cluster) - 1)}
    drawn = draw_statistics(columns, cluster, draws=110, seed=5)
    for row, got in drawn.items():
        wanted = []
        for start in range(0, 110, size):
            rng = np.random.default_rng([5, start])
            picked = rng.integers(clusters, size=(min(size, 110 - start), clusters))
            wanted += [Counter(one)[int(cluster[row])] for one in picked.tolist()]
        assert got.tolist() == wanted


def test_rows_may_be_in_clusters_in_any_order():
    times = seen(np.array([2, 0, 1, 0]), draws=40)
    assert (times[:, 1] == times[:, 3]).all()
    assert (times[:, :3].sum(axis=1) == 3).all()
    one_each = seen(np.array([2, 0, 1]), draws=40)
    np.testing.assert_array_equal(one_each, times[:, :3])


def test_more_rows_than_a_block_holds_are_drawn_one_draw_at_a_time():
    first = [
        Counter(np.random.default_rng([0, start]).integers(BLOCK + 1, size=BLOCK + 1).tolist()) for start in (0, 1)
    ]
    row = next(row for row in first[1] if first[0][row] != first[1][row])
    columns = {
        "n": lambda times: times.sum(axis=1, dtype=np.float64),
        "row": lambda times: times[:, row].astype(float),
    }
    drawn = draw_statistics(columns, np.arange(BLOCK + 1), draws=2)
    assert drawn["n"].tolist() == [BLOCK + 1] * 2
    assert drawn["row"].tolist() == [counts[row] for counts in first]


def test_without_a_word_there_are_2000_draws_of_seed_0():
    cluster = np.array([0, 1, 2])
    np.testing.assert_array_equal(seen(cluster), seen(cluster, draws=2000, seed=0))
    assert len(seen(cluster)) == DRAWS == 2000


# --- intervals of draws -------------------------------------------------------------------------------------------


def bca(draws: list[float], value: float, by_cluster: list[float], clusters: int) -> list[float]:
    """Efron 1987 in plain Python: the bias of the draws, the skewness of the clusters' contributions."""
    below = fmean(1.0 if x < value else 0.5 if x == value else 0.0 for x in draws)
    bias = NORMAL.inv_cdf(min(max(below, 0.001), 0.999))
    cubes, squares = math.fsum(x**3 for x in by_cluster), math.fsum(x**2 for x in by_cluster)
    skew = cubes / (6 * squares**1.5) if squares else 0.0
    reach = math.sqrt(clusters / (clusters - 1)) * scipy.stats.t.ppf(0.975, clusters - 1)
    levels = [NORMAL.cdf(bias + (bias + z) / (1 - skew * (bias + z))) for z in (-reach, reach)]
    return [float(np.quantile(draws, level)) for level in levels]


def test_an_interval_is_bca_by_the_contributions_of_whole_clusters():
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(12), rng.integers(1, 4, 12))
    contribution = rng.exponential(1.0, len(cluster))
    draws = np.round(rng.gamma(4, 0.25, 999), 1)
    value = 1.0
    assert 50 < (draws == value).sum() < 200
    mean = contribution.mean()
    sums = [float((contribution[cluster == g] - mean).sum()) for g in range(12)]
    got = interval(draws, cluster, value, contribution)
    assert got == pytest.approx(bca(draws.tolist(), value, sums, 12))
    percentiles = bca(draws.tolist(), float(np.median(draws)), [0.0], 12)
    assert got != pytest.approx(percentiles, abs=0.05)
    # The names of clusters and what is not finite are nothing.
    more = np.concatenate([draws, [np.nan, np.inf]])
    assert interval(more, 100 - 3 * cluster, value, contribution) == got


def test_without_the_contributions_an_interval_is_of_percentiles():
    draws = np.random.default_rng(2).normal(size=500)
    cluster = np.arange(20)
    reach = math.sqrt(20 / 19) * scipy.stats.t.ppf(0.975, 19)
    wanted = np.quantile(draws, [NORMAL.cdf(-reach), NORMAL.cdf(reach)])
    assert interval(draws, cluster) == pytest.approx(wanted)
    assert interval(draws, cluster, 0.3) == pytest.approx(wanted)
    assert interval(draws, cluster, None, np.arange(20.0)) == pytest.approx(wanted)


@pytest.mark.parametrize(("value", "share"), [(-1.0, 0.001), (2.0, 0.999)])
def test_draws_all_on_one_side_are_as_one_in_a_thousand_on_the_other(value, share):
    draws = np.linspace(0, 1, 1001)
    got = interval(draws, np.arange(30), value, np.zeros(30))
    reach = math.sqrt(30 / 29) * scipy.stats.t.ppf(0.975, 29)
    assert got == pytest.approx([NORMAL.cdf(2 * NORMAL.inv_cdf(share) + z) for z in (-reach, reach)], abs=1e-9)


def test_draws_that_differ_from_the_value_by_rounding_are_ties():
    draws = np.linspace(0, 1, 1001)
    draws[:400], draws[400:900] = 0.2, 0.2 + 1e-13
    got = interval(draws, np.arange(30), 0.2, np.zeros(30))
    assert got == pytest.approx(bca([0.2] * 900 + draws[900:].tolist(), 0.2, [0.0], 30))


@pytest.mark.parametrize("clusters", [3, 10, 1000])
def test_bca_corrects_the_largest_skew_and_bias_that_there_can_be(clusters):
    draws = np.linspace(0, 1, 1001)
    contribution = np.zeros(clusters)
    contribution[0] = 100.0
    sums = (contribution - contribution.mean()).tolist()
    low, high = bca(draws.tolist(), 2.0, sums, clusters)
    assert 0.5 < low <= high
    assert interval(draws, np.arange(clusters), 2.0, contribution) == pytest.approx((low, high))


def test_an_interval_needs_two_clusters_and_a_finite_draw():
    assert interval(np.arange(9.0), np.zeros(5, dtype=int)) is None
    assert interval(np.array([np.nan, np.inf]), np.arange(5)) is None
    assert interval(np.array([np.nan, 0.5]), np.arange(2)) == (0.5, 0.5)
    assert interval(np.full(9, 0.5), np.arange(5), 0.5, np.arange(5.0)) == (0.5, 0.5)


def test_an_interval_of_one_point_at_an_end_is_widened_by_clopper_and_pearson_and_no_other():
    low, high = scipy.stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    assert less_certain((1.0, 1.0), 20) == (pytest.approx(low), high)
    low, high = scipy.stats.binomtest(0, 20).proportion_ci(0.95, "exact")
    assert less_certain((0.0, 0.0), 20) == (low, pytest.approx(high))
    for other in (None, (0.5, 0.5), (0.0, 1.0), (0.9, 1.0)):
        assert less_certain(other, 20) == other


def test_the_reach_is_that_of_students_t_over_the_bootstraps_standard_deviation():
    for clusters in (2, 5, 40):
        x = np.random.default_rng(clusters).normal(size=clusters)
        wanted = scipy.stats.ttest_1samp(x, 0).confidence_interval(0.9)
        half = reach_of_students_t(0.9, clusters) * x.std() / math.sqrt(clusters)
        assert (x.mean() - half, x.mean() + half) == pytest.approx((wanted.low, wanted.high))


# --- intervals of sums --------------------------------------------------------------------------------------------


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[0] / sums[1]


def by_scipy(sums: np.ndarray, level: float, method: str, *, draws: int, seed: int) -> tuple[float, float]:
    """The draws by the rule that they follow, the interval by scipy at the raised level."""
    clusters = sums.shape[1]
    rng, size = np.random.default_rng([seed, 0]), max(1, 2**15 // clusters)
    picked = [rng.integers(clusters, size=(min(size, draws - start), clusters)) for start in range(0, draws, size)]
    drawn = np.concatenate([sums[0][part].sum(1) / sums[1][part].sum(1) for part in picked])
    raised = 1 - 2 * NORMAL.cdf(
        -math.sqrt(clusters / (clusters - 1)) * scipy.stats.t.ppf((1 + level) / 2, clusters - 1)
    )
    done = scipy.stats.bootstrap(
        tuple(sums), lambda x, n, axis: x.sum(axis) / n.sum(axis), n_resamples=0, paired=True, vectorized=True,
        confidence_level=min(raised, 1 - 1e-9), method=method,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn),
    )  # fmt: skip
    return done.confidence_interval.low, done.confidence_interval.high


@pytest.mark.parametrize(
    ("clusters", "method"), [(2, "BCa"), (40, "BCa"), (1200, "BCa"), (2000, "BCa"), (2001, "percentile")]
)
def test_intervals_of_sums_are_those_of_scipy_at_a_raised_level(clusters, method):
    rng = np.random.default_rng(3)
    sums = np.stack([rng.exponential(1, clusters), rng.integers(1, 5, clusters)])
    got = bootstrap_intervals(mean, sums, (0.95, 0.9), draws=70, seed=4)
    for level, found in zip((0.95, 0.9), got, strict=True):
        assert found == pytest.approx(by_scipy(sums, level, method, draws=70, seed=4), rel=1e-9)
    other = by_scipy(sums, 0.95, {"BCa": "percentile", "percentile": "BCa"}[method], draws=70, seed=4)
    assert clusters == 2 or got[0] != pytest.approx(other, rel=1e-9)


def test_without_variance_percentiles_stand_in_for_bca_without_a_warning():
    sums = np.stack([np.full(5, 2.0), np.full(5, 4.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_intervals(mean, sums, (0.95,), draws=50, seed=0) == [(0.5, 0.5)]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_with_one_end_that_is_not_finite_is_none(sign):
    sums = np.stack([np.full(4, 1.0), np.array([0.0, 0.0, 0.0, 1.0])])
    assert bootstrap_intervals(lambda s: sign * s[0] / s[1], sums, (0.95,), draws=50, seed=0) == [None]


def test_where_one_end_of_bca_is_not_finite_percentiles_stand_in():
    sums = np.array([[1.0, 1.0, 1.0, 1.0, 5.0], [1.0, 1.0, 1.0, 0.0, 0.0]])
    with np.errstate(all="ignore"):
        low, high = by_scipy(sums, 0.8, "BCa", draws=200, seed=0)
        wanted = by_scipy(sums, 0.8, "percentile", draws=200, seed=0)
    assert math.isfinite(low)
    assert high == math.inf
    assert bootstrap_intervals(mean, sums, (0.8,), draws=200, seed=0) == [pytest.approx(wanted)]


def test_many_prompts_are_drawn_one_draw_at_a_time():
    sums = np.stack([np.arange(SMALL_BLOCK + 1.0), np.ones(SMALL_BLOCK + 1)])
    (found,) = bootstrap_intervals(mean, sums, (0.95,), draws=3, seed=1)
    assert found == pytest.approx(by_scipy(sums, 0.95, "percentile", draws=3, seed=1))
