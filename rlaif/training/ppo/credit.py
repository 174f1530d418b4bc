"""
Assign: which token earned how much of the reward.

An abstention never becomes a number: a completion without a reward teaches the critic nothing and is in no mean. Its KL
still counts, or nothing would hold what no judge scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.config.sections import PPOSection
from rlaif.core.masked import Reduce, masked_mean, no_reduce, zero_outside
from rlaif.judges.shaping import RunningMoments, rewards_to_tensors, shape_rewards
from rlaif.training.loop.kl_control import kl_estimate
from rlaif.training.loop.rollout import Rollout
from rlaif.training.ppo.formulas import gae, sum_to_end, token_rewards, unjudged_advantages, whiten, whitening_factor


@dataclass(frozen=True)
class Credit:
    """
    What is learned from a rollout, [B, R], 0 outside the masks.

    Args:
        advantages_BR: of each token over what the critic expected, whitened over the judged tokens of all processes;
            of tokens that were not judged by their KL alone, in the same unit.
        returns_BR: what the critic should have said, before any whitening, 0 where nobody judged.
        mask_BR: the tokens of completions that were judged.
        policy_mask_BR: the tokens that the policy learns from: these, and those that only the KL holds.
        judged_B: whether a completion was.
        rewards_B: what the judges gave, 0 where they abstained.
        kl_loss_weight: of k2 at each token in the loss; 0 where the KL is in the reward.
        ends_weight: of the KL of the ends that `min_new_tokens` blocks, which is always in the loss.

    """

    advantages_BR: Tensor
    returns_BR: Tensor
    mask_BR: Tensor
    policy_mask_BR: Tensor
    judged_B: Tensor
    rewards_B: Tensor
    kl_loss_weight: float = 0.0
    ends_weight: float = 0.0


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
    tokens_BR, values_BR = rollout.tokens.mask_BR, rollout.old.values
    mask_BR = tokens_BR & judged_B.unsqueeze(1)
    shaped_B = shape_rewards(rewards_B, judged_B, rollout.ended_B, config, moments, reduce)
    kl_BR = kl_estimate(rollout.old.logprobs, rollout.reference_BR, tokens_BR, "k1")
    in_reward_BR = kl_BR if config.kl_in == "reward" else torch.zeros_like(kl_BR)
    advantages_BR, returns_BR = gae(
        token_rewards(shaped_B, in_reward_BR, mask_BR, kl_coef), values_BR, mask_BR, gamma=config.gamma, lam=config.lam
    )
    factor = 1.0
    if config.whiten_advantages:
        factor = whitening_factor(advantages_BR, mask_BR, reduce)
        advantages_BR = whiten(advantages_BR, mask_BR, reduce)
    if not kl_coef:
        return Credit(advantages_BR, returns_BR, mask_BR, mask_BR, judged_B, rewards_B)
    of_kl_BR = sum_to_end(kl_BR, tokens_BR)
    if config.kl_in == "loss":
        # The loss has the KL of the token itself. The mean is subtracted where the critic's value is, of judged ones.
        of_kl_BR = of_kl_BR - kl_BR
        mean = masked_mean(kl_BR.sum(1), judged_B, reduce)
        advantages_BR = advantages_BR - factor * kl_coef * zero_outside(of_kl_BR - mean, mask_BR)
    unjudged_BR = unjudged_advantages(of_kl_BR, values_BR, tokens_BR & ~mask_BR, kl_coef)
    return Credit(
        advantages_BR + factor * unjudged_BR, returns_BR, mask_BR, tokens_BR, judged_B, rewards_B,
        kl_loss_weight=factor * kl_coef if config.kl_in == "loss" else 0.0, ends_weight=factor * kl_coef,
    )  # fmt: skip
