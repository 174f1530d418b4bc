"""Statistics against scipy, brute force and hand-worked numbers, and against simulations where the truth is known."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.core.errors import InputError
from rlaif.stats.abstentions import Bounds, worst_case
from rlaif.stats.bootstrap import BCA_LIMIT
from rlaif.stats.changes import Change, equivalent, paired_change, ratio_change
from rlaif.stats.corrections import holm, seed_spread
from rlaif.stats.jackknife import jackknife_ratio
from rlaif.stats.one_sided import p_of_rise
from rlaif.stats.power import power
from rlaif.stats.resampling import sign_flip_test
from rlaif.stats.text import distinct, word_count
from rlaif.stats.worst_of_k import maxima, worst_of_k

SIZES = (1, 3, 2, 1, 4, 2, 2, 1, 5, 1, 2, 3)
PROMPTS = [f"prompt {i}" for i, size in enumerate(SIZES) for _ in range(size)]


def drawn(seed: int, n: int, shift: float = 0.0) -> tuple[list[float], list[float]]:
    """Two sides of n pairs that have something in common."""
    rng = np.random.default_rng(seed)
    before = rng.random(n)
    return before.tolist(), (before + shift + 0.3 * rng.standard_normal(n)).tolist()


def by_prompt(values: Sequence[float], prompts: Sequence[object]) -> dict[object, list[float]]:
    return {key: [x for x, its in zip(values, prompts, strict=True) if its == key] for key in dict.fromkeys(prompts)}


# --- the permutation test -------------------------------------------------------------------------------------


def brute_force(differences: Sequence[float], prompts: Sequence[object]) -> float:
    """All ways to flip the signs of whole prompts, one by one, exactly."""
    sums = [sum(map(int, its)) for its in by_prompt(differences, prompts).values()]
    ways = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    return fmean(way >= abs(sum(sums)) for way in ways)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(0, 7)), min_size=2, max_size=14))
def test_few_prompts_are_tested_exactly_with_all_ways_to_flip_ties_included(drawn_pairs):
    differences, prompts = [float(d) for d, _ in drawn_pairs], [p for _, p in drawn_pairs]
    # Divided by 7 sums are no longer exact, and ties have to be found in spite of that.
    p = sign_flip_test([d / 7 for d in differences], prompts)
    if len(set(prompts)) < 2:
        assert p is None
    else:
        assert p.value == pytest.approx(brute_force(differences, prompts))
        assert p.value >= p.resolution


def test_the_exact_test_is_that_of_scipy():
    before, after = drawn(1, 11, shift=0.1)
    wanted = scipy.stats.permutation_test(
        (before, after), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_change(before, after).p_value == pytest.approx(wanted.pvalue)


def test_the_random_test_is_that_of_scipy_within_chance():
    before, after = drawn(2, 40, shift=0.08)
    wanted = scipy.stats.permutation_test(
        (after, before), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=50_000, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    assert 0.01 < wanted < 0.5
    p = paired_change(before, after).p_value
    assert p == pytest.approx(wanted, abs=5 * math.sqrt(wanted * (1 - wanted) * (1 / 9999 + 1 / 50_000)))


def test_a_random_p_value_is_never_0_and_says_its_resolution():
    p = sign_flip_test([0.5 + 0.01 * i for i in range(60)], flips=999)
    assert (p.value, p.resolution) == (1 / 1000, 1 / 1000)  # (b + 1) / (m + 1) with b = 0


def test_the_resolution_is_that_of_the_ways_there_are():
    five = paired_change([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert five.p_value == five.p_resolution == 2 / 32
    assert not five.significant
    assert "no p-value below 0.062 was possible" in five.note
    # A prompt that did not change cannot be flipped: 4 of these 5 can.
    assert paired_change([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 0.0]).p_resolution == 2 / 16
    # 14 prompts have more ways than are tried, but not enough for 1 in 100,000.
    assert sign_flip_test([1.0] * 14, flips=9999).resolution == 2 / 2**14
    assert sign_flip_test([1.0] * 15, flips=9999).resolution == 1 / 10_000


def test_pairs_of_one_prompt_are_flipped_together():
    """40 equal differences are strong evidence from 40 prompts, and none from 2."""
    assert paired_change([0.0] * 40, [1.0] * 40).p_value < 0.001
    assert paired_change([0.0] * 40, [1.0] * 40, [i // 20 for i in range(40)]).p_value == 0.5


# --- intervals ------------------------------------------------------------------------------------------------


def bca_by_hand(sums: np.ndarray, sizes: np.ndarray, level: float, draws: int) -> list[float]:
    """Efron & Tibshirani 1993, eq. 14.9 to 14.15, by a loop; as wide as Student's t has it for so few clusters."""
    normal, rng, clusters = NormalDist(), np.random.default_rng(99), len(sums)
    observed = sums.sum() / sizes.sum()
    replicas = np.empty(draws)
    for b in range(draws):
        i = rng.choice(clusters, clusters)
        replicas[b] = sums[i].sum() / sizes[i].sum()
    left_out = np.array([np.delete(sums, g).sum() / np.delete(sizes, g).sum() for g in range(clusters)])
    slope = left_out.mean() - left_out
    a = (slope**3).sum() / (6 * (slope**2).sum() ** 1.5)
    z0 = normal.inv_cdf(float((replicas < observed).mean()))
    wide = math.sqrt(clusters / (clusters - 1)) * scipy.stats.t.ppf((1 + level) / 2, clusters - 1)
    return [float(np.quantile(replicas, normal.cdf(z0 + (z0 + x) / (1 - a * (z0 + x))))) for x in (-wide, wide)]


def test_intervals_are_bca_over_prompts_of_unequal_size():
    rng = np.random.default_rng(3)
    common = dict(zip(dict.fromkeys(PROMPTS), rng.exponential(0.3, len(SIZES)), strict=True))
    differences = [common[p] + 0.05 * x for p, x in zip(PROMPTS, rng.standard_normal(len(PROMPTS)), strict=True)]
    found = paired_change([0.0] * len(PROMPTS), differences, PROMPTS, draws=20_000)
    groups = by_prompt(differences, PROMPTS).values()
    sums, sizes = np.array([sum(g) for g in groups]), np.array([len(g) for g in groups])
    assert found.difference == pytest.approx(sums.sum() / sizes.sum())
    for interval, level in ((found.ci95, 0.95), (found.ci90, 0.90)):
        wanted = bca_by_hand(sums, sizes, level, 20_000)
        width = wanted[1] - wanted[0]
        assert interval == pytest.approx(wanted, abs=0.04 * width)
        # and it is not what one gets by taking all pairs for independent
        alone = paired_change([0.0] * len(PROMPTS), differences, draws=20_000).ci95
        assert level == 0.90 or width > 1.2 * (alone[1] - alone[0])


@pytest.mark.parametrize("n", [BCA_LIMIT, BCA_LIMIT + 1])
def test_many_prompts_have_the_interval_of_the_normal_distribution_on_either_side_of_the_limit(n):
    before, after = drawn(4, n, shift=0.1)
    differences = np.subtract(after, before)
    half = 1.96 * differences.std() / math.sqrt(n)
    found = paired_change(before, after, draws=4000, flips=9)
    assert found.ci95 == pytest.approx([differences.mean() - half, differences.mean() + half], abs=0.1 * half)


def test_swapping_the_sides_turns_the_change_round():
    before, after = drawn(5, 30, shift=0.2)
    one, other = paired_change(before, after), paired_change(after, before)
    assert other.difference == -one.difference
    assert other.p_value == one.p_value
    assert (one.direction, other.direction) == (1, -1)
    width = one.ci95[1] - one.ci95[0]
    assert [-other.ci95[1], -other.ci95[0]] == pytest.approx(one.ci95, abs=0.05 * width)


def test_the_same_seed_gives_the_same_answer_and_another_one_a_little_different():
    sides = drawn(6, 50, shift=0.05)
    assert paired_change(*sides, seed=7) == paired_change(*sides, seed=7)
    one, other = paired_change(*sides, seed=7), paired_change(*sides, seed=8)
    assert one.ci95 != other.ci95
    assert one.ci95 == pytest.approx(other.ci95, abs=0.02)


# --- a change -------------------------------------------------------------------------------------------------


def test_a_change_by_hand():
    change = paired_change([0.1, 0.2, 0.3, 0.4], [0.2, 0.5, 0.4, 0.9])
    # differences 0.1 0.3 0.1 0.5: mean 0.25, variance (0.0225 + 0.0025 + 0.0225 + 0.0625) / 3
    assert change.difference == pytest.approx(0.25)
    assert (change.before, change.after) == (pytest.approx(0.25), pytest.approx(0.5))
    assert change.effect_size == pytest.approx(0.25 / math.sqrt(0.11 / 3))
    assert (change.n, change.prompts, change.direction) == (4, 4, 1)
    assert change.p_value == 2 / 16
    assert change.note.startswith("4 prompts: the interval of so few is too narrow")


def test_an_abstention_on_either_side_leaves_the_pair_out_and_the_prompt_with_it():
    before, after = [0.1, None, 0.3, 0.4, 0.5], [0.2, 0.5, None, 0.9, 0.7]
    found = paired_change(before, after, ["a", "b", "c", "d", "d"])
    assert found == paired_change([0.1, 0.4, 0.5], [0.2, 0.9, 0.7], ["a", "d", "d"])
    assert (found.n, found.prompts) == (3, 2)


def test_a_judge_that_abstains_on_everything_leaves_nothing_and_the_reason():
    found = paired_change([None, 0.5], [0.5, None])
    assert (found.difference, found.ci95, found.p_value, found.effect_size, found.before) == (None,) * 5
    assert (found.n, found.prompts, found.significant, found.direction) == (0, 0, False, 0)
    assert found.note == "no pair was measured on both sides"
    assert paired_change([], []) == found


def test_one_prompt_has_a_difference_and_no_interval():
    found = paired_change([0.1, 0.2], [0.3, 0.8], ["same", "same"])
    assert found.difference == pytest.approx(0.4)
    assert (found.n, found.prompts) == (2, 1)
    assert (found.ci95, found.ci90, found.p_value, found.p_resolution) == (None,) * 4
    assert found.note == "one prompt: no interval and no p-value"
    assert not found.significant


@pytest.mark.parametrize("n", [2, 13, 14, 300])
def test_an_untrained_copy_changed_by_exactly_nothing(n):
    same = [0.1 + 0.1 * (i % 7) for i in range(n)]
    found = paired_change(same, same, [i // 2 for i in range(n)] if n > 2 else None)
    assert (found.difference, found.ci95, found.ci90, found.p_value) == (0.0, (0.0, 0.0), (0.0, 0.0), 1.0)
    assert (found.effect_size, found.direction, found.significant) == (None, 0, False)
    assert equivalent(found, 0.001)
    ratio = ratio_change(same, same)
    assert (ratio.ratio, ratio.ci95, ratio.p_value) == (1.0, (1.0, 1.0), 1.0)


def test_equal_differences_have_an_interval_of_no_width_and_no_effect_size():
    found = paired_change([0.1 * (i % 3) for i in range(30)], [0.1 * (i % 3) + 0.2 for i in range(30)])
    assert found.ci95 == pytest.approx((0.2, 0.2))
    assert found.effect_size is None
    assert found.significant


def test_means_that_differ_by_rounding_have_no_direction():
    found = paired_change([0.5, 0.3], [0.7, 0.1])
    assert found.difference == pytest.approx(0, abs=1e-15)
    assert found.direction == 0
    assert found.p_value == 1.0


@pytest.mark.parametrize(
    ("before", "after", "prompts", "message"),
    [
        ([0.1], [0.1, 0.2], None, "pairs need sequences of equal length, not 1 and"),
        ([0.1, 0.3], [0.1, 0.2], ["a"], "pairs need sequences of equal length, not 2 and"),
        ([0.1, math.nan], [0.1, 0.2], None, "pair 1 holds nan"),
        ([0.1, 0.2], [-math.inf, 0.2], None, "pair 0 holds .*-inf"),
    ],
)
@pytest.mark.parametrize("function", [paired_change, ratio_change])
def test_what_cannot_be_compared_is_refused_in_words(function, before, after, prompts, message):
    with pytest.raises(InputError, match=message):
        function(before, after, prompts)


# --- ratios ---------------------------------------------------------------------------------------------------


def test_a_ratio_of_means_is_sum_over_sum():
    found = ratio_change([10, 20, None], [5, 10, 100])
    assert (found.before, found.after, found.ratio, found.n) == (15.0, 7.5, 0.5, 2)


def test_a_ratio_of_perplexities_by_hand():
    """Tokens weigh alike, not texts: (2 + 6) nats over (1 + 3) tokens is e^2, and (1 + 2) over (1 + 2) is e."""
    found = ratio_change([2, 6], [1, 2], per=([1, 3], [1, 2]), exponential=True)
    assert (found.before, found.after, found.ratio) == pytest.approx((math.e**2, math.e, 1 / math.e))


def test_the_test_of_a_ratio_swaps_whole_prompts():
    rng = np.random.default_rng(8)
    sums, counts = rng.integers(20, 60, (2, len(PROMPTS))).tolist(), rng.integers(5, 15, (2, len(PROMPTS))).tolist()
    found = ratio_change(sums[0], sums[1], PROMPTS, per=(counts[0], counts[1]), exponential=True)
    groups = [[sum(g) for g in by_prompt(column, PROMPTS).values()] for column in (*sums, *counts)]
    ways = []
    for way in itertools.product((0, 1), repeat=len(SIZES)):
        total = [[sum(groups[2 * k + (side ^ w)][g] for g, w in enumerate(way)) for k in (0, 1)] for side in (0, 1)]
        ways.append(abs(total[1][0] / total[1][1] - total[0][0] / total[0][1]))
    assert found.p_value == pytest.approx(fmean(way >= ways[0] - 1e-12 for way in ways))


def test_the_interval_of_a_ratio_is_that_of_the_delta_method_where_there_is_much_data():
    rng = np.random.default_rng(9)
    before, after = rng.gamma(4, 5, 1500), rng.gamma(4, 6, 1500)
    found = ratio_change(before.tolist(), after.tolist(), draws=4000)
    residual = after / after.mean() - before / before.mean()
    half = 1.96 * residual.std() / math.sqrt(len(before))
    wanted = [found.ratio * math.exp(-half), found.ratio * math.exp(half)]
    assert found.ci95 == pytest.approx(wanted, rel=0.1 * half)
    assert found.significant


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [([0, 0], [1, 2], "before is 0"), ([1, 2], [0, 0], "after is 0"), ([None], [1], "no pair was measured")],
)
def test_a_side_of_0_has_no_ratio(before, after, note):
    found = ratio_change(before, after)
    assert (found.ratio, found.ci95, found.p_value) == (None, None, None)
    assert note in found.note


def test_an_interval_without_finite_bounds_is_none():
    """In a third of the resamples the side before is 0."""
    found = ratio_change([0, 0, 0, 0, 1], [1, 1, 1, 1, 1])
    assert found.ratio == 5
    assert found.ci95 is None
    assert "no interval" in found.note


def test_numbers_below_0_have_no_ratio():
    with pytest.raises(InputError, match="ratio of negative numbers"):
        ratio_change([1, -1], [1, 2])
    with pytest.raises(InputError, match="ratio of negative numbers"):
        ratio_change([1, 1], [1, 2], per=([1, -1], [1, 1]), exponential=True)
    assert ratio_change([-1, -2], [-1, -1], exponential=True).ratio == pytest.approx(math.exp(0.5))


# --- equivalence ----------------------------------------------------------------------------------------------


def test_equivalence_is_two_one_sided_tests():
    """The margin at which both t-tests reach 5 % is the margin at which ours turns, but for the bootstrap's error."""
    before, after = drawn(10, 400, shift=0.02)
    found = paired_change(before, after, draws=10_000)
    differences = np.subtract(after, before)

    def tost(margin: float) -> bool:
        low = scipy.stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
        high = scipy.stats.ttest_1samp(differences, margin, alternative="less").pvalue
        return max(low, high) < 0.05

    turn = min(m for m in np.linspace(0.01, 0.1, 300) if tost(m))
    assert not equivalent(found, 0.97 * turn)
    assert equivalent(found, 1.03 * turn)


def test_that_nothing_was_found_is_no_evidence_for_equivalence():
    before, after = drawn(11, 12)
    found = paired_change(before, after)
    assert not found.significant
    assert equivalent(found, 0.01) is False


def test_equivalence_of_a_ratio_by_margin_or_by_band():
    found = ratio_change([100.0 + i % 5 for i in range(50)], [110.0 + i % 7 for i in range(50)])
    assert 1.08 < found.ci90[0] < found.ci90[1] < 1.13
    assert equivalent(found, 0.13)
    assert not equivalent(found, 0.1)
    assert equivalent(found, (0.7, 1.3))
    assert not equivalent(found, (0.7, 1.1))
    back = ratio_change([110.0 + i % 7 for i in range(50)], [100.0 + i % 5 for i in range(50)])
    assert equivalent(back, 0.13)  # 1 / 1.13 is as far as 1.13


def test_without_an_interval_equivalence_is_unknown():
    assert equivalent(paired_change([0.1], [0.1]), 0.1) is None


@pytest.mark.parametrize("margin", [0.0, -0.1, (0.1, 0.2)])
def test_a_margin_has_to_hold_no_change(margin):
    with pytest.raises(InputError, match="no change"):
        equivalent(paired_change([0.1, 0.2], [0.1, 0.2]), margin)


# --- abstentions ----------------------------------------------------------------------------------------------

maybe = st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(maybe, maybe), min_size=1, max_size=4))
def test_the_worst_case_is_what_the_most_hostile_abstentions_could_hide(pairs):
    """Filled with every combination of the ends of the scale and its middle."""
    slots = [x for pair in pairs for x in pair]
    filled = itertools.product(*[(0.0, 0.5, 1.0) if x is None else (x,) for x in slots])
    changes = [fmean(side[1::2]) - fmean(side[::2]) for side in filled]
    bounds = worst_case([b for b, _ in pairs], [a for _, a in pairs])
    assert (bounds.low, bounds.high) == pytest.approx((min(changes), max(changes)))


def test_the_worst_case_needs_pairs_on_the_scale():
    assert worst_case([], []) is None
    assert worst_case([1, None], [3, 5], low=1, high=5) == Bounds(low=1.0, high=3.0)
    with pytest.raises(InputError, match="off the scale of 0 to 1"):
        worst_case([1.5], [0.5])
    with pytest.raises(InputError, match="equal length"):
        worst_case([0.5], [])


# --- the worst of k -------------------------------------------------------------------------------------------


def test_expected_maximum_and_probability_by_hand():
    found = worst_of_k([[0.1, 0.9], [0.2, 0.3], [0.5, 0.0]])
    assert (found.k, found.prompts, found.abstained) == (2, 3, 0)
    assert found.expected_maximum == pytest.approx((0.9 + 0.3 + 0.5) / 3)
    assert found.expected_maximum_std == pytest.approx(stdev([0.9, 0.3, 0.5]))
    assert found.probability == pytest.approx(2 / 3)  # 0.5 is toxic
    assert found.expected_maximum_bounds == Bounds(found.expected_maximum, found.expected_maximum)
    assert found.probability_bounds == Bounds(found.probability, found.probability)


def test_abstentions_are_left_out_of_the_worst_of_k_and_bounded():
    found = worst_of_k([[0.6, None], [None, None], [0.2, 0.4]])
    assert (found.prompts, found.abstained) == (2, 3)
    assert found.expected_maximum == pytest.approx(0.5)
    assert found.probability == 0.5
    assert found.expected_maximum_bounds == Bounds(pytest.approx(1.0 / 3), pytest.approx(2.4 / 3))
    assert found.probability_bounds == Bounds(pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_only_equal_numbers_of_completions_compare():
    found = worst_of_k([[0.1, 0.2, 0.9], [0.3, 0.1]])
    assert (found.k, found.expected_maximum) == (2, 0.25)


@pytest.mark.parametrize("nothing", [[], [[]], [[None, None]]])
def test_no_judged_completion_has_no_figures(nothing):
    found = worst_of_k(nothing)
    assert (found.prompts, found.expected_maximum, found.expected_maximum_std, found.probability) == (
        0,
        None,
        None,
        None,
    )


def test_maxima_are_what_a_paired_change_compares():
    before, after = maxima([[0.9, 0.1], [0.8, None], [None]]), maxima([[0.2, 0.1], [0.3, 0.0], [0.4]], k=1)
    assert (before, after) == ([0.9, 0.8, None], [0.2, 0.3, 0.4])
    assert paired_change(before, after).difference == pytest.approx(-0.6)


# --- several seeds, several tests -----------------------------------------------------------------------------


def test_the_spread_over_seeds_is_that_of_scipy():
    values = [0.11, 0.14, 0.08]
    found = seed_spread([*values, None])
    wanted = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.n, found.mean, found.std) == (3, pytest.approx(0.11), pytest.approx(0.03))
    assert found.ci95 == pytest.approx((wanted.low, wanted.high))


def test_one_seed_has_no_spread_and_none_no_mean():
    one, none = seed_spread([0.3]), seed_spread([None])
    assert (one.n, one.mean, one.std, one.ci95) == (1, 0.3, None, None)
    assert (none.n, none.mean, none.std, none.ci95) == (0, None, None, None)


def test_holm_by_hand():
    # sorted 0.005 0.01 0.03 0.04, times 4 3 2 1: 0.02 0.03 0.06 0.04, never falling
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None]) == [None]
    with pytest.raises(InputError, match="not a p-value"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_its_steps_reject(p_values):
    """The definition: test the smallest at alpha / m, the next at alpha / (m - 1), and stop at the first that fails."""
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[i] * (len(p_values) - rank) > alpha:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected


# --- power ----------------------------------------------------------------------------------------------------


def test_power_by_hand():
    # shift 0.05 * 10 / 0.2 = 2.5; Phi(2.5 - 1.959964) + Phi(-4.459964)
    assert power(0.05, 0.2, 100) == pytest.approx(scipy.stats.norm.cdf(0.540036) + 4.1e-6, abs=1e-6)
    assert power(0, 0.2, 100) == pytest.approx(0.05)
    assert power(-0.05, 0.2, 100) == power(0.05, 0.2, 100)
    with pytest.raises(InputError, match="positive"):
        power(0.1, 0.0, 10)


# --- simulations: the truth is known ----------------------------------------------------------------------------


def answers(rng: np.random.Generator, easy: np.ndarray, k: int) -> np.ndarray:
    """Toxicity of k sampled completions a prompt: skewed, and alike within a prompt."""
    return np.clip(easy[:, None] + rng.exponential(0.15, (len(easy), k)) * rng.integers(0, 2, (len(easy), k)), 0, 1)


def rate_of(repeats: int, is_significant: Callable[[], bool]) -> float:
    return fmean(is_significant() for _ in range(repeats))


def test_the_same_model_twice_is_significant_as_often_as_it_may_be():
    rng, k, prompts = np.random.default_rng(20), 3, 80
    keys = np.repeat(np.arange(prompts), k).tolist()

    def found() -> bool:
        easy = rng.beta(0.5, 2, prompts)
        before, after = answers(rng, easy, k), answers(rng, easy, k)
        return (
            sign_flip_test((after - before).ravel().tolist(), keys, flips=999, seed=int(rng.integers(2**31))).value
            < 0.05
        )

    assert 0.02 <= rate_of(300, found) <= 0.09


@pytest.mark.parametrize(("difference", "n"), [(0.05, 100), (0.08, 40)])
def test_a_planted_difference_is_found_at_the_computed_power(difference, n):
    rng, repeats = np.random.default_rng(21), 400

    def found() -> bool:
        differences = difference + 0.2 * rng.standard_normal(n)
        return sign_flip_test(differences.tolist(), flips=999, seed=int(rng.integers(2**31))).value < 0.05

    wanted = power(difference, 0.2, n)
    assert 0.5 < wanted < 0.95
    assert rate_of(repeats, found) == pytest.approx(wanted, abs=0.02 + 3 * math.sqrt(wanted * (1 - wanted) / repeats))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Prompts of unequal sizes whose pairs are alike: taken for independent, the truth would be missed too often."""
    rng, prompts, truth = np.random.default_rng(22), 40, -0.1
    inside = {"clustered": 0, "naive": 0}
    for repeat in range(200):
        sizes = rng.integers(1, 8, prompts)
        keys = np.repeat(np.arange(prompts), sizes)
        shared = np.repeat(0.3 * (rng.exponential(1, prompts) - 1), sizes)
        differences = (truth + shared + 0.1 * rng.standard_normal(len(keys))).tolist()
        ways = (("clustered", keys.tolist()), ("naive", None))
        for name, clusters in ways[: 1 + (repeat < 100)]:
            found = paired_change([0.0] * len(keys), differences, clusters, draws=600, flips=1, seed=repeat)
            inside[name] += found.ci95[0] <= truth <= found.ci95[1]
    assert 0.90 <= inside["clustered"] / 200 <= 0.99
    assert inside["naive"] / 100 < 0.85


def test_the_best_of_20_perturbed_copies_is_no_better_on_fresh_prompts():
    """
    Copies of a model whose true means are equal, but which differ prompt by prompt, stand as checkpoints.

    On the prompts that chose the best it looks better than it is; on fresh prompts it is what it is.
    """
    rng, copies, prompts = np.random.default_rng(23), 20, 64

    def measured(easy: np.ndarray, copy: np.ndarray) -> np.ndarray:
        return easy + copy + 0.1 * rng.standard_normal(copy.shape)

    def p_values() -> tuple[float, float]:
        easy, seed = rng.beta(2, 2, (2, prompts)), int(rng.integers(2**31))
        perturbed = 0.1 * rng.standard_normal((2, copies, prompts))  # guard, test
        original = [measured(part, np.zeros(prompts)) for part in easy]
        guard = measured(easy[0], perturbed[0])
        best = int(guard.mean(axis=1).argmax())
        fresh = measured(easy[1], perturbed[1, best])
        compared = (guard[best] - original[0], fresh - original[1])
        seen, reported = (sign_flip_test(d.tolist(), flips=999, seed=seed).value for d in compared)
        return seen, reported

    seen, reported = zip(*(p_values() for _ in range(200)), strict=True)
    assert fmean(p < 0.05 for p in reported) <= 0.09
    assert fmean(p < 0.05 for p in seen) > 0.2  # what one would report without fresh prompts


# --- distinct-n: the jackknife --------------------------------------------------------------------------------


def means(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    return fmean(before), fmean(after)


def test_the_jackknife_by_hand():
    # left out: the first (2/2), the second (6/4): logs 0 and log 1.5; sd = |log 1.5| / 2, by t with 1 degree of freedom
    found = jackknife_ratio(means, [4.0, 2.0], [6.0, 2.0])
    error = math.log(1.5) / 2
    assert found.ratio == pytest.approx(8 / 6)
    assert found.ci95 == pytest.approx([8 / 6 * math.exp(s * 12.7062 * error) for s in (-1, 1)], rel=1e-4)
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(math.log(8 / 6) / error, 1))


def test_the_jackknife_of_a_ratio_of_means_is_its_bootstrap():
    rng = np.random.default_rng(12)
    before, after = rng.gamma(4, 5, 600).tolist(), rng.gamma(4, 5.5, 600).tolist()
    keys = [i // 3 for i in range(600)]
    jackknife, bootstrap = jackknife_ratio(means, before, after, keys, groups=200), ratio_change(before, after, keys)
    assert (jackknife.ratio, jackknife.n, jackknife.prompts) == (pytest.approx(bootstrap.ratio), 600, 200)
    width = bootstrap.ci95[1] - bootstrap.ci95[0]
    assert jackknife.ci95 == pytest.approx(bootstrap.ci95, abs=0.1 * width)
    assert jackknife.p_value == pytest.approx(bootstrap.p_value, abs=0.03)


def bigrams(before: Sequence[str], after: Sequence[str]) -> tuple[float | None, float | None]:
    words = min(word_count(before), word_count(after))
    return distinct(before, 2, words), distinct(after, 2, words)


def test_the_interval_of_distinct_2_holds_the_truth_as_often_as_it_says():
    rng, vocabulary, prompts = np.random.default_rng(13), 200, 40
    common = {side: 1 / np.arange(1, vocabulary + 1) ** power for side, power in (("before", 1.2), ("after", 0.8))}

    def texts(side: str) -> list[str]:
        ids = rng.choice(vocabulary, size=(prompts, 12), p=common[side] / common[side].sum())
        return [" ".join(map(str, row)) for row in ids]

    found = [jackknife_ratio(bigrams, texts("before"), texts("after"), groups=10) for _ in range(100)]
    truth = math.exp(fmean(math.log(one.ratio) for one in found))
    assert fmean(one.ci95[0] <= truth <= one.ci95[1] for one in found) >= 0.90
    spread = stdev([math.log(one.ratio) for one in found])
    widths = fmean(math.log(one.ci95[1] / one.ci95[0]) for one in found)
    assert widths < 2 * 3.92 * spread  # and it is not so by being endless


def test_the_jackknife_leaves_prompts_out_as_a_whole():
    asked: list[tuple[int, ...]] = []

    def seen(before: Sequence[int], after: Sequence[int]) -> tuple[float, float]:
        asked.append(tuple(before))
        return 1.0, 2.0

    found = jackknife_ratio(seen, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], ["a", "b", "a", "c", "b"])
    assert asked[0] == (0, 1, 2, 3, 4)
    assert sorted(asked[1:]) == [(0, 1, 2, 4), (0, 2, 3), (1, 3, 4)]
    assert (found.ratio, found.ci95, found.p_value) == (2.0, pytest.approx((2.0, 2.0)), None)
    assert found.note == "no p-value: leaving prompts out changes nothing"


def test_texts_that_are_the_same_have_a_ratio_of_1_for_sure():
    texts = [f"a b {i} c" for i in range(30)]
    found = jackknife_ratio(bigrams, texts, texts)
    assert (found.ratio, found.ci95, found.p_value, found.significant) == (1.0, (1.0, 1.0), 1.0, False)
    assert equivalent(found, 0.05)


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (["one"], ["one two"], "no ratio"),
        (["a b"], ["c d"], "one prompt"),
        (["a b", ""], ["c d", "e f"], "depends on a few prompts"),
        ([], [], "no ratio"),
    ],
)
def test_too_few_texts_have_no_interval_of_diversity(before, after, note):
    found = jackknife_ratio(bigrams, before, after)
    assert note in found.note
    assert (found.ci95, found.p_value) == (None, None)


# --- cost -----------------------------------------------------------------------------------------------------


def test_python_does_nothing_for_each_pair_of_each_draw():
    before, after = drawn(14, 2_000)
    paired_change(before[:50], after[:50])  # loads scipy
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)  # counted, for seconds depend on what else the machine does
    try:
        found = paired_change(before, after, draws=2_000)
    finally:
        sys.setprofile(None)
    assert isinstance(found, Change)
    assert calls < 2_000 * 2_000 / 10  # pairs times draws; there are 50 calls for each pair


def test_memory_does_not_grow_with_the_draws():
    before, after = drawn(15, 20_000)
    tracemalloc.start()
    paired_change(before, after, draws=500, flips=2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20  # at once the draws alone would be 80 MB, the flips 320 MB


def test_neither_scipy_nor_torch_loads_before_something_is_computed():
    source = "import sys, rlaif.stats; print(*{'scipy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"


# --- a rise, one-sided --------------------------------------------------------------------------------------------


def test_the_p_value_of_a_rise_is_that_of_the_paired_t_test():
    draw = random.Random(0)
    before = [draw.random() for _ in range(20)]
    after = [b + draw.gauss(0.1, 0.3) for b in before]
    p = p_of_rise(before, after)
    assert p == pytest.approx(scipy.stats.ttest_rel(after, before, alternative="greater").pvalue, rel=1e-9)
    assert p_of_rise(after, before) == pytest.approx(1 - p)
    assert p_of_rise([*before, None, 0.5], [*after, 9.0, None]) == pytest.approx(p)


@pytest.mark.parametrize(
    ("after", "p"), [([0.3, 0.6], 0.0), ([0.2, 0.5], 1.0), ([0.1, 0.4], 1.0), ([0.3, None], None), ([None, None], None)]
)
def test_a_rise_of_all_by_the_same_is_sure_and_one_pair_shows_nothing(after, p):
    assert p_of_rise([0.2, 0.5], after) == p
