"""
Resampling by whole prompts: drawing them with replacement, and swapping their sides.

All work is done in blocks, so memory does not grow with the number of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlaif.stats.pairs import Floats, Scores, pairs_of

BLOCK = 2**15
"""Size of a block: 256 KiB of float64, which stays in the cache of one core."""


FLIPS = 9999

Measure = Callable[[Floats], Floats]
"""Takes sums [K, ...] and returns the measure [...]."""


def pick_clusters(rng: np.random.Generator, draws: int, clusters: int) -> NDArray[np.int64]:
    """Return the clusters of each bootstrap draw, [draws, clusters], drawn with replacement."""
    return rng.integers(clusters, size=(draws, clusters))


@dataclass(frozen=True, slots=True)
class PValue:
    """
    A two-sided p-value and the smallest p-value that the test could have given.

    Args:
        value: probability of a change at least this large, in either direction, if the sides do not differ.
        resolution: 1 / (flips + 1), or 2 / 2^G if that is larger, where G is the number of prompts that differ.

    """

    value: float
    resolution: float


def swap_test(change: Measure, before_KG: Floats, after_KG: Floats, *, flips: int, seed: int) -> PValue:
    """
    Test whether the two sides differ, by swapping them in random prompts (a paired permutation test).

    If there are at most `flips` ways to swap, all are tried and the p-value is exact. Otherwise it is
    (b + 1) / (flips + 1), which is never 0 (Phipson & Smyth 2010, eq. 2). Prompts whose sides are equal are skipped,
    because swapping them changes nothing.

    Args:
        change: computes the change from totals [2 K, ...], K before and K after; swapping the sides negates it.
        before_KG: K sums of each prompt, before.
        after_KG: K sums of each prompt, after.
        flips: number of random swaps.
        seed: seed of the swaps.

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
        # Sums in another order differ by rounding, so ties need a tolerance. Ties and NaN count as extreme.
        rounding = 1e-10 * np.nanmax(change_D, initial=0.0)
        extreme += int((~(change_D < observed - rounding)).sum())
    if exact:
        return PValue(extreme / 2**prompts, min(1.0, 2.0 ** (1 - prompts)))
    return PValue((extreme + 1) / (flips + 1), max(2.0 ** (1 - prompts), 1 / (flips + 1)))


def sign_flip_test(
    differences: Scores, prompts: Sequence[Hashable] | None = None, *, flips: int = FLIPS, seed: int = 0
) -> PValue | None:
    """
    Test whether paired differences are 0 on average, by flipping the signs of whole prompts.

    Args:
        differences: after - before, one per pair; None is left out.
        prompts: the prompt of each pair; None if each pair has its own prompt.
        flips: number of random flips; fewer if all possible flips can be tried.
        seed: seed of the flips.

    Returns:
        The p-value, or None for fewer than two prompts.

    """
    pairs = pairs_of(differences, prompts=prompts)
    if pairs.clusters < 2:
        return None
    after_KG = pairs.sums()
    return swap_test(lambda total: total[1] - total[0], 0 * after_KG, after_KG, flips=flips, seed=seed)


def _every_swap(prompts: int) -> Iterator[Floats]:
    """Yield all swaps, [2^G, G]."""
    ways = np.arange(2**prompts)[:, None]
    yield ((ways >> np.arange(prompts)) & 1).astype(np.float64)


def _random_swaps(prompts: int, flips: int, seed: int) -> Iterator[Floats]:
    """Yield random swaps in blocks, [flips, G] in all, one random bit per prompt."""
    rng = np.random.default_rng([seed, 1])
    width, block = -(-prompts // 8), max(1, BLOCK // prompts)
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        bits = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(bits, axis=1, count=prompts).astype(np.float64)
