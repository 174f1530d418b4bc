"""
The distance from the reference model: how it is estimated, and the coefficient that controls it.

Sources: the estimators k1, k2, k3, Schulman 2020 (joschu.net/blog/kl-approx.html); the controller, Ziegler et al. 2019
(arXiv 1909.08593).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlaif.core.masked import zero_outside

KLEstimator = Literal["k1", "k2", "k3"]


LOG_RATIO_LIMIT = 20.0
"""exp(20) is 5e8: a ratio beyond it says "far" as well, and does not overflow in the next multiplication."""


def log_ratio(logprobs: Tensor, of: Tensor) -> Tensor:
    """Return log(p / q) of `logprobs` = log p and `of` = log q, clamped so that its exponential stays finite."""
    return (logprobs - of).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def kl_estimate(logprobs: Tensor, reference: Tensor, mask: Tensor, kind: KLEstimator = "k1") -> Tensor:
    """
    Estimate KL(policy || reference) at each sampled token, in nats (Schulman 2020; r = reference / policy).

    k1 = -log r: unbiased, may be negative. k2 = (log r)^2 / 2: biased, low variance. k3 = r - 1 - log r: unbiased and
    never negative.
    """
    log_r = zero_outside(log_ratio(reference, logprobs), mask)
    return {"k1": lambda: -log_r, "k2": lambda: log_r**2 / 2, "k3": lambda: torch.expm1(log_r) - log_r}[kind]()


def end_kl(ends: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """
    Return KL(policy || reference) of whether a completion ends here, in nats.

    Args:
        ends: probability of an end by the policy.
        reference: the same by the reference.
        mask: the tokens that count.

    """
    p, q = (zero_outside(x, mask).clamp(1e-7, 1 - 1e-6) for x in (ends, reference))
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


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
