"""
The formulas of PPO for language models: tensors in, tensors out.

Suffixes name the axes: B samples, R response tokens. Masks are boolean and true where a token counts; what a function
returns outside its mask is 0, and what stands there in its arguments, NaN too, reaches neither its value nor its
gradient. `reduce` sums a tensor over all processes.

Sources: PPO, Schulman et al. 2017 (arXiv 1707.06347); GAE, Schulman et al. 2016 (arXiv 1506.02438); the KL penalty,
Ziegler et al. 2019 (arXiv 1909.08593).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.core.masked import Reduce, masked_moments, no_reduce, zero_outside
from rlaif.training.loop.kl_control import kl_estimate, log_ratio

# --- whitening -------------------------------------------------------------------------------------------


def whiten(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> Tensor:
    """Shift to mean 0 and scale to variance 1 over all processes: the mean is removed, not added back."""
    mean, variance = masked_moments(x, mask, reduce)
    return zero_outside(x - mean.to(x.dtype), mask) * torch.rsqrt(variance + 1e-8).to(x.dtype)


def whitening_factor(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> float:
    """Return what `whiten` multiplies by; 1 where there are too few values, or all are equal."""
    _, variance = masked_moments(x, mask, reduce)
    return float(torch.rsqrt(variance + 1e-8)) if variance > 1e-8 else 1.0


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> Tensor:
    """Return 1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that says the mean; 0 if flat."""
    _, total = masked_moments(returns, mask, reduce)
    _, left = masked_moments(returns - values, mask, reduce)
    return torch.where(total > 1e-12, 1 - left / total, torch.zeros_like(total))


# --- rewards --------------------------------------------------------------------------------------------------


def token_rewards(scores_B: Tensor, kl_BR: Tensor, mask_BR: Tensor, kl_coef: float) -> Tensor:
    """Return -kl_coef * KL at each token, with the score of the completion added at its last real one (its EOS)."""
    rewards_BR = zero_outside(-kl_coef * kl_BR, mask_BR)
    last_B = (mask_BR.sum(1) - 1).clamp(min=0)
    score_BR = torch.zeros_like(rewards_BR).scatter(1, last_B.unsqueeze(1), scores_B.to(rewards_BR.dtype).unsqueeze(1))
    return rewards_BR + zero_outside(score_BR, mask_BR)


def gae(rewards_BR: Tensor, values_BR: Tensor, mask_BR: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """
    Return advantages and returns by generalised advantage estimation (Schulman et al. 2016, eq. 16).

    Responses are right-padded, and the state after the last real token is terminal: nothing is bootstrapped, also
    where the completion was cut. Returns are advantages + values, before any whitening.
    """
    rewards_BR, values_BR = zero_outside(rewards_BR, mask_BR), zero_outside(values_BR, mask_BR)
    advantages_BR = torch.zeros_like(rewards_BR)
    next_value_B = next_advantage_B = rewards_BR.new_zeros(len(rewards_BR))
    for t in reversed(range(rewards_BR.shape[1])):
        delta_B = rewards_BR[:, t] + gamma * next_value_B - values_BR[:, t]
        # Outside the mask rewards and values are 0, and so is all that is carried on from there.
        next_advantage_B = delta_B + gamma * lam * next_advantage_B
        advantages_BR[:, t] = next_advantage_B
        next_value_B = values_BR[:, t]
    return zero_outside(advantages_BR, mask_BR), zero_outside(advantages_BR + values_BR, mask_BR)


def sum_to_end(x_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Return at each token the sum of `x_BR` from it to the end of its completion."""
    return zero_outside(zero_outside(x_BR, mask_BR).flip(1).cumsum(1).flip(1), mask_BR)


def unjudged_advantages(kl_to_end_BR: Tensor, values_BR: Tensor, mask_BR: Tensor, kl_coef: float) -> Tensor:
    """
    Return the advantages of completions without a reward, whose KL is a loss of its own.

    Let log r be log(policy / reference) of a whole completion. The policy stops moving where the mean of
    c * grad log policy is 0, with c = reward - kl_coef * log r - b for judged completions and c = -kl_coef * log r for
    the others. If b is the mean of what it is subtracted from, c is then 0 everywhere: an unjudged completion keeps the
    probability that the reference gives it, and the judged ones share the rest by reference * exp(reward / kl_coef).

    At token t a judged completion is compared with the critic's value V_t in the place of b = V_1, the value of the
    prompt. A baseline that depends on the tokens before t does no harm where all completions that begin with these have
    it; so V_t - V_1 is subtracted here as well: A_t = -kl_coef * `kl_to_end_BR` - (V_t - V_1), with
    the sum of k1 from t on.
    """
    values_BR = zero_outside(values_BR, mask_BR)
    return zero_outside(-kl_coef * zero_outside(kl_to_end_BR, mask_BR) - (values_BR - values_BR[:, :1]), mask_BR)


# --- losses ---------------------------------------------------------------------------------------------------


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, cliprange: float, dual_clip: float | None = None
) -> tuple[Tensor, Tensor]:
    """
    Return the clipped surrogate of each token, to be minimised, and where the clipping acts.

    max(-A * ratio, -A * clip(ratio, 1 - cliprange, 1 + cliprange)) (Schulman et al. 2017, eq. 7). With `dual_clip`
    = c > 1 the loss of a token with A < 0 is at most -c * A (Ye et al. 2020, arXiv 1912.09729, eq. 5), because
    nothing else bounds it there.
    """
    ratio, advantages = zero_outside(log_ratio(logprobs, old), mask).exp(), zero_outside(advantages, mask)
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    loss, acts = torch.maximum(plain, clipped), clipped > plain
    if dual_clip is not None:
        bound = -advantages * dual_clip
        capped = (advantages < 0) & (loss > bound)
        loss, acts = torch.where(capped, bound, loss), acts | capped
    return loss, acts


def kl_loss(logprobs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """
    Return k2 = log(policy / reference)^2 / 2 of each token, whose gradient is that of the KL.

    The gradient is log(policy / reference) * grad log policy: what k1 in the reward gives (Liu et al. 2025, arXiv
    2510.01555). That an early token changes the KL of later ones is no part of it: see `credit.assign`.
    """
    return kl_estimate(logprobs, reference, mask, "k2")


def value_loss(values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, cliprange: float | None) -> Tensor:
    """
    Return half the squared error of each token, the larger of plain and clipped.

    A value may move by `cliprange` from the old one before its error stops counting (openai/baselines,
    ppo2/model.py, `vpredclipped`); None does not clip.
    """
    error = zero_outside(values - returns, mask) ** 2
    if cliprange is not None:
        near = old + (values - old).clamp(-cliprange, cliprange)
        error = torch.maximum(error, zero_outside(near - returns, mask) ** 2)
    return error / 2
