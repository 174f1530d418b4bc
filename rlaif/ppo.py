"""
The arithmetic of PPO for language models: tensors in, tensors out. It knows no model.

Suffixes name the axes: B samples, R response tokens, N tokens in a row, V vocabulary. Masks are boolean and true
where a token counts; what a function returns outside its mask is 0, and what stands there in its arguments, NaN
too, reaches neither its value nor its gradient. `reduce` sums a tensor over all processes.

Sources: PPO, Schulman et al. 2017 (arXiv 1707.06347); GAE, Schulman et al. 2016 (arXiv 1506.02438); the KL penalty
and its controller, Ziegler et al. 2019 (arXiv 1909.08593); the estimators k1, k2, k3, Schulman 2020
(joschu.net/blog/kl-approx.html).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]
KLEstimator = Literal["k1", "k2", "k3"]

LOG_RATIO_LIMIT = 20.0
"""exp(20) is 5e8: a ratio beyond it says "far" as well, and does not overflow in the next multiplication."""


def alone(x: Tensor) -> Tensor:
    """Sum over the one process that there is."""
    return x


# --- masked moments -------------------------------------------------------------------------------------------


def masked_mean(x: Tensor, mask: Tensor, reduce: Reduce = alone) -> Tensor:
    """Return the mean of `x` where `mask` is true, over all processes; 0 where it never is."""
    count = reduce(mask.sum().double())
    return (reduce(_kept(x, mask).double().sum()) / count.clamp(min=1)).to(x.dtype)


def masked_moments(x: Tensor, mask: Tensor, reduce: Reduce = alone) -> tuple[Tensor, Tensor]:
    """Return mean and variance (of the population) of `x` where `mask` is true, over all processes, in float64."""
    count = reduce(mask.sum().double()).clamp(min=1)
    mean = reduce(_kept(x, mask).double().sum()) / count
    variance = reduce((_kept(x.double() - mean, mask) ** 2).sum()) / count
    return mean, variance


def whiten(x: Tensor, mask: Tensor, reduce: Reduce = alone) -> Tensor:
    """Shift to mean 0 and scale to variance 1 over all processes: the mean is removed, not added back."""
    mean, variance = masked_moments(x, mask, reduce)
    return _kept(x - mean.to(x.dtype), mask) * torch.rsqrt(variance + 1e-8).to(x.dtype)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, reduce: Reduce = alone) -> Tensor:
    """Return 1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that says the mean; 0 if flat."""
    _, total = masked_moments(returns, mask, reduce)
    _, left = masked_moments(returns - values, mask, reduce)
    return torch.where(total > 1e-12, 1 - left / total.clamp(min=1e-12), torch.zeros_like(total))


def _kept(x: Tensor, mask: Tensor) -> Tensor:
    """Come before products and powers: NaN outlives a product with 0, also that of the backward pass."""
    return x.masked_fill(~mask, 0)


# --- log-probabilities ----------------------------------------------------------------------------------------


def logprobs_and_entropy(logits_NV: Tensor, ids_N: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the log-probability of each id and the entropy of each distribution, in nats, by one softmax in float32.

    Args:
        logits_NV: already divided by the temperature.
        ids_N: the sampled ids.

    """
    log_p_NV = torch.log_softmax(logits_NV.float(), dim=-1)
    logprobs_N = log_p_NV.gather(-1, ids_N.unsqueeze(-1)).squeeze(-1)
    # p log p is 0 where p is, for a logit of -inf too; in float32 p is 0 below a log p of -104.
    return logprobs_N, -(log_p_NV.exp() * log_p_NV.clamp(min=-1e4)).sum(-1)


def log_ratio(logprobs: Tensor, of: Tensor) -> Tensor:
    """Return log(p / q) of `logprobs` = log p and `of` = log q, clamped so that its exponential stays finite."""
    return (logprobs - of).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


# --- distance from the reference ------------------------------------------------------------------------------


def kl_estimate(logprobs: Tensor, reference: Tensor, mask: Tensor, kind: KLEstimator = "k1") -> Tensor:
    """
    Estimate KL(policy || reference) at each sampled token, in nats (Schulman 2020; r = reference / policy).

    k1 = -log r: unbiased, may be negative. k2 = (log r)^2 / 2: biased, low variance. k3 = r - 1 - log r: unbiased and
    never negative.
    """
    log_r = _kept(log_ratio(reference, logprobs), mask)
    return {"k1": lambda: -log_r, "k2": lambda: log_r**2 / 2, "k3": lambda: torch.expm1(log_r) - log_r}[kind]()


@dataclass
class FixedKL:
    """A KL coefficient that stays."""

    value: float

    def update(self, kl: float, samples: int) -> None:
        """Leave the coefficient as it is."""


@dataclass
class AdaptiveKL:
    """
    A KL coefficient that steers the KL towards a target (Ziegler et al. 2019, section 2.2).

    error = clip(KL / target - 1, -0.2, 0.2); coefficient *= 1 + error * samples / horizon. It never turns negative:
    samples beyond the horizon count as the horizon.

    Args:
        value: the coefficient to begin with.
        target: nats per completion.
        horizon: samples in which an error of 1 would double it.

    """

    value: float
    target: float
    horizon: float

    def update(self, kl: float, samples: int) -> None:
        """Take the mean KL per completion, in nats, of so many samples into account; NaN says nothing."""
        if math.isnan(kl):
            return
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * min(1.0, samples / self.horizon)


# --- rewards --------------------------------------------------------------------------------------------------


@dataclass
class RunningMoments:
    """Mean and variance of all rewards so far, by the parallel update of Chan et al. 1979 (eq. 2.1)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    """The sum of squared distances from the mean."""

    def update(self, x: Tensor, mask: Tensor, reduce: Reduce = alone) -> None:
        """Add the values of a batch where `mask` is true, of all processes."""
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
        """The standard deviation, of the sample; 1 where there are too few values, or all are equal."""
        std = float((self.squares / max(1.0, self.count - 1)) ** 0.5)
        return std if std > 1e-8 else 1.0


def token_rewards(scores_B: Tensor, kl_BR: Tensor, mask_BR: Tensor, kl_coef: float) -> Tensor:
    """Return -kl_coef * KL at each token, with the score of the completion added at its last real one (its EOS)."""
    rewards_BR = _kept(-kl_coef * kl_BR, mask_BR)
    last_B = (mask_BR.sum(1) - 1).clamp(min=0)
    score_BR = torch.zeros_like(rewards_BR).scatter(1, last_B.unsqueeze(1), scores_B.to(rewards_BR.dtype).unsqueeze(1))
    return rewards_BR + _kept(score_BR, mask_BR)


def gae(rewards_BR: Tensor, values_BR: Tensor, mask_BR: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """
    Return advantages and returns by generalised advantage estimation (Schulman et al. 2016, eq. 16).

    Responses are right-padded, and the state after the last real token is terminal: nothing is bootstrapped, also
    where the completion was cut. Returns are advantages + values, before any whitening.
    """
    rewards_BR, values_BR = _kept(rewards_BR, mask_BR), _kept(values_BR, mask_BR)
    advantages_BR = torch.zeros_like(rewards_BR)
    next_value_B = next_advantage_B = torch.zeros_like(rewards_BR[:, 0])
    for t in reversed(range(rewards_BR.shape[1])):
        delta_B = rewards_BR[:, t] + gamma * next_value_B - values_BR[:, t]
        # Outside the mask rewards and values are 0, and so is all that is carried on from there.
        next_advantage_B = delta_B + gamma * lam * next_advantage_B
        advantages_BR[:, t] = next_advantage_B
        next_value_B = values_BR[:, t]
    return _kept(advantages_BR, mask_BR), _kept(advantages_BR + values_BR, mask_BR)


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
    ratio, advantages = _kept(log_ratio(logprobs, old), mask).exp(), _kept(advantages, mask)
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    loss, acts = torch.maximum(plain, clipped), clipped > plain
    if dual_clip is not None:
        bound = -advantages * dual_clip
        capped = (advantages < 0) & (loss > bound)
        loss, acts = torch.where(capped, bound, loss), acts | capped
    return loss, acts


def value_loss(values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, cliprange: float | None) -> Tensor:
    """
    Return half the squared error of each token, the larger of plain and clipped.

    A value may move by `cliprange` from the old one before its error stops counting (openai/baselines,
    ppo2/model.py, `vpredclipped`); None does not clip.
    """
    error = _kept(values - returns, mask) ** 2
    if cliprange is not None:
        near = old + (values - old).clamp(-cliprange, cliprange)
        error = torch.maximum(error, _kept(near - returns, mask) ** 2)
    return error / 2
