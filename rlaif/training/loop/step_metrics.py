"""The metrics of a step, a line of metrics.jsonl: over all processes, padding and abstentions left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.masked import Reduce, masked_mean, masked_moments
from rlaif.core.records.record import ABSENT
from rlaif.core.records.steps import StepJudge
from rlaif.core.types import STATUSES, toxicity_of
from rlaif.judges.rewards import RewardSource, SourceReward
from rlaif.training.loop.kl_control import KLEstimator, kl_estimate
from rlaif.training.loop.rollout import Rollout


@dataclass(frozen=True)
class RolloutMetrics:
    """The fields of `Step` that say what a rollout was like."""

    reward_mean: float | None
    reward_std: float | None
    kl: float
    kl_k1: float
    entropy: float
    length_tokens: float
    eos_rate: float
    ends_early: float | None


@dataclass(frozen=True)
class UpdateMetrics:
    """The fields of `Step` that say what the optimizer steps were like; those of a critic are None without one."""

    policy_loss: float | None
    value_loss: float | None
    clip_fraction: float | None
    approx_kl: float | None
    ratio_max_dev: float | None
    grad_norm: float | None
    learning_rate: float
    optimizer_steps: int
    skipped_updates: int
    explained_variance: float | None = None


def rollout_metrics(rollout: Rollout, rewards_B: Tensor, judged_B: Tensor, reduce: Reduce) -> RolloutMetrics:
    """Return what a rollout was like: rewards, distance from the reference, entropy, lengths."""
    mask_BR, old = rollout.tokens.mask_BR, rollout.old
    everything_B = torch.ones_like(judged_B)
    mean, variance = masked_moments(rewards_B, judged_B, reduce)
    count = float(reduce(judged_B.sum().double()))

    def mean_per_completion(kind: KLEstimator) -> float:
        kl_BR = kl_estimate(old.logprobs, rollout.reference_BR, mask_BR, kind)
        return float(masked_mean(kl_BR.sum(1), everything_B, reduce))

    assert old.entropies is not None
    return RolloutMetrics(
        reward_mean=float(mean) if count else None,
        reward_std=math.sqrt(float(variance) * count / (count - 1)) if count > 1 else None,
        kl=mean_per_completion("k3"),
        kl_k1=mean_per_completion("k1"),
        entropy=float(masked_mean(old.entropies, mask_BR, reduce)),
        length_tokens=float(masked_mean(mask_BR.sum(1).float(), everything_B, reduce)),
        eos_rate=float(masked_mean(rollout.ended_B.float(), everything_B, reduce)),
        ends_early=None if old.ends is None else float(masked_mean(1 - (1 - old.ends).prod(1), everything_B, reduce)),
    )


def verdict_metrics(
    sources: Sequence[RewardSource], verdicts: Sequence[Sequence[SourceReward]], device: torch.device, reduce: Reduce
) -> tuple[dict[str, StepJudge], float | None]:
    """Return what each judge said, by name, and what all of it cost in USD, None where a price is unknown."""
    judges, usd = {}, 0.0
    for source, rewards in zip(sources, verdicts, strict=True):
        scores = [reward.score for reward in rewards if reward.score is not None]
        prices = [math.nan if reward.usage.usd is None else reward.usage.usd for reward in rewards]
        asked = [reward for reward in rewards if not reward.usage.from_store and reward.usage.attempts]
        sums = [
            math.fsum(scores), len(scores), math.fsum(r.usage.seconds for r in asked), len(asked),
            sum(r.usage.from_store for r in rewards), sum(prices),
            *(sum(r.status == status for r in rewards) for status in STATUSES),
        ]  # fmt: skip
        total = reduce(torch.tensor(sums, dtype=torch.float64, device=device)).tolist()
        score, scored, seconds, answered, stored, dollars, *statuses = total
        mean = score / scored if scored else None
        toxicity = toxicity_of(source.measures, mean)
        judges[source.name] = StepJudge(
            score_mean=mean,
            toxicity_mean=ABSENT if toxicity is None else toxicity,
            abstained=int(sum(statuses) - scored),
            statuses={status: int(n) for status, n in zip(STATUSES, statuses, strict=True) if n},
            seconds=seconds / answered if answered else None,
            from_store=int(stored),
        )
        usd += dollars
    return judges, None if math.isnan(usd) else usd


def spread(rewards_B: Tensor) -> tuple[str, str | None]:
    """
    Say how the rewards of the first batch are spread, and what is wrong with that, if anything.

    Args:
        rewards_B: of all processes, NaN where a judge abstained.

    """
    known = rewards_B[~rewards_B.isnan()].double()
    abstained = len(rewards_B) - len(known)
    silent = f"; {abstained} of {len(rewards_B)} abstained" if abstained else ""
    if not len(known):
        return f"reward of the first batch: none{silent}", "no judge gave a reward: there is nothing to learn from"
    values = len(set(known.tolist()))
    low, high, mean = float(known.min()), float(known.max()), float(known.mean())
    deviation = float(known.std()) if len(known) > 1 else 0.0
    line = f"reward of the first batch: {mean:.3g} +- {deviation:.2g}, {low:.3g} to {high:.3g}, {values} values{silent}"
    if values < 5 and len(known) >= 5:
        return line, f"the reward takes only {values} values: completions of one value teach nothing about each other"
    within = float(((known >= 0) & (known <= 1)).all())
    saturated = float(((known >= 0.99) | (known <= 0.01)).double().mean())
    if within and saturated > 0.5:
        return line, f"{saturated:.0%} of the rewards are at an end of the scale: take a logit, or a finer question"
    return line, None


def flat(metrics: Mapping[str, object], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return nested metrics under dotted names, as trackers want them: numbers and text only."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            found[f"{prefix}{key}"] = value
    return found
