"""
The log-probability of one id per row of logits, forwards and backwards in blocks that stay in the cache.

log p = z - log sum exp(z) with z = logits / temperature, and d log p / d logits = (onehot - softmax(z)) / temperature.
`log_softmax` and `gather` say the same, but write all of [N, V] three times forwards and three times backwards, in
float32: on a CPU that takes as long as half of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK_LOGITS = 2**19
"""Logits of a block: 2 MB in float32. An accelerator takes all rows at once."""


class TokenLogprobs(torch.autograd.Function):
    """`apply(logits_NV, ids_N, temperature)` returns [N] in float32, whatever the logits' dtype."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_N: Tensor, temperature: float) -> Tensor:  # noqa: D102
        total_N = torch.empty(len(ids_N), dtype=torch.float32, device=logits_NV.device)
        logprobs_N = torch.empty_like(total_N)
        for rows in _blocks(logits_NV):
            z_NV = logits_NV[rows].float() / temperature
            total_N[rows] = z_NV.logsumexp(-1)
            logprobs_N[rows] = z_NV.gather(-1, ids_N[rows].unsqueeze(-1)).squeeze(-1) - total_N[rows]
        ctx.save_for_backward(logits_NV, ids_N, total_N)
        ctx.temperature = temperature
        return logprobs_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        logits_NV, ids_N, total_N = ctx.saved_tensors
        scaled_N1 = (gradients[0] / ctx.temperature).unsqueeze(-1)
        gradient_NV = torch.empty_like(logits_NV)
        for rows in _blocks(logits_NV):
            block_NV = logits_NV[rows].float().div_(ctx.temperature).sub_(total_N[rows].unsqueeze(-1)).exp_()
            block_NV.mul_(-scaled_N1[rows]).scatter_add_(-1, ids_N[rows].unsqueeze(-1), scaled_N1[rows])
            gradient_NV[rows] = block_NV
        return gradient_NV, None, None


def token_logprobs(logits_NV: Tensor, ids_N: Tensor, temperature: float) -> Tensor:
    """Return the log-probability of each id at a temperature, in float32 [N]."""
    logprobs_N: Tensor = TokenLogprobs.apply(logits_NV, ids_N, temperature)  # type: ignore[no-untyped-call]
    return logprobs_N


def _blocks(logits_NV: Tensor) -> Iterator[slice]:
    count, size = logits_NV.shape
    rows = max(1, BLOCK_LOGITS // size) if logits_NV.device.type == "cpu" else max(1, count)
    return (slice(start, start + rows) for start in range(0, count, rows))


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
