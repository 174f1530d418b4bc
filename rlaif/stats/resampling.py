"""
Resampling by whole prompts: bootstrap intervals and sign-flip tests of what is computed from sums.

Every measure here is a function of sums over prompts (a mean is a sum over a count), so that a resample costs one
addition per prompt, however many completions it has. Work goes in blocks: memory does not grow with the draws.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlaif.stats.pairs import Floats, Scores, pairs_of

BLOCK = 2**15
"""Numbers of a block: 256 KiB, which stay in the cache of a core."""

BCA_LIMIT = 2000
"""Prompts up to which intervals are BCa: its jackknife is quadratic, and what it corrects fades with 1 / sqrt(G)."""

DRAWS = 2000
FLIPS = 9999

Measure = Callable[[Floats], Floats]
"""Sums [K, ...] in, the measure [...] out."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PValue:
    """
    A two-sided p-value and the smallest one that the test could have given.

    Args:
        value: probability of a change at least this large, in either direction, where the sides do not differ.
        resolution: 1 / (flips + 1), or 2 / 2^G where G prompts differ and that is more.

    """

    value: float
    resolution: float


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

    prompts = sums_KG.shape[1]
    methods = ("BCa", "percentile") if prompts <= BCA_LIMIT else ("percentile",)

    def of_sample(*columns: Floats, axis: int) -> Floats:
        return measure(np.stack([column.sum(axis=axis) for column in columns]))

    done: Any = None
    found: list[Interval | None] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # scipy warns where BCa is undefined
        for level in levels:
            for method in methods:
                done = bootstrap(
                    tuple(sums_KG), of_sample, n_resamples=0 if done else draws, batch=max(1, BLOCK // prompts),
                    paired=True, vectorized=True, confidence_level=_raised(level, prompts), method=method,
                    bootstrap_result=done, rng=np.random.default_rng([seed, 0]),
                )  # fmt: skip
                low, high = map(float, done.confidence_interval)
                if math.isfinite(low) and math.isfinite(high):
                    break
            found.append((low, high) if math.isfinite(low) and math.isfinite(high) else None)
    return found


def _raised(level: float, prompts: int) -> float:
    """Return the level at which a normal interval of a bootstrap's width is as wide as Student's t at `level`."""
    from scipy.special import ndtr, stdtrit

    quantile = math.sqrt(prompts / (prompts - 1)) * stdtrit(prompts - 1, (1 + level) / 2)
    return min(1 - 1e-9, 1 - 2 * float(ndtr(-quantile)))


def swap_test(change: Measure, before_KG: Floats, after_KG: Floats, *, flips: int, seed: int) -> PValue:
    """
    Test that the two sides do not differ, by swapping them in random prompts (a paired permutation test).

    Where there are no more than `flips` ways to swap, each is tried and the p-value is exact; else it is
    (b + 1) / (flips + 1), never 0 (Phipson & Smyth 2010, eq. 2). Prompts whose sides are equal are left alone:
    swapping them changes nothing.

    Args:
        change: from the totals of K numbers before, then of K after, [2 K, ...]; swapping both sides negates it.
        before_KG: K sums of each prompt, of the one side.
        after_KG: and of the other.
        flips: how many random ways to swap.
        seed: of them.

    """
    total = np.concatenate([before_KG.sum(axis=1), after_KG.sum(axis=1)])[:, None]
    step_KG = (after_KG - before_KG)[:, (after_KG != before_KG).any(axis=0)]
    prompts = step_KG.shape[1]
    exact = 2**prompts <= flips
    observed = abs(float(change(total)[0]))
    extreme = 0
    for swapped_DG in _every_swap(prompts) if exact else _random_swaps(prompts, flips, seed):
        moved_KD = step_KG @ swapped_DG.T
        with np.errstate(all="ignore"):
            change_D = np.abs(change(total + np.concatenate([moved_KD, -moved_KD])))
        # Sums in another order differ by rounding, and what ties with the observed has to count. So has what is NaN.
        rounding = 1e-10 * np.nanmax(change_D, initial=0.0)
        extreme += int((~(change_D < observed - rounding)).sum())
    if exact:
        return PValue(extreme / 2**prompts, min(1.0, 2.0 ** (1 - prompts)))
    return PValue((extreme + 1) / (flips + 1), max(2.0 ** (1 - prompts), 1 / (flips + 1)))


def sign_flip_test(
    differences: Scores, prompts: Sequence[Hashable] | None = None, *, flips: int = FLIPS, seed: int = 0
) -> PValue | None:
    """
    Test that paired differences are 0 on average, by flipping the signs of whole prompts.

    Args:
        differences: after - before, one a pair; None is left out.
        prompts: the prompt of each pair; None: each pair has its own.
        flips: how many random ways to flip, where trying all would take more.
        seed: of them.

    Returns:
        None where there are fewer than two prompts.

    """
    pairs = pairs_of(differences, prompts=prompts)
    if pairs.clusters < 2:
        return None
    after_KG = pairs.sums()
    return swap_test(lambda total: total[1] - total[0], 0 * after_KG, after_KG, flips=flips, seed=seed)


def _every_swap(prompts: int) -> Iterator[Floats]:
    """Yield all ways to swap, [2^G, G]."""
    ways = np.arange(2**prompts)[:, None]
    yield ((ways >> np.arange(prompts)) & 1).astype(np.float64)


def _random_swaps(prompts: int, flips: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of random ways to swap, [flips, G] in all; one random bit each."""
    rng = np.random.default_rng([seed, 1])
    width, block = -(-prompts // 8), max(1, BLOCK // prompts)
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        bits = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(bits, axis=1, count=prompts).astype(np.float64)
