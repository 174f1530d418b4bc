"""The benchmark's numbers: against scikit-learn and scipy, by hand, and by simulation where the truth is planted."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kendalltau, norm, spearmanr
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from rlaif.benchmark.agreement import label_agreement, rows_of
from rlaif.benchmark.comparisons import ScoredRows, add_holm_correction, comparisons
from rlaif.benchmark.fitness import group_metrics, length_bias, spread
from rlaif.benchmark.tables import table
from rlaif.core.records.bench import JudgeComparison
from rlaif.stats import bootstrap, influence, weighted
from tests.benching import said_of, texts_of

KINDS = ("labels", "graded", "pairs")

KNOWN_OF_SILENCE = {
    "baseline", "coverage", "statuses", "scored", "asked", "from_store", "calls", "latency_ms", "per_second",
    "usd_per_1k", "tokens_per_1k",
}  # fmt: skip
"""What is known of a judge that always abstains: what it took, and no number of what it said."""


def scores_of(rng, good, *, ties):
    score = np.clip(rng.normal(0.45 + 0.15 * good, 0.2), 0, 1)
    return np.round(score, 1) if ties else score


def table_of(texts, judges=("a",), baselines=(), times=200):
    return table(texts, judges, baselines, times=times, seed=0).to_json()


# --- labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("duplicates", [False, True])
def test_numbers_of_labels_are_those_of_scikit_learn(ties, duplicates):
    rng = np.random.default_rng(1)
    good = rng.random(300) < 0.4
    score = scores_of(rng, good, ties=ties)
    if duplicates:
        good, score = np.repeat(good, 3), np.repeat(score, 3)
    made = table_of(texts_of("labels", good, {"a": score}))["judges"]["a"]
    assert made["auroc"]["value"] == pytest.approx(roc_auc_score(good, score))
    assert made["average_precision"] == pytest.approx(average_precision_score(good, score))
    assert made["accuracy"] == pytest.approx(((score >= 0.5) == good).mean())
    assert made["brier"] == pytest.approx(brier_score_loss(good, score))
    thresholds = np.unique(score)
    f1 = [f1_score(good, score >= threshold) for threshold in thresholds]
    assert made["best"] == {"threshold": pytest.approx(thresholds[np.argmax(f1)]), "f1": pytest.approx(max(f1))}
    for key in ("pairwise_accuracy", "tie_rate", "spearman", "kendall", "retest_sd", "groups"):
        assert made[key] is None, key


def test_calibration_by_hand():
    # From 0 to 0.1: 0.02 and 0.04, one of two good: |0.03 - 0.5|. From 0.9: 0.95 and 1.0, both good: |0.975 - 1|.
    made = label_agreement(np.array([0.02, 0.04, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]))
    assert made.ece == pytest.approx(0.5 * 0.47 + 0.5 * 0.025)
    first, last = made.reliability
    assert (first.low, first.high, first.n, first.share_good) == (0.0, 0.1, 2, 0.5)
    assert (last.low, last.n) == (0.9, 2), "a score of 1 is in the last bin"
    assert last.mean_score == pytest.approx(0.975)


def test_a_threshold_that_calls_all_good_may_be_the_best():
    made = label_agreement(np.array([0.5, 0.5, 0.5]), np.array([1.0, 1.0, 0.0]))
    assert (made.best.threshold, made.best.f1) == (0.5, pytest.approx(0.8))
    assert made.auroc == 0.5


def test_of_thresholds_that_are_equally_good_the_lowest_is_the_best_whatever_the_rounding():
    draw = np.random.default_rng(0)
    for _ in range(200):
        good, score = draw.integers(0, 2, 30).astype(float), draw.integers(0, 8, 30) / 7
        right = [2 * int((good[score >= x] > 0).sum()) for x in np.unique(score)]
        said = [int((score >= x).sum()) + int(good.sum()) for x in np.unique(score)]
        f1 = [Fraction(a, b) for a, b in zip(right, said, strict=True)]
        best = np.unique(score)[f1.index(max(f1))]
        assert label_agreement(score, good).best.threshold == pytest.approx(best)


@pytest.mark.parametrize("good", [0.0, 1.0])
def test_with_one_class_there_is_nothing_to_tell_apart(good):
    made = table_of(texts_of("labels", [good] * 20, {"a": np.linspace(0, 1, 20)}))["judges"]["a"]
    for key in ("auroc", "average_precision", "best", "ci95"):
        assert made[key] is None
    assert made["accuracy"] == 0.5
    assert made["coverage"] == 1


def test_one_row_has_numbers_but_no_interval():
    labels = table_of(texts_of("labels", [1.0], {"a": [0.75]}))["judges"]["a"]
    assert (labels["auroc"], labels["accuracy"], labels["brier"]) == (None, 1.0, 0.0625)
    pair = table_of(texts_of("pairs", [1.0, 0.0], {"a": [0.75, 0.5]}))["judges"]["a"]
    assert pair["pairwise_accuracy"] == {"value": 1.0, "ci95": None}
    graded = table_of(texts_of("graded", [3.0], {"a": [0.75]}))["judges"]["a"]
    assert (graded["spearman"], graded["kendall"]) == (None, None)


def test_a_judge_that_always_abstains_has_coverage_0_and_no_number():
    for kind in KINDS:
        texts = texts_of(kind, [1.0, 0.0] * 10, {"a": [None] * 20, "b": list(np.linspace(0, 1, 20))})
        made = table_of(texts, ("a", "b"))
        entry = made["judges"]["a"]
        assert entry["coverage"] == 0
        assert entry["statuses"] == {"declined": 20}
        assert {key for key, value in entry.items() if value is not None} == KNOWN_OF_SILENCE
        assert made["comparisons"] == []
        assert made["ranking"] == ["b", "a"]


def test_abstentions_are_in_no_number():
    rng = np.random.default_rng(2)
    good = rng.random(100) < 0.5
    score = scores_of(rng, good, ties=False)
    out = rng.random(100) < 0.3
    told = [None if gone else s for gone, s in zip(out, score, strict=True)]
    made = table_of(texts_of("labels", good, {"a": told}))["judges"]["a"]
    assert made["auroc"]["value"] == pytest.approx(roc_auc_score(good[~out], score[~out]))
    assert made["brier"] == pytest.approx(brier_score_loss(good[~out], score[~out]))
    assert made["coverage"] == pytest.approx(1 - out.mean())
    assert made["scored"] == (~out).sum()


# --- pairs and grades -----------------------------------------------------------------------------------------


def test_a_tie_is_half_a_pair():
    # won, tied, lost, abstained on one side
    made = table_of(texts_of("pairs", [1, 0] * 4, {"a": [0.9, 0.1, 0.5, 0.5, 0.2, 0.3, None, 0.1]}))["judges"]["a"]
    assert made["pairwise_accuracy"]["value"] == pytest.approx(0.5)
    assert made["tie_rate"] == pytest.approx(1 / 3)
    assert (made["scored"], made["coverage"]) == (3, 7 / 8)


def test_grades_correlate_as_in_scipy():
    rng = np.random.default_rng(3)
    grade = rng.integers(1, 6, 200).astype(float)
    score = np.round(np.clip(grade / 6 + rng.normal(0, 0.2, 200), 0, 1), 1)
    made = table_of(texts_of("graded", grade, {"a": score}))["judges"]["a"]
    assert made["spearman"]["value"] == pytest.approx(spearmanr(score, grade)[0])
    assert made["kendall"] == pytest.approx(kendalltau(score, grade)[0])


def test_a_constant_judge_of_grades_has_no_correlation_and_one_of_labels_half():
    target = [0.0, 1.0] * 10
    assert table_of(texts_of("graded", target, {"a": [0.5] * 20}))["judges"]["a"]["spearman"] is None
    assert table_of(texts_of("labels", target, {"a": [0.5] * 20}))["judges"]["a"]["auroc"]["value"] == 0.5


# --- draws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_a_weighted_measure_is_that_of_repeated_rows(ties):
    rng = np.random.default_rng(4)
    good = rng.random(60) < 0.4
    score = scores_of(rng, good, ties=ties)
    grade = np.round(score + rng.normal(0, 0.2, 60), 1)
    times = rng.integers(0, 4, size=(5, 60)).astype(np.uint8)
    scored = np.flatnonzero(rng.random(60) < 0.9)  # the judge abstained on the rest
    on = score[scored], good[scored], scored
    for made, reference in ((weighted.auroc, roc_auc_score), (weighted.average_precision, average_precision_score)):
        expected = [reference(good[scored], score[scored], sample_weight=row[scored]) for row in times]
        np.testing.assert_allclose(made(*on)(times), expected)
    repeated = [np.repeat(np.stack([score, grade])[:, scored], row[scored], axis=1) for row in times]
    np.testing.assert_allclose(
        weighted.spearman(score[scored], grade[scored], scored)(times), [spearmanr(*rows)[0] for rows in repeated]
    )
    np.testing.assert_allclose(weighted.mean(score[scored], scored)(times), [rows[0].mean() for rows in repeated])


def test_a_draw_without_one_of_the_classes_has_no_auroc():
    times = np.array([[1, 1, 0], [0, 0, 2], [1, 0, 1]], dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        drawn = weighted.auroc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]), np.arange(3))(times)
    assert np.isnan(drawn[:2]).all()
    assert drawn[2] == 1
    assert bootstrap.interval(drawn, np.arange(3)) == (1, 1)


def test_rows_of_a_cluster_are_drawn_together_and_draws_do_not_depend_on_what_else_is_drawn():
    cluster = np.array([0, 1, 1, 2, 0])
    seen = []

    def watch(times):
        seen.append(times)
        return times[:, 0].astype(float)

    alone = bootstrap.draw_statistics({"x": watch}, cluster, draws=50, seed=3)["x"]
    times = np.concatenate(seen)
    assert (times[:, 0] == times[:, 4]).all()
    assert (times[:, 1] == times[:, 2]).all()
    assert (times[:, [0, 1, 3]].sum(axis=1) == 3).all(), "as many clusters as there are"
    both = bootstrap.draw_statistics(
        {"y": weighted.mean(np.ones(5), np.arange(5)), "x": watch}, cluster, draws=50, seed=3
    )
    np.testing.assert_array_equal(both["x"], alone)


def test_an_interval_of_a_mean_is_about_as_wide_as_students():
    x = np.random.default_rng(5).normal(size=12)
    drawn = bootstrap.draw_statistics({0: weighted.mean(x, np.arange(12))}, np.arange(12), draws=4000)[0]
    low, high = bootstrap.interval(drawn, np.arange(12))
    assert (high - low) / 2 == pytest.approx(2.201 * x.std(ddof=1) / math.sqrt(12), rel=0.12)


def test_no_error_in_n_rows_is_no_certainty():
    # All of 20 right: the bound of Clopper and Pearson, 0.025^(1/20).
    made = table_of(texts_of("pairs", [1, 0] * 20, {"a": [0.9, 0.1] * 20}))["judges"]["a"]
    assert made["pairwise_accuracy"] == {"value": 1.0, "ci95": [pytest.approx(0.8316, abs=1e-4), 1.0]}
    made = table_of(texts_of("pairs", [1, 0] * 20, {"a": [0.5, 0.5] * 20}))["judges"]["a"]
    assert made["pairwise_accuracy"] == {"value": 0.5, "ci95": [0.5, 0.5]}, "a judge that always ties is sure of it"


def test_prompts_are_resampled_whole_unless_there_are_too_few():
    good = [0.0, 1.0] * 20
    many = table_of(texts_of("labels", good, {"a": np.linspace(0, 1, 40)}, prompts=np.arange(40) // 2))
    assert (many["resampled_by"], many["clusters"]) == ("prompt", 20)
    one = table_of(texts_of("labels", good, {"a": np.linspace(0, 1, 40)}, prompts=[7] * 40))
    assert (one["resampled_by"], one["clusters"]) == ("text", 40)


# --- comparisons ----------------------------------------------------------------------------------------------


def delong(good, a, b):
    """The p-value of DeLong, DeLong & Clarke-Pearson 1988 by its definition, one comparison of a pair at a time."""

    def placements(score):
        wins = [[float(x > y) + 0.5 * (x == y) for y in score[~good]] for x in score[good]]
        return np.mean(wins, axis=1), np.mean(wins, axis=0)

    (a_good, a_bad), (b_good, b_bad) = placements(a), placements(b)
    variance = np.var(a_good - b_good, ddof=1) / good.sum() + np.var(a_bad - b_bad, ddof=1) / (~good).sum()
    return 2 * norm.sf(abs(a_good.mean() - b_good.mean()) / math.sqrt(variance))


@pytest.mark.parametrize("clusters", ["flipped", "student"])
def test_the_paired_test_of_two_aurocs_agrees_with_delong(clusters, monkeypatch):
    if clusters == "student":
        monkeypatch.setattr(influence, "FLIPPED", 10)
    rng = np.random.default_rng(6)
    for shift in (0.0, 0.12, 0.3):
        good = rng.random(250) < 0.4
        a = rng.normal(good * 1.0)
        b = np.round(rng.normal(good * (1.0 + shift)) * 0.5 + a * 0.5, 1)
        ours = influence.p_value(
            influence.auroc_contributions(a, good) - influence.auroc_contributions(b, good), np.arange(250)
        )
        assert ours == pytest.approx(delong(good, a, b), abs=0.02)


@pytest.mark.parametrize("kind", ["labels", "graded"])
def test_contributions_are_the_derivative_by_each_rows_weight(kind):
    rng = np.random.default_rng(7)
    score = np.round(rng.random(40), 1)
    target = np.round(score + rng.random(40)) if kind == "graded" else (rng.random(40) < 0.4) * 1.0
    scored = ScoredRows("a", kind, score, target, np.arange(40), np.arange(40))
    whole, by = scored.statistic(np.full((1, 40), 100, dtype=np.uint8)), scored.contributions
    assert by.mean() == pytest.approx(whole[0])
    for row in range(0, 40, 7):
        less, more = np.full((1, 40), 100, dtype=np.uint8), np.full((1, 40), 100, dtype=np.uint8)
        less[0, row], more[0, row] = 99, 101
        slope = (scored.statistic(more) - scored.statistic(less))[0] / 2 * 100 * 40
        assert by[row] - by.mean() == pytest.approx(slope, rel=1e-2, abs=1e-3)


def test_few_rows_can_show_little_however_clear_they_are():
    # Four pairs, always right against always wrong: 2 of 2^4 ways to flip signs are as extreme.
    texts = texts_of("pairs", [1, 0] * 4, {"a": [0.9, 0.1] * 4, "b": [0.1, 0.9] * 4})
    (told,) = table_of(texts, ("a", "b"))["comparisons"]
    assert (told["a"], told["b"], told["difference"]) == ("a", "b", 1.0)
    assert told["p_value"] == pytest.approx(2 / 16)
    assert told["different"] is False


def test_two_judges_are_compared_on_what_both_have_a_score_of():
    rng = np.random.default_rng(8)
    good = rng.random(200) < 0.5
    a, b = (scores_of(rng, good, ties=False) for _ in range(2))
    gone = np.arange(200) < 50
    texts = texts_of("labels", good, {"a": a, "b": [None if g else s for g, s in zip(gone, b, strict=True)]})
    (told,) = table_of(texts, ("a", "b"))["comparisons"]
    difference = roc_auc_score(good[~gone], a[~gone]) - roc_auc_score(good[~gone], b[~gone])
    assert told["n"] == 150
    assert told["difference"] == pytest.approx(abs(difference))
    assert [told["a"], told["b"]] == (["a", "b"] if difference > 0 else ["b", "a"])


def test_comparisons_of_judges_are_corrected_for_their_number_and_not_for_baselines():
    told = add_holm_correction([JudgeComparison.salvage({"p_value": p}) for p in (0.01, 0.04, None, 0.03)])
    assert [one.p_adjusted for one in told] == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06)]
    assert [one.different for one in told] == [True, False, None, False]
    rng = np.random.default_rng(9)
    good = rng.random(100) < 0.5
    texts = texts_of("labels", good, {name: scores_of(rng, good, ties=False) for name in "abcd"})
    made = table_of(texts, ("a", "b"), ("c", "d"))
    (alone,) = made["comparisons"]
    assert alone["p_adjusted"] == alone["p_value"], "two judges are one comparison, whatever baselines there are"
    assert {frozenset((one["a"], one["b"])) for one in made["against_baselines"]} == {
        frozenset(pair) for pair in ("ac", "ad", "bc", "bd")
    }


# --- planted judges -------------------------------------------------------------------------------------------

REPEATS = 200


def planted(kind, rng, quality, count=150):
    """Rows, and the scores of judges of known quality, which share a part of their noise."""
    shared = rng.normal(size=count)
    noise = {name: (shared + rng.normal(size=count)) / math.sqrt(2) for name in quality}
    if kind == "labels":
        target = (rng.random(count) < 0.5) * 1.0
        return target, {name: noise[name] + d * target for name, d in quality.items()}
    if kind == "pairs":  # the chosen one minus the rejected one
        return np.ones(count), {name: np.where(noise[name] + d > 0, 1.0, 0.0) for name, d in quality.items()}
    target = rng.normal(size=count)
    return target, {name: d * target + math.sqrt(1 - d * d) * noise[name] for name, d in quality.items()}


def truth(kind, d):
    """The main number of a judge of quality d over all rows that there could be."""
    if kind == "labels":
        return norm.cdf(d / math.sqrt(2))
    return norm.cdf(d) if kind == "pairs" else 6 / math.pi * math.asin(d / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_judge_lies_within_its_interval_and_beats_a_worse_one(kind):
    better, worse = {"labels": (1.5, 0.7), "pairs": (1.2, 0.5), "graded": (0.7, 0.4)}[kind]
    inside, ahead, surely = 0, 0, 0
    for seed in range(REPEATS):
        rng = np.random.default_rng([10, seed])
        target, scores = planted(kind, rng, {"better": better, "worse": worse})
        rows = np.arange(len(target))
        judges = [ScoredRows(name, kind, score, target, rows, rows) for name, score in scores.items()]
        drawn = bootstrap.draw_statistics({"better": judges[0].statistic}, rows, draws=400, seed=seed)["better"]
        low, high = bootstrap.interval(drawn, rows, judges[0].contributions.mean(), judges[0].contributions)
        inside += low <= truth(kind, better) <= high
        ahead += judges[0].contributions.mean() > judges[1].contributions.mean()
        (pair,) = comparisons(judges)
        surely += influence.p_value(pair.a.contributions - pair.b.contributions, rows) < 0.05
    assert 0.90 * REPEATS <= inside <= 0.99 * REPEATS
    assert ahead >= 0.99 * REPEATS
    assert surely >= 0.9 * REPEATS


@pytest.mark.parametrize("kind", KINDS)
def test_two_equal_judges_are_called_different_as_often_as_the_level_says(kind):
    quality = {"labels": 1.0, "pairs": 0.8, "graded": 0.5}[kind]
    different = 0
    for seed in range(REPEATS):
        target, scores = planted(kind, np.random.default_rng([11, seed]), {"a": quality, "b": quality})
        rows = np.arange(len(target))
        a, b = (ScoredRows(name, kind, score, target, rows, rows).contributions for name, score in scores.items())
        different += influence.p_value(a - b, rows) < 0.05
    assert 0.02 * REPEATS <= different <= 0.09 * REPEATS


# --- fit as a reward ------------------------------------------------------------------------------------------


def test_distinct_and_saturated_scores():
    made = table_of(texts_of("labels", [0, 1, 0, 1, 1], {"a": [0.0, 0.01, 0.5, 0.99, 0.99]}))["judges"]["a"]
    assert (made["distinct_scores"], made["saturated"]) == (4, 0.8)
    assert (made["saturated_low"], made["saturated_high"]) == (0.4, 0.4)


def test_length_bias_is_at_equal_label():
    rng = np.random.default_rng(12)
    good = np.arange(400) % 2
    words = 10 + 40 * good + rng.integers(0, 10, 400)  # good texts are longer, which is no bias of the judge
    fair, biased = good * 0.5 + rng.random(400) * 0.1, good * 0.5 + words / 1000
    for kind in ("labels", "pairs"):
        target = 1 - good if kind == "pairs" else good
        rows = rows_of(texts_of(kind, target, {}, words=words))
        assert abs(length_bias(rows, fair)) < 0.15
        assert length_bias(rows, biased) == pytest.approx(1.0)
    flat = rows_of(texts_of("labels", good, {}, words=np.ones(400)))
    assert length_bias(flat, fair) is None
    graded = rows_of(texts_of("graded", good * 1.0, {}, words=words))
    assert abs(length_bias(graded, fair)) < 0.15 < 0.9 < length_bias(graded, biased)


def test_spread_is_among_the_completions_of_one_prompt():
    # Within prompts: 0.1 and 0.3 around 0.2, and 0.9 alone; with Bessel's correction sqrt(0.02 / 1).
    assert spread(np.array([1, 1, 2]), np.array([0.1, 0.3, 0.9])) == pytest.approx(math.sqrt(0.02))
    assert spread(np.array([1, 2]), np.array([0.1, 0.3])) is None
    assert spread(np.array([1, 1]), np.array([0.1, np.nan])) is None


def test_groups_tell_false_alarms_apart():
    groups = {"about": ["x", "x", "x", "y", "y", "y"]}
    rows = rows_of(texts_of("labels", [1, 1, 0, 1, 0, 0], {}, groups=groups))
    told = group_metrics(rows, said_of([0.2, 0.9, 0.1, 0.8, 0.7, None]))["about"]
    assert (told["x"].good_called_bad, told["x"].bad_called_good, told["x"].n) == (0.5, 0.0, 3)
    assert (told["y"].good_called_bad, told["y"].bad_called_good, told["y"].scored) == (0.0, 1.0, 2)
