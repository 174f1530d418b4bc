"""Intervals for ratios of measures that are not sums over prompts, such as distinct-n, by leaving out groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from rlaif.stats.bootstrap import Interval
from rlaif.stats.changes import RatioChange
from rlaif.stats.pairs import Floats, check_lengths

Item = TypeVar("Item")
Sides = tuple[float | None, float | None]

GROUPS = 40

ROUNDING = 1e-12
"""Largest difference at which two logs of ratios count as equal."""


def jackknife_ratio(
    measure: Callable[[Sequence[Item], Sequence[Item]], Sides],
    before: Sequence[Item],
    after: Sequence[Item],
    prompts: Sequence[Hashable] | None = None,
    *,
    groups: int = GROUPS,
    seed: int = 0,
) -> RatioChange:
    """
    Return the factor by which a measure of a whole set changed, with an interval by the delete-a-group jackknife.

    A bootstrap repeats prompts, and a repeated text adds no new n-gram, so every set would look less diverse than it
    is. The jackknife leaves prompts out instead. Interval and p-value are Student's t on the log of the ratio, with
    groups - 1 degrees of freedom (Kott 2001, "The delete-a-group jackknife").

    Args:
        measure: measures both sides at once, such as distinct-2 at equal numbers of words; called groups + 1 times.
        before: the items to measure, such as texts, one per pair.
        after: one item per pair, in the same order.
        prompts: the prompt of each pair; None if each pair has its own prompt. A prompt is left out as a whole.
        groups: number of random groups of prompts; fewer if there are fewer prompts.
        seed: seed of the grouping.

    Raises:
        InputError: the lengths differ.

    """
    check_lengths(before, after, prompts)
    keys = list(range(len(before))) if prompts is None else prompts
    sides = measure(before, after)
    unsure = RatioChange(n=len(before), prompts=len(set(keys)), before=sides[0], after=sides[1], ratio=None)
    if not sides[0] or not sides[1]:
        return replace(unsure, note="no ratio: one side is 0 or cannot be measured")
    unsure = replace(unsure, ratio=sides[1] / sides[0])
    if unsure.prompts < 2:
        return replace(unsure, note="one prompt: no interval and no p-value")
    left_out = _log_ratios(measure, before, after, _deal(keys, groups, seed))
    if left_out is None:
        return replace(unsure, note="no interval: the measure depends on a few prompts")
    count = len(left_out)
    error = math.sqrt((count - 1) / count * float(np.square(left_out - left_out.mean()).sum()))
    return _add_student_intervals(unsure, math.log(sides[1] / sides[0]), error, count - 1)


def _deal(keys: Sequence[Hashable], groups: int, seed: int) -> list[int]:
    """Return the group of each pair. Prompts are shuffled, then dealt to the groups in turn."""
    different = list(dict.fromkeys(keys))
    order = np.random.default_rng(seed).permutation(len(different))
    group = {different[i]: place % groups for place, i in enumerate(order)}
    return [group[key] for key in keys]


def _log_ratios(
    measure: Callable[[Sequence[Item], Sequence[Item]], Sides],
    before: Sequence[Item],
    after: Sequence[Item],
    group_of: Sequence[int],
) -> Floats | None:
    """Return the log ratio without each group, [groups], or None if one of them is undefined."""
    found = []
    for group in range(max(group_of) + 1):
        kept = [i for i, its in enumerate(group_of) if its != group]
        old, new = measure([before[i] for i in kept], [after[i] for i in kept])
        if not old or not new:
            return None
        found.append(math.log(new / old))
    return np.array(found)


def _add_student_intervals(change: RatioChange, log_ratio: float, error: float, freedom: int) -> RatioChange:
    """Return the change with intervals and a p-value, from the standard error of the log of its ratio."""
    from scipy.stats import t

    def interval(level: float) -> Interval:
        half = float(t.ppf((1 + level) / 2, freedom)) * error
        return math.exp(log_ratio - half), math.exp(log_ratio + half)

    p_value: float | None = 1.0 if abs(log_ratio) <= ROUNDING else None
    if error > ROUNDING:
        p_value = float(2 * t.sf(abs(log_ratio) / error, freedom))
    note = "no p-value: leaving prompts out changes nothing" if p_value is None else ""
    return replace(change, ci95=interval(0.95), ci90=interval(0.90), p_value=p_value, note=note)
