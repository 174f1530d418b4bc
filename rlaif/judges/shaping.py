"""Shapes rewards before the policy learns from them: scaling, clipping and penalties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.config.sections import PPOSection
from rlaif.core.masked import Reduce, masked_moments, no_reduce


@dataclass
class RunningMoments:
    """Mean and variance of all rewards so far, by the parallel update of Chan et al. 1979 (eq. 2.1)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared differences from the mean."""

    def update(self, x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> None:
        """Add the values of a batch where `mask` is true, over all processes."""
        count = float(reduce(mask.sum().double()))
        if not count:
            return
        mean, variance = (float(moment) for moment in masked_moments(x, mask, reduce))
        total, delta = self.count + count, mean - self.mean
        self.squares += variance * count + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    @property
    def std(self) -> float:
        """Sample standard deviation; 1 if there are too few values or all are equal."""
        std = float((self.squares / max(1.0, self.count - 1)) ** 0.5)
        return std if std > 1e-8 else 1.0


def rewards_to_tensors(rewards: Sequence[float | None], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rewards [B], 0 where a judge abstained, and a mask [B], true where it did not."""
    judged_B = torch.tensor([reward is not None for reward in rewards], device=device)
    return torch.tensor([0.0 if reward is None else reward for reward in rewards], device=device), judged_B


def shape_rewards(
    rewards_B: Tensor,
    judged_B: Tensor,
    ended_B: Tensor,
    config: PPOSection,
    moments: RunningMoments,
    reduce: Reduce,
) -> Tensor:
    """
    Scale and clip rewards, then subtract the penalty for completions that were cut.

    Args:
        rewards_B: rewards [B].
        judged_B: mask [B], true where a judge did not abstain.
        ended_B: mask [B], true where a completion ended with EOS.
        config: keys of PPO.
        moments: running moments of the rewards, which are updated.
        reduce: sums a tensor over all processes.

    Returns:
        Shaped rewards [B].

    """
    moments.update(rewards_B, judged_B, reduce)
    if config.use_score_norm:
        rewards_B = rewards_B - moments.mean
    if config.use_score_scaling:
        rewards_B = rewards_B / moments.std
    if config.score_clip is not None:
        rewards_B = rewards_B.clamp(-config.score_clip, config.score_clip)
    if config.missing_eos_penalty is not None:
        rewards_B = torch.where(ended_B, rewards_B, rewards_B - config.missing_eos_penalty)
    return rewards_B
