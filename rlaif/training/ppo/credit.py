"""Assign: which token earned how much of the reward. An abstention weighs nothing, it never becomes a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rlaif.core.config.sections import PPOSection
from rlaif.core.masked import Reduce, no_reduce
from rlaif.judges.shaping import RunningMoments, rewards_to_tensors, shape_rewards
from rlaif.training.loop.kl_control import kl_estimate
from rlaif.training.loop.rollout import Rollout
from rlaif.training.ppo.formulas import gae, token_rewards, whiten


@dataclass(frozen=True)
class Credit:
    """
    What is learned from a rollout, [B, R], 0 outside `mask_BR`.

    Args:
        advantages_BR: of each token over what the critic expected, whitened over the batch of all processes.
        returns_BR: what the critic should have said, before any whitening.
        mask_BR: the tokens that count: those of completions that were judged.
        judged_B: whether a completion was.
        rewards_B: what the judges gave, 0 where they abstained.

    """

    advantages_BR: Tensor
    returns_BR: Tensor
    mask_BR: Tensor
    judged_B: Tensor
    rewards_B: Tensor


def assign(
    rollout: Rollout,
    rewards: Sequence[float | None],
    kl_coef: float,
    config: PPOSection,
    moments: RunningMoments,
    reduce: Reduce = no_reduce,
) -> Credit:
    """
    Turn rewards of completions into advantages and returns of tokens.

    Args:
        rollout: B completions.
        rewards: one for each, None where a judge abstained.
        kl_coef: reward lost per nat of KL from the reference.
        config: how rewards are shaped and spread.
        moments: of all rewards so far; it takes these into account.
        reduce: sums over processes.

    """
    rewards_B, judged_B = rewards_to_tensors(rewards, rollout.ended_B.device)
    mask_BR = rollout.tokens.mask_BR & judged_B.unsqueeze(1)
    shaped_B = shape_rewards(rewards_B, judged_B, rollout.ended_B, config, moments, reduce)
    kl_BR = kl_estimate(rollout.old.logprobs, rollout.reference_BR, mask_BR, config.kl_estimator)
    advantages_BR, returns_BR = gae(
        token_rewards(shaped_B, kl_BR, mask_BR, kl_coef),
        rollout.old.values,
        mask_BR,
        gamma=config.gamma,
        lam=config.lam,
    )
    if config.whiten_advantages:
        advantages_BR = whiten(advantages_BR, mask_BR, reduce)
    return Credit(advantages_BR, returns_BR, mask_BR, judged_B, rewards_B)
