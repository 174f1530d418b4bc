"""
Best of n: of n completions the one that a judge picks, scored by other judges, which did not choose it.

The cheapest look at what optimising for a judge does, before any training: a score that others share rises with n,
one that others do not share turns down (Gao, Schulman & Hilton 2022, "Scaling laws for reward model
overoptimization").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rlaif.benchmark.columns import Floats
from rlaif.core.records.bench import BestOf, BestOfCurve
from rlaif.core.records.bench_lines import JudgedText
from rlaif.stats.influence import p_value

SHARE = 0.8
"""Of the prompts that have to have n completions with both scores for n to be told."""

TURNED = 0.05
"""A p-value below which a fall from the best n to the largest one is no accident."""


def figures(lines: Iterable[JudgedText], pickers: Sequence[str], scorers: Sequence[str], policy: str) -> BestOf:
    """
    Return, for each judge that picks and each that scores, the mean score of what is picked, by n.

    Args:
        lines: of best_of.jsonl, in which `row` is the prompt.
        pickers: judges that pick.
        scorers: judges that score; a judge beside itself shows what training on it would see.
        policy: who answered.

    """
    scores: dict[int, list[dict[str, float | None]]] = {}
    for line in lines:
        told = {judge: line.judgements[judge].score for judge in {*pickers, *scorers}}
        scores.setdefault(line.row, []).append(told)
    most = max(map(len, scores.values()), default=0)
    return BestOf(
        n=most,
        prompts=len(scores),
        kl_bound_nats=tuple(math.log(n) - (n - 1) / n for n in range(1, most + 1)),
        curves={
            picker: {scorer: _curve(list(scores.values()), picker, scorer, most) for scorer in scorers}
            for picker in pickers
        },
        policy=policy,
    )


def _curve(prompts: Sequence[Sequence[dict[str, float | None]]], picker: str, scorer: str, most: int) -> BestOfCurve:
    """Return the curve of one judge that picks and one that scores, over completions that both have a score of."""
    both = [
        [(a, b) for told in completions if (a := told[picker]) is not None and (b := told[scorer]) is not None]
        for completions in prompts
    ]
    enough = [n for n in range(1, most + 1) if sum(len(pairs) >= n for pairs in both) >= SHARE * len(prompts)]
    top = max(enough, default=0)
    used = [np.array(pairs) for pairs in both if top and len(pairs) >= top]
    if not used:
        return BestOfCurve.empty()
    mean_PN = np.stack([expected_best(pairs[:, 0], pairs[:, 1], top) for pairs in used])
    mean_N = mean_PN.mean(axis=0)
    best = int(mean_N.argmax())
    p = p_value(mean_PN[:, best] - mean_PN[:, -1], np.arange(len(used))) if best < top - 1 else None
    return BestOfCurve(
        prompts=len(used),
        mean=tuple(mean_N.tolist()),
        ci95=tuple(_intervals(mean_PN)),
        best_n=best + 1,
        turns_down_at=best + 1 if p is not None and p < TURNED else None,
        p_value=p,
    )


def expected_best(picked_by_M: Floats, scored_M: Floats, most: int) -> Floats:
    """
    Return the expected score of the completion that is picked among n of M, for n = 1 to `most`, without bias.

    Of all subsets of n, C(i - 1, n - 1) / C(M, n) have the i-th lowest as their highest (Chen et al. 2021, "Evaluating
    large language models trained on code", do the same for pass@k). Among equals each is picked as often.
    """
    count = len(picked_by_M)
    _, group_M, count_G = np.unique(picked_by_M, return_inverse=True, return_counts=True)
    mean_G = np.bincount(group_M, weights=scored_M) / count_G
    ordered_M = mean_G[np.sort(group_M)]
    weights = [[math.comb(i, n - 1) / math.comb(count, n) for i in range(count)] for n in range(1, most + 1)]
    expected: Floats = np.array(weights) @ ordered_M
    return expected


def _intervals(mean_PN: Floats) -> list[tuple[float, float] | None]:
    """Return Student's 95 % interval of each mean over prompts."""
    from scipy.stats import t

    prompts = len(mean_PN)
    if prompts < 2:
        return [None] * mean_PN.shape[1]
    half_N = t.ppf(0.975, prompts - 1) * mean_PN.std(axis=0, ddof=1) / math.sqrt(prompts)
    return [(float(m - h), float(m + h)) for m, h in zip(mean_PN.mean(axis=0), half_N, strict=True)]
