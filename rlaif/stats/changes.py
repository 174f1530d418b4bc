"""Changes between two sides that answered the same prompts, with intervals and p-values."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from rlaif.core.errors import InputError
from rlaif.stats.bootstrap import DRAWS, Interval, bootstrap_intervals
from rlaif.stats.pairs import Floats, Pairs, Scores, pairs_of
from rlaif.stats.resampling import FLIPS, Measure, swap_test

ALPHA = 0.05

FEW = 10
"""With fewer prompts, a nominal 95 % interval covers the truth less than 90 % of the time if differences are skewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    The measures of both sides, with the intervals and the test of their change.

    Args:
        n: number of pairs that were measured on both sides.
        prompts: number of different prompts among these pairs.
        before: the measure before; None if there is nothing to measure.
        after: the measure after; None if there is nothing to measure.
        ci95: 95 % bootstrap interval of the change, by resampling prompts; None for fewer than two prompts.
        ci90: the same at 90 %, used by the equivalence test at level 5 %.
        p_value: two-sided p-value of a paired permutation test; None for fewer than two prompts.
        p_resolution: the smallest p-value that the test could have given.
        note: why a field is None, or what limits the evidence; empty otherwise.

    """

    n: int
    prompts: int
    before: float | None
    after: float | None
    ci95: Interval | None = None
    ci90: Interval | None = None
    p_value: float | None = None
    p_resolution: float | None = None
    note: str = ""

    @property
    def significant(self) -> bool:
        """Whether p < 0.05; False if nothing could be tested."""
        return self.p_value is not None and self.p_value < ALPHA

    @property
    def direction(self) -> int:
        """1 if the measure went up, -1 if down, 0 if unchanged or unknown, whether significant or not."""
        if self.before is None or self.after is None or math.isclose(self.before, self.after, rel_tol=1e-12):
            return 0  # sums in another order differ by rounding
        return 1 if self.after > self.before else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Evidence):
    """
    A difference of means, after - before.

    Args:
        difference: the difference, in the unit of the measure; None if there are no pairs.
        effect_size: Cohen's d_z, the mean of the pairs' differences over their standard deviation (Cohen 1988,
            eq. 2.3.5; one degree of freedom removed). It is computed over pairs, so more completions per prompt do not
            change it. None for one pair, and without variance.

    """

    difference: float | None
    effect_size: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioChange(Evidence):
    """
    A ratio, after / before.

    Args:
        ratio: the ratio, 1 = unchanged; None if one side is 0 or there are no pairs.

    """

    ratio: float | None


def paired_change(
    before: Scores,
    after: Scores,
    prompts: Sequence[Hashable] | None = None,
    *,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Change:
    """
    Return the change of the mean, over the pairs that have a number on both sides.

    A prompt with more pairs has more weight, in the mean and in the bootstrap: each resample is a sum over a count.

    Args:
        before: one number per pair; None where a judge abstained.
        after: one number per pair, in the same order.
        prompts: the prompt of each pair, any hashable; None if each pair has its own prompt.
        draws: number of bootstrap resamples.
        flips: number of random swaps in the permutation test.
        seed: seed of the bootstrap and the test.

    Raises:
        InputError: the lengths differ, or a number is not finite.

    """
    ones = [1.0] * len(before)
    pairs = pairs_of(before, ones, after, ones, prompts=prompts)
    if not pairs.clusters:
        return Change(n=0, prompts=0, before=None, after=None, difference=None, effect_size=None, note=NO_PAIR)
    before_N, after_N = pairs.columns_NK[:, 0], pairs.columns_NK[:, 2]
    change = Change(
        n=len(pairs.cluster_N), prompts=pairs.clusters, before=float(before_N.mean()), after=float(after_N.mean()),
        difference=float((after_N - before_N).mean()), effect_size=_effect_size(after_N - before_N),
    )  # fmt: skip
    return _add_evidence(change, pairs, _difference, draws=draws, flips=flips, seed=seed)


def ratio_change(
    before: Scores,
    after: Scores,
    prompts: Sequence[Hashable] | None = None,
    *,
    per: tuple[Scores, Scores] | None = None,
    exponential: bool = False,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> RatioChange:
    """
    Return the factor by which a mean, a rate or a perplexity changed.

    For a mean length: `ratio_change(words_before, words_after, prompts)`. For a perplexity, from the summed negative
    log-likelihood of each completion: `ratio_change(nats_before, nats_after, prompts, per=(tokens_before,
    tokens_after), exponential=True)`. Each side is a sum over a sum, so a long completion has more weight.

    Args:
        before: one number per pair, not negative unless `exponential`; None where it is missing.
        after: one number per pair, in the same order.
        prompts: the prompt of each pair; None if each pair has its own prompt.
        per: the divisors of both sides, one number per pair, not negative; None to divide by the number of pairs.
        exponential: take the exponential of the quotient, as for a perplexity.
        draws: number of bootstrap resamples.
        flips: number of random swaps in the permutation test, whose statistic is the log of the ratio.
        seed: seed of the bootstrap and the test.

    Raises:
        InputError: the lengths differ, or a number is not finite or is negative.

    """
    per_before, per_after = per or ([1.0] * len(before), [1.0] * len(after))
    pairs = pairs_of(before, per_before, after, per_after, prompts=prompts)
    sums_N2, counts_N2 = pairs.columns_NK[:, ::2], pairs.columns_NK[:, 1::2]
    if (counts_N2 < 0).any() or (not exponential and (sums_N2 < 0).any()):
        raise InputError("a ratio of negative numbers is not defined")
    totals = pairs.sums().sum(axis=1)
    sides = [_quotient(totals[side], totals[side + 1], exponential) for side in (0, 2)]
    change = RatioChange(n=len(pairs.cluster_N), prompts=pairs.clusters, before=sides[0], after=sides[1], ratio=None)
    if not sides[0] or not sides[1]:
        missing = [name for name, side in zip(("before", "after"), sides, strict=True) if not side]
        note = f"no ratio: {' and '.join(missing)} is 0 or cannot be measured" if pairs.clusters else NO_PAIR
        return replace(change, note=note)
    measure = _difference if exponential else _log_ratio
    change = _add_evidence(
        replace(change, ratio=sides[1] / sides[0]), pairs, measure, draws=draws, flips=flips, seed=seed
    )
    return replace(change, ci95=_exp(change.ci95), ci90=_exp(change.ci90))


def equivalent(evidence: Evidence, margin: float | Interval) -> bool | None:
    """
    Return whether the two sides are equivalent within a margin, at the 5 % level.

    Two one-sided tests (Schuirmann 1987): the sides are equivalent if the 90 % interval lies inside the margin. A
    change that is not significant is not evidence of equivalence.

    Args:
        evidence: a change.
        margin: the largest change that does not matter. A number m means -m to m for a difference, and 1 / (1 + m) to
            1 + m for a ratio. A pair gives the lowest and the highest change.

    Returns:
        Whether they are equivalent, or None if there is no interval.

    Raises:
        InputError: the margin does not include "no change".

    """
    is_ratio = isinstance(evidence, RatioChange)
    if isinstance(margin, tuple):
        low, high = margin
    else:
        low, high = (1 / (1 + margin), 1 + margin) if is_ratio else (-margin, margin)
    same = 1 if is_ratio else 0
    if not low < same < high:
        raise InputError(f"a margin of {low:g} to {high:g} does not include {same}, which means no change")
    return None if evidence.ci90 is None else low < evidence.ci90[0] and evidence.ci90[1] < high


EvidenceT = TypeVar("EvidenceT", bound=Evidence)

# --- implementation: totals are [4, ...], sum and count before, then sum and count after --------------------------

NO_PAIR = "no pair was measured on both sides"


def _difference(totals: Floats) -> Floats:
    difference: Floats = totals[2] / totals[3] - totals[0] / totals[1]
    return difference


def _log_ratio(totals: Floats) -> Floats:
    log_ratio: Floats = np.log(totals[2] / totals[3]) - np.log(totals[0] / totals[1])
    return log_ratio


def _quotient(total: float, count: float, exponential: bool) -> float | None:
    """Return the measure of one side, or None if it is not finite."""
    with np.errstate(all="ignore"):
        quotient = np.float64(total) / np.float64(count)
        value = float(np.exp(quotient) if exponential else quotient)
    return value if math.isfinite(value) else None


def _effect_size(differences_N: Floats) -> float | None:
    if np.ptp(differences_N) <= 1e-12 * np.abs(differences_N).max():
        return None
    return float(differences_N.mean() / differences_N.std(ddof=1))


def _exp(interval: Interval | None) -> Interval | None:
    """Return the interval of a ratio, of that of its log."""
    return None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def _add_evidence(change: EvidenceT, pairs: Pairs, measure: Measure, *, draws: int, flips: int, seed: int) -> EvidenceT:
    """Return the change with intervals and test of `measure`, and notes on their limits."""
    if pairs.clusters < 2:
        return replace(change, note="one prompt: no interval and no p-value")
    sums_KG = pairs.sums()
    ci95, ci90 = bootstrap_intervals(measure, sums_KG, (1 - ALPHA, 1 - 2 * ALPHA), draws=draws, seed=seed)
    p = swap_test(measure, sums_KG[:2], sums_KG[2:], flips=flips, seed=seed)
    notes = []
    if pairs.clusters < FEW:
        notes.append(f"{pairs.clusters} prompts: the interval of so few is too narrow")
    if p.resolution >= ALPHA:
        notes.append(f"so few prompts differ that no p-value below {p.resolution:.2g} was possible")
    if ci95 is None or ci90 is None:
        notes.append("no interval: it has no finite bounds")
    return replace(change, ci95=ci95, ci90=ci90, p_value=p.value, p_resolution=p.resolution, note="; ".join(notes))
