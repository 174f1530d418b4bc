"""Where a rule of the statistics turns, what they take without a word, and that their answers cannot be changed."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import scipy.stats

from rlaif.core.errors import InputError
from rlaif.stats import influence, weighted
from rlaif.stats.abstentions import Bounds, worst_case
from rlaif.stats.changes import Change, RatioChange, equivalent, paired_change, ratio_change
from rlaif.stats.corrections import Spread, holm, seed_spread
from rlaif.stats.jackknife import jackknife_ratio
from rlaif.stats.pairs import Pairs, pairs_of
from rlaif.stats.power import power
from rlaif.stats.resampling import PValue, sign_flip_test, swap_test
from rlaif.stats.text import distinct, distinct_words, perplexity, repetition, word_count
from rlaif.stats.worst_of_k import WorstOfK, worst_of_k

RNG = np.random.default_rng(30)
BEFORE, AFTER = RNG.random(25).tolist(), RNG.random(25).tolist()


# --- records ------------------------------------------------------------------------------------------------------

UNKNOWN: dict[str, Any] = {
    "n": 2, "prompts": 2, "before": 1.0, "after": 2.0, "ci95": None, "ci90": None, "p_value": None,
    "p_resolution": None, "note": "",
}  # fmt: skip
RECORDS = [
    Bounds(0.0, 1.0),
    Change(difference=1.0, effect_size=None, **UNKNOWN),
    RatioChange(ratio=2.0, **UNKNOWN),
    Spread(1, 0.5, None, None),
    PValue(0.5, 0.25),
    pairs_of([1.0]),
    worst_of_k([[0.5]]),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_an_answer_cannot_be_changed_and_takes_no_other_field(record):
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, 0)
    assert not hasattr(record, "__dict__")


@pytest.mark.parametrize("kind", [Change, RatioChange])
def test_evidence_is_built_by_name_only(kind):
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        kind(2)


def test_equal_answers_are_equal():
    assert worst_of_k([[0.5]]) == worst_of_k([[0.5]])
    assert isinstance(worst_of_k([[0.5]]), WorstOfK)
    assert isinstance(pairs_of([1.0]), Pairs)


# --- evidence -----------------------------------------------------------------------------------------------------


def test_without_a_word_there_are_2000_draws_9999_flips_and_seed_0():
    wanted: dict[str, Any] = {"draws": 2000, "flips": 9999, "seed": 0}
    assert paired_change(BEFORE, AFTER) == paired_change(BEFORE, AFTER, **wanted)
    assert ratio_change(BEFORE, AFTER) == ratio_change(BEFORE, AFTER, **wanted)
    differences = np.subtract(AFTER, BEFORE).tolist()
    assert sign_flip_test(differences) == sign_flip_test(differences, flips=9999, seed=0)


def test_a_change_is_significant_below_5_percent_and_not_at_it():
    def change(p: float) -> Change:
        return Change(difference=1.0, effect_size=None, **{**UNKNOWN, "p_value": p})

    assert change(math.nextafter(0.05, 0)).significant
    assert not change(0.05).significant


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (1.0, None), (None, None)])
def test_a_side_without_a_measure_has_no_direction(before, after):
    assert Change(difference=None, effect_size=None, **{**UNKNOWN, "before": before, "after": after}).direction == 0


def test_the_direction_is_that_of_the_larger_side():
    assert [RatioChange(ratio=1.0, **{**UNKNOWN, "after": after}).direction for after in (0.5, 1.0, 1.0001)] == [
        -1,
        0,
        1,
    ]


def test_the_interval_of_fewer_than_10_prompts_is_called_too_narrow():
    assert paired_change(BEFORE[:10], AFTER[:10]).note == ""
    assert paired_change(BEFORE[:9], AFTER[:9]).note == "9 prompts: the interval of so few is too narrow"


def test_a_test_that_cannot_go_below_5_percent_says_so_and_one_that_can_does_not():
    assert "no p-value below 0.05 was possible" in paired_change(BEFORE, AFTER, flips=19).note
    assert paired_change(BEFORE, AFTER, flips=20).note == ""


def test_the_intervals_of_a_change_are_at_95_and_90_percent():
    rng = np.random.default_rng(31)
    x = rng.normal(size=400)
    found = paired_change([0.0] * 400, x.tolist(), draws=4000, flips=1)
    for interval, level in ((found.ci95, 0.95), (found.ci90, 0.90)):
        wanted = scipy.stats.ttest_1samp(x, 0).confidence_interval(level)
        assert interval == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_equivalence_wants_the_interval_inside_the_margin_and_not_on_it():
    def change(low: float, high: float) -> Change:
        return Change(difference=0.0, effect_size=None, **{**UNKNOWN, "ci90": (low, high)})

    assert equivalent(change(-0.0625, 0.0625), 0.125)
    assert not equivalent(change(-0.125, 0.0625), 0.125)
    assert not equivalent(change(-0.0625, 0.125), 0.125)
    ratio = RatioChange(ratio=1.0, **{**UNKNOWN, "ci90": (0.85, 1.2)})
    assert equivalent(ratio, 0.25)
    assert not equivalent(ratio, 0.15)
    assert not equivalent(RatioChange(ratio=1.0, **{**UNKNOWN, "ci90": (0.75, 1.2)}), 0.25)  # 1 / 1.25 is 0.8


@pytest.mark.parametrize(("margin", "of_ratio"), [((0.0, 0.1), (1.0, 1.1)), ((-0.1, 0.0), (0.9, 1.0))])
def test_a_margin_that_ends_at_no_change_does_not_hold_it(margin, of_ratio):
    with pytest.raises(InputError, match="does not include 0"):
        equivalent(Change(difference=1.0, effect_size=None, **UNKNOWN), margin)
    with pytest.raises(InputError, match="does not include 1"):
        equivalent(RatioChange(ratio=2.0, **UNKNOWN), of_ratio)


def test_the_effect_size_of_small_differences_is_that_of_large_ones():
    differences = [1.0, 2.0, 4.0]
    wanted = np.mean(differences) / np.std(differences, ddof=1)
    for scale in (1e-9, 1.0, 1e9):
        assert paired_change([0.0] * 3, [scale * x for x in differences]).effect_size == pytest.approx(wanted)


def test_two_pairs_have_an_effect_size():
    assert paired_change([0.0, 0.0], [1.0, 3.0]).effect_size == pytest.approx(2 / math.sqrt(2))


def test_a_ratio_of_rates_may_have_a_count_of_0_and_is_refused_one_below():
    found = ratio_change([1.0, 0.0, 2.0], [2.0, 1.0, 1.0], per=([1.0, 0.0, 1.0], [1.0, 1.0, 0.0]))
    assert (found.before, found.after, found.ratio) == (1.5, 2.0, pytest.approx(4 / 3))
    for per in (([1.0, -1.0, 1.0], [1.0] * 3), ([1.0] * 3, [1.0, 1.0, -1.0])):
        with pytest.raises(InputError, match="ratio of negative numbers"):
            ratio_change([1.0] * 3, [1.0] * 3, per=per)
    with pytest.raises(InputError, match="ratio of negative numbers"):
        ratio_change([1.0, 1.0], [1.0, -0.5])


def test_what_has_no_ratio_is_named():
    assert ratio_change([0, 0], [1, 2]).note == "no ratio: before is 0 or cannot be measured"
    assert ratio_change([0, 0], [0, 0]).note == "no ratio: before and after is 0 or cannot be measured"
    assert ratio_change([1, 2], [0, 0]).before == 1.5
    beyond = ratio_change([800.0], [1.0], exponential=True)
    assert (beyond.before, beyond.after, beyond.ratio) == (None, pytest.approx(math.e), None)


def test_a_single_interval_that_has_no_finite_bounds_is_noted():
    found = ratio_change([1.0] * 3 + [0.0] * 4, [1.0] * 7, draws=300, flips=1)
    assert found.ci95 is None
    assert found.ci90 is not None
    assert "no interval: it has no finite bounds" in found.note


def test_one_prompt_has_a_ratio_and_no_interval():
    found = ratio_change([2.0, 4.0], [3.0, 6.0], ["same", "same"])
    assert (found.ratio, found.ci95, found.ci90, found.p_value) == (1.5, None, None, None)
    assert (found.n, found.prompts, found.note) == (2, 1, "one prompt: no interval and no p-value")


# --- abstentions, corrections, power ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-0.25, 1.25])
def test_a_number_off_the_usual_scale_is_refused_on_either_side(wrong):
    for sides in (([wrong], [0.5]), ([0.5], [wrong])):
        with pytest.raises(InputError, match=f"{wrong} is off the scale of 0 to 1"):
            worst_case(*sides)
    assert worst_case([0.0, 1.0], [1.0, None]) == Bounds(0.0, 0.5)


def test_a_p_value_below_0_is_refused_and_0_and_1_are_none_of_these():
    with pytest.raises(InputError, match=r"-0.1 is not a p-value"):
        holm([0.5, -0.1])
    assert holm([0.0, 1.0]) == [0.0, 1.0]


def test_two_seeds_have_a_spread():
    found = seed_spread([1.0, 3.0])
    assert (found.n, found.mean, found.std) == (2, 2.0, pytest.approx(math.sqrt(2)))
    assert found.ci95 == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)


@pytest.mark.parametrize(("std", "n"), [(-0.1, 10), (0.0, 10), (0.1, 0), (0.1, -1)])
def test_power_needs_a_spread_and_pairs(std, n):
    with pytest.raises(InputError, match="positive"):
        power(0.1, std, n)


def test_power_at_another_level_and_of_one_pair():
    z = NormalDist().inv_cdf(0.995)
    wanted = NormalDist().cdf(0.5 - z) + NormalDist().cdf(-0.5 - z)
    assert power(0.5, 1.0, 1, alpha=0.01) == pytest.approx(wanted)


# --- the permutation test -----------------------------------------------------------------------------------------


def test_all_ways_are_tried_where_there_are_no_more_than_flips():
    differences = [1.0, 2.0, 3.0, -0.5]
    assert sign_flip_test(differences, flips=16) == PValue(4 / 16, 2 / 16)
    random = sign_flip_test(differences, flips=15)
    assert random.resolution == 2 / 16
    assert random.value * 16 == pytest.approx(round(random.value * 16))


@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_flips_are_random_bits_in_blocks(seed):
    differences = np.random.default_rng(32).normal(0.02, 1, 1100)
    found = swap_test(lambda total: total[1] - total[0], np.zeros((1, 1100)), differences[None], flips=100, seed=seed)
    assert found.resolution == 1 / 101
    assert 0.1 < found.value < 0.95
    assert found.value == pytest.approx(swapped_in_blocks(differences, 100, seed))


def test_more_prompts_than_a_block_holds_are_flipped_once_at_a_time():
    differences = np.random.default_rng(36).normal(0.001, 1, 2**15 + 1)
    found = swap_test(lambda total: total[1] - total[0], np.zeros((1, 2**15 + 1)), differences[None], flips=9, seed=1)
    assert found.value == pytest.approx(swapped_in_blocks(differences, 9, 1))


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1e9])
def test_the_p_value_does_not_depend_on_the_unit(scale):
    differences = np.array([1, 2, 3, -2, 1, 4]) / 7
    assert sign_flip_test((scale * differences).tolist()) == sign_flip_test(differences.tolist())
    assert sign_flip_test(differences.tolist()).value < 0.5


def swapped_in_blocks(differences: np.ndarray, flips: int, seed: int) -> float:
    """(b + 1) / (flips + 1), with one random bit for each prompt of each flip."""
    prompts = len(differences)
    rng, width, block = np.random.default_rng([seed, 1]), math.ceil(prompts / 8), max(1, 2**15 // prompts)
    assert block < flips
    b = 0
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        drawn = rng.bytes(rows * width)
        for row in range(rows):
            its = drawn[row * width : (row + 1) * width]
            bits = [(byte >> (7 - k)) & 1 for byte in its for k in range(8)][:prompts]
            b += abs(((1 - 2 * np.array(bits)) * differences).sum()) >= abs(differences.sum()) - 1e-9
    return (b + 1) / (flips + 1)


def test_prompts_that_differ_in_one_of_several_sums_are_swapped():
    before = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    after = np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0]])
    found = swap_test(lambda t: t[2] / t[3] - t[0] / t[1], before, after, flips=99, seed=0)
    assert found.resolution == 2 / 4


def test_no_prompt_that_differs_is_no_evidence():
    assert sign_flip_test([0.0, 0.0, 0.0]) == PValue(1.0, 1.0)
    assert sign_flip_test([1.0, 1.0], [0, 0]) is None
    assert sign_flip_test([1.0, 1.0]) == PValue(1.0 / 2, 1.0 / 2)


def test_a_swap_without_a_measure_counts_as_extreme():
    # Of four ways to swap two prompts, the two that leave a side without a count have no mean.
    before, after = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 3.0], [0.0, 1.0]])
    found = swap_test(lambda t: t[2] / t[3] - t[0] / t[1], before, after, flips=99, seed=0)
    assert found.value == 1.0


# --- contributions ------------------------------------------------------------------------------------------------


def test_beyond_1000_clusters_the_test_is_students():
    x = np.random.default_rng(33).normal(0.04, 1, 1001)
    wanted = scipy.stats.ttest_1samp(x, 0).pvalue
    assert influence.p_value(x, np.arange(1001)) == pytest.approx(wanted, rel=1e-9)
    assert influence.p_value(x[:1000], np.arange(1000)) == sign_flip_test(x[:1000].tolist()).value


def test_students_test_takes_the_rows_of_a_cluster_together():
    rng = np.random.default_rng(34)
    x, cluster = rng.normal(0.03, 1, 3000), np.arange(3000) // 2 * 7
    mean = x.mean()
    error = math.sqrt(1500 / 1499 * sum(((x - mean)[2 * g : 2 * g + 2].sum()) ** 2 for g in range(1500))) / 3000
    assert influence.p_value(x, cluster) == pytest.approx(2 * scipy.stats.t.sf(abs(mean) / error, 1499), rel=1e-9)
    assert influence.p_value(-x, cluster) == pytest.approx(influence.p_value(x, cluster), rel=1e-12)


def test_differences_that_are_all_the_same_are_for_sure():
    with np.errstate(all="raise"):
        assert influence.p_value(np.zeros(1001), np.arange(1001)) == 1.0
        assert influence.p_value(np.full(1001, 0.5), np.arange(1001)) == 0.0


def test_contributions_are_tested_in_two_clusters_and_not_in_one():
    assert influence.p_value(np.array([1.0, 2.0]), np.array([5, 5])) is None
    assert influence.p_value(np.array([1.0, 2.0]), np.array([5, 6])) == 0.5


# --- the jackknife ------------------------------------------------------------------------------------------------


def sums(before: list[float], after: list[float]) -> tuple[float, float]:
    return math.fsum(before), math.fsum(after)


def test_without_a_word_the_jackknife_deals_into_40_groups_by_seed_0():
    rng = np.random.default_rng(35)
    before, after = rng.random(100).tolist(), rng.random(100).tolist()
    found = jackknife_ratio(sums, before, after)
    assert found == jackknife_ratio(sums, before, after, groups=40, seed=0)
    assert found != jackknife_ratio(sums, before, after, groups=40, seed=1)
    order = np.random.default_rng(0).permutation(100)
    group = dict(zip(order.tolist(), [place % 40 for place in range(100)], strict=True))
    logs = []
    for g in range(40):
        kept = [i for i in range(100) if group[i] != g]
        old, new = sums([before[i] for i in kept], [after[i] for i in kept])
        logs.append(math.log(new / old))
    error = math.sqrt(39 / 40 * sum((x - np.mean(logs)) ** 2 for x in logs))
    centre = math.log(sum(after) / sum(before))
    for interval, level in ((found.ci95, 0.975), (found.ci90, 0.95)):
        half = scipy.stats.t.ppf(level, 39) * error
        assert interval == pytest.approx((math.exp(centre - half), math.exp(centre + half)))
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(centre) / error, 39))
    assert (found.n, found.prompts, found.p_resolution, found.note) == (100, 100, None, "")


@pytest.mark.parametrize("sides", [(0.0, 1.0), (1.0, 0.0), (None, 1.0), (1.0, None)])
def test_a_side_that_is_0_or_nothing_has_no_ratio_and_none_once_a_group_is_out(sides):
    whole = jackknife_ratio(lambda *_: sides, [1, 2], [1, 2])
    assert (whole.ratio, whole.note) == (None, "no ratio: one side is 0 or cannot be measured")
    left_out = jackknife_ratio(lambda before, _: (2.0, 3.0) if len(before) == 2 else sides, [1, 2], [1, 2])
    assert (left_out.ratio, left_out.note) == (1.5, "no interval: the measure depends on a few prompts")
    assert (left_out.n, left_out.prompts, left_out.before, left_out.after) == (2, 2, 2.0, 3.0)


def test_one_prompt_has_a_ratio_of_texts_and_no_interval():
    found = jackknife_ratio(sums, [1.0, 2.0], [2.0, 4.0], ["same", "same"])
    assert (found.ratio, found.ci95, found.prompts) == (2.0, None, 1)
    assert found.note == "one prompt: no interval and no p-value"


def test_sides_of_unequal_length_are_refused_and_counted_in_the_order_in_which_they_were_given():
    with pytest.raises(InputError, match="not 1 and 2"):
        jackknife_ratio(sums, [1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="not 2 and 2 and 1"):
        jackknife_ratio(sums, [1.0, 1.0], [1.0, 2.0], ["a"])
    with pytest.raises(InputError, match="not 1 and 2"):
        worst_case([1.0], [1.0, 0.5])


def test_the_jackknife_measures_before_and_after_in_this_order():
    def measure(before: list[str], after: list[str]) -> tuple[float, float]:
        assert {text[0] for text in before} == {"b"}
        assert {text[0] for text in after} == {"a"}
        return float(len(before)), 2.0

    assert jackknife_ratio(measure, ["b0", "b1", "b2"], ["a0", "a1", "a2"]).ratio == pytest.approx(2 / 3)


def test_the_first_pair_that_is_not_finite_is_named():
    with pytest.raises(InputError, match="pair 1 holds nan, 3"):
        pairs_of([0.0, math.nan, math.inf], [1.0, 3.0, 4.0])


def test_two_rows_correlate_and_a_draw_of_equal_ones_does_not():
    with np.errstate(all="raise"):
        drawn = weighted.spearman(np.array([0.1, 0.2]), np.array([1.0, 3.0]), np.arange(2))(
            np.array([[1, 1], [3, 0], [0, 2]], dtype=np.uint8)
        )
    assert drawn[0] == 1.0
    assert np.isnan(drawn[1:]).all()


# --- texts --------------------------------------------------------------------------------------------------------


def test_distinct_n_looks_at_the_first_words_only_over_all_texts():
    texts = ["a b c", "a b d", "x y"]
    assert distinct(texts, 1) == 6 / 8
    assert distinct(texts, 2) == 4 / 5  # ab bc ab bd xy
    assert distinct(texts, 2, 5) == 2 / 3  # ab bc ab
    assert distinct(texts, 1, 3) == 1.0
    assert distinct(texts, 2, 4) == 1.0  # ab bc, and the fourth word alone
    assert distinct(texts, 2, 0) is None
    assert distinct(["a"], 2) is None
    assert distinct_words([["a", "b"], ["a", "b"]], 2) == 0.5


def test_repetition_is_the_mean_share_of_grams_that_stood_before():
    assert repetition(["a b a b a b", "a b c d"], 2) == pytest.approx(((1 - 2 / 5) + 0) / 2)
    assert repetition(["a a a a a a"]) == pytest.approx(1 - 1 / 3)
    assert repetition(["a b c d", "a b"], 4) == 0.0
    assert repetition(["a b c"]) is None
    assert repetition([]) is None


def test_words_are_counted_over_all_texts():
    assert word_count(["a b", "", "A c  d"]) == 5


def test_perplexity_by_hand_and_beyond_a_float():
    assert perplexity([-1.0, -3.0]) == pytest.approx(math.e**2)
    assert perplexity(x for x in [-1.0]) == pytest.approx(math.e)
    assert perplexity([]) is None
    assert perplexity([-1000.0]) == math.inf


# --- the worst of k -----------------------------------------------------------------------------------------------


def test_bounds_of_the_worst_of_k_are_reached_where_abstentions_are_all_or_nothing():
    found = worst_of_k([[0.75, None], [0.25, 0.5]])
    assert (found.k, found.prompts, found.abstained) == (2, 2, 1)
    assert found.expected_maximum_bounds == Bounds(0.625, 0.75)
    assert found.expected_maximum_std == pytest.approx(0.25 / math.sqrt(2))
    assert found.probability_bounds == Bounds(1.0, 1.0)
    nothing = worst_of_k([[None, None]])
    assert (nothing.expected_maximum_bounds, nothing.probability_bounds) == (Bounds(0.0, 1.0), Bounds(0.0, 1.0))
    assert worst_of_k([[]]).expected_maximum_bounds is None
    assert worst_of_k([]).probability_bounds is None
    one = worst_of_k([[0.5]])
    assert (one.k, one.expected_maximum, one.expected_maximum_std, one.probability) == (1, 0.5, None, 1.0)
