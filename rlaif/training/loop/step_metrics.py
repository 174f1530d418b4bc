"""What is told of a step: a line of metrics.jsonl, over all processes, padding and abstentions left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif.core.masked import Reduce, masked_mean, masked_moments
from rlaif.core.types import STATUSES, toxicity_of
from rlaif.judges.rewards import RewardSource, SourceReward
from rlaif.training.loop.kl_control import kl_estimate
from rlaif.training.loop.rollout import Rollout


def rollout_metrics(rollout: Rollout, rewards_B: Tensor, judged_B: Tensor, reduce: Reduce) -> dict[str, Any]:
    """Return what a rollout was like: rewards, distance from the reference, entropy, lengths."""
    mask_BR, old = rollout.tokens.mask_BR, rollout.old
    everything_B = torch.ones_like(judged_B)
    mean, variance = masked_moments(rewards_B, judged_B, reduce)
    count = float(reduce(judged_B.sum().double()))

    def mean_per_completion(kind: Any) -> float:
        kl_BR = kl_estimate(old.logprobs, rollout.reference_BR, mask_BR, kind)
        return float(masked_mean(kl_BR.sum(1), everything_B, reduce))

    assert old.entropies is not None
    return {
        "reward_mean": float(mean) if count else None,
        "reward_std": math.sqrt(float(variance) * count / (count - 1)) if count > 1 else None,
        "kl": mean_per_completion("k3"),
        "kl_k1": mean_per_completion("k1"),
        "entropy": float(masked_mean(old.entropies, mask_BR, reduce)),
        "length_tokens": float(masked_mean(mask_BR.sum(1).float(), everything_B, reduce)),
        "eos_rate": float(masked_mean(rollout.ended_B.float(), everything_B, reduce)),
    }


def verdict_metrics(
    sources: Sequence[RewardSource], verdicts: Sequence[Sequence[SourceReward]], device: torch.device, reduce: Reduce
) -> tuple[dict[str, Any], float | None]:
    """Return what each judge said, by name, and what all of it cost in USD, None where a price is unknown."""
    told, usd = {}, 0.0
    for source, said in zip(sources, verdicts, strict=True):
        scores = [verdict.score for verdict in said if verdict.score is not None]
        prices = [math.nan if verdict.usage.usd is None else verdict.usage.usd for verdict in said]
        asked = [verdict for verdict in said if not verdict.usage.from_store and verdict.usage.attempts]
        sums = [
            math.fsum(scores), len(scores), math.fsum(v.usage.seconds for v in asked), len(asked),
            sum(v.usage.from_store for v in said), sum(prices), *(sum(v.status == s for v in said) for s in STATUSES),
        ]  # fmt: skip
        total = reduce(torch.tensor(sums, dtype=torch.float64, device=device)).tolist()
        score, scored, seconds, answered, stored, dollars, *statuses = total
        mean = score / scored if scored else None
        told[source.name] = {
            "score_mean": mean,
            **({"toxicity_mean": toxicity} if (toxicity := toxicity_of(source.measures, mean)) is not None else {}),
            "abstained": int(sum(statuses) - scored),
            "statuses": {status: int(n) for status, n in zip(STATUSES, statuses, strict=True) if n},
            "seconds": seconds / answered if answered else None,
            "from_store": int(stored),
        }
        usd += dollars
    return told, None if math.isnan(usd) else usd


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


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested metrics under dotted names, as trackers want them: numbers and text only."""
    found: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            found[f"{prefix}{key}"] = value
    return found
