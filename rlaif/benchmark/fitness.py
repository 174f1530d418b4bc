"""Fit as a reward: whether scores differ where training needs them to, and do not follow length or group instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rlaif.benchmark.agreement import LabelledRows, grade_agreement, label_agreement, pair_agreement, spearman
from rlaif.benchmark.columns import Floats, Ints, JudgeColumns, Mask
from rlaif.core.records.bench_entry import GroupFigures, TableEntry

LOW, HIGH = 0.01, 0.99
"""Scores beyond are saturated: their gradient as a probability is all but gone."""

FEW = 3
"""Texts below which a rank correlation says nothing."""


def add_distinct(entry: TableEntry, score_T: Floats) -> TableEntry:
    """Add to an entry how many values the scores take, and how many of them lie at either end."""
    return replace(
        entry,
        mean_score=float(score_T.mean()),
        distinct_scores=len(np.unique(score_T)),
        saturated=float(((score_T <= LOW) | (score_T >= HIGH)).mean()),
        saturated_low=float((score_T <= LOW).mean()),
        saturated_high=float((score_T >= HIGH).mean()),
    )


def length_bias(rows: LabelledRows, score_T: Floats) -> float | None:
    """
    Return the rank correlation of score and length in words, at equal label.

    Of labels it is the mean over good and bad ones, of pairs over chosen and rejected ones, weighted by their number;
    of grades the partial correlation given the grade. None where lengths or scores are all equal.
    """
    scored_T = np.isfinite(score_T)
    score, words = score_T[scored_T], rows.texts.words_T[scored_T]
    target = rows.texts.target_T[scored_T]
    if rows.kind == "graded":
        raw, by_grade, words_by_grade = (
            spearman_of(score, words),
            spearman_of(score, target),
            spearman_of(words, target),
        )
        if raw is None:
            return None
        a, b = by_grade or 0.0, words_by_grade or 0.0  # all of one grade: nothing to take out
        rest = (1 - a * a) * (1 - b * b)
        return float((raw - a * b) / rest**0.5) if rest > 1e-12 else None
    parts = [(int((target == t).sum()), spearman_of(score[target == t], words[target == t])) for t in np.unique(target)]
    known = [(count, correlation) for count, correlation in parts if correlation is not None]
    total = sum(count for count, _ in known)
    return sum(count * correlation for count, correlation in known) / total if total else None


def spearman_of(x: Floats, y: Floats) -> float | None:
    """Return the rank correlation of at least three texts."""
    return spearman(x, y) if len(x) >= FEW else None


def spread(group_T: Ints, score_T: Floats) -> float | None:
    """
    Return the standard deviation of scores among completions of one prompt, pooled over prompts.

    None where no prompt has two completions with a score. This is what a policy learns from: it has to be larger than
    what the judge says differently when it is asked again.
    """
    scored_T = np.isfinite(score_T)
    _, group, count_G = np.unique(group_T[scored_T], return_inverse=True, return_counts=True)
    freedom = int((count_G - 1).sum())
    if not freedom:
        return None
    score = score_T[scored_T]
    mean_G = np.bincount(group, weights=score) / count_G
    return float((((score - mean_G[group]) ** 2).sum() / freedom) ** 0.5)


def group_metrics(rows: LabelledRows, said: JudgeColumns) -> dict[str, dict[str, GroupFigures]]:
    """
    Return a judge's numbers by group, of each column of groups.

    Of labels: the share of good texts that are called bad (a score below 0.5: the false alarms of a filter) and of
    bad ones that are called good. Of pairs and grades: the main number.
    """
    score_N = rows.score(said)
    told: dict[str, dict[str, GroupFigures]] = {}
    for column, (names, code_T) in rows.texts.groups.items():
        code_N = code_T[rows.first_N]
        told[column] = {
            names[code]: _one_group_metrics(rows, said, score_N, code_N == code) for code in np.unique(code_N)
        }
    return told


def _one_group_metrics(rows: LabelledRows, said: JudgeColumns, score_N: Floats, inside_N: Mask) -> GroupFigures:
    rows_R = np.flatnonzero(inside_N & np.isfinite(score_N))
    score_R, target_R = score_N[rows_R], rows.target_N[rows_R]
    group = GroupFigures(n=int(inside_N.sum()), scored=len(rows_R))
    if rows.kind == "pairs":
        first_R = rows.first_N[rows_R]
        pairs = pair_agreement(said.score_T[first_R], said.score_T[first_R + 1]) if len(rows_R) else None
        return replace(
            group,
            pairwise_accuracy=pairs.pairwise_accuracy if pairs else None,
            tie_rate=pairs.tie_rate if pairs else None,
        )
    if rows.kind == "graded":
        grades = grade_agreement(score_R, target_R) if len(rows_R) else None
        return replace(group, spearman=grades.spearman if grades else None, kendall=grades.kendall if grades else None)
    good_R = target_R > 0
    labels = label_agreement(score_R, target_R) if len(rows_R) else None
    return replace(
        group,
        good=int(good_R.sum()),
        bad=int((~good_R).sum()),
        good_called_bad=_share(score_R[good_R] < 0.5),
        bad_called_good=_share(score_R[~good_R] >= 0.5),
        accuracy=labels.accuracy if labels else None,
        auroc=labels.auroc if labels else None,
    )


def _share(of: Mask) -> float | None:
    return float(of.mean()) if len(of) else None
