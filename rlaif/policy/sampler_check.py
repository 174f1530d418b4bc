"""Whether a policy is causal, and sampled from the distribution that it is scored by: found before the first step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.devices import is_out_of_memory
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.generation.transformers import TransformersGenerator
from rlaif.policy.model import Policy
from rlaif.policy.parts import inner
from rlaif.policy.tokens import TokenBatch

PROMPTS = (1, 3, 4, 9)
"""Lengths of the prompts, in tokens: the cache sees padding of each size."""
TOKENS = 8
"""Of a completion."""
CHANGED = 4
"""The place of the token that is exchanged, to see whether an earlier one notices."""
LEAST = 1e-3
"""Nats that are rounding in float32, whatever was measured."""


@torch.no_grad()
def check_sampler(policy: Policy, where: str) -> float | None:
    """
    Return by how many nats the log-probability of a token may differ by rounding, after a look at what may be wrong.

    Four times as much as the same tokens differ when they are scored alone and in a batch, and at least `LEAST`; in
    bfloat16 at least four units in the last place of the largest logit. None for an engine
    that is not checked. It costs 14 short forward passes.

    Args:
        policy: on the device that it is trained on.
        where: the first words of a message.

    Raises:
        InputError: a later token moves the log-probability of an earlier one; tokens are scored otherwise in a batch
            than alone; or sampling, with its cache and its padding on the left, has another distribution than scoring.

    """
    kind = type(inner(policy.model)).__name__
    if not isinstance(policy.generator, TransformersGenerator):
        return None
    try:
        tokens, logits_BRV = _sample(policy, policy.generator)
        sampled_BR = torch.log_softmax(logits_BRV.double(), -1)
        sampled_BR = sampled_BR.gather(-1, tokens.response_BR.unsqueeze(-1)).squeeze(-1)
        scored_BR = policy(tokens).logprobs
        alone_BR = _score_alone(policy, tokens)
        moved_BR = policy(_exchange_a_token(policy, tokens)).logprobs
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"{where}: {kind} cannot be sampled from: {reason_of(error)}") from error
    largest = float(logits_BRV[logits_BRV.isfinite()].abs().max())
    least = LEAST if policy.dtype == torch.float32 else max(0.05, 4 * torch.finfo(policy.dtype).eps * largest)
    least /= min(1.0, policy.temperature)
    beside = _largest(alone_BR - scored_BR, tokens.mask_BR)
    rounding = max(4 * beside, least)
    earlier = tokens.mask_BR.clone()
    earlier[:, CHANGED:] = False
    bound = min(rounding, 10 * least)  # what differs more in a batch is no rounding
    for off, what in (
        (_largest(moved_BR - scored_BR, earlier), "is not causal: a later token moves"),
        (beside, "scores a text otherwise beside others: they move"),
        (_largest(sampled_BR - scored_BR, tokens.mask_BR), "samples otherwise than it scores, which moves"),
    ):
        if not off <= bound:
            raise InputError(
                f"{where}: {kind} {what} a log-probability by {off:.2g} nats, where rounding is {bound:.2g}; it cannot "
                "be trained"
            )
    return rounding


def _sample(policy: Policy, generator: TransformersGenerator) -> tuple[TokenBatch, Tensor]:
    """Sample short completions, and leave the random numbers of a run as they are."""
    config = inner(policy.model).config.get_text_config(decoder=True)
    places = getattr(config, "max_position_embeddings", None) or 10**9
    special = set(policy.tokenizer.all_special_ids)  # computed anew at each access
    plain = [token for token in range(config.vocab_size) if token not in special]
    prompts = [
        [plain[(7919 * row + 104729 * place) % len(plain)] for place in range(max(1, min(length, places - TOKENS)))]
        for row, length in enumerate(PROMPTS)
    ]
    kind = policy.device.type
    devices = [] if kind == "cpu" else [policy.device]
    with torch.random.fork_rng(devices, device_type="cuda" if kind == "cpu" else kind):
        count = max(1, min(TOKENS, places - 1))
        sampling = Sampling(count, min(policy.min_new_tokens, count), policy.temperature)
        return generator.generate_with_logits(prompts, sampling, encoded=policy.encode(prompts))


def _score_alone(policy: Policy, tokens: TokenBatch) -> Tensor:
    found_BR = torch.zeros(tokens.mask_BR.shape, device=policy.device)
    for row in range(len(tokens)):
        logprobs_1R = policy(tokens.rows([row])).logprobs
        found_BR[row, : logprobs_1R.shape[1]] = logprobs_1R[0]
    return found_BR


def _exchange_a_token(policy: Policy, tokens: TokenBatch) -> TokenBatch:
    """Return the tokens with others from a place on."""
    response_BR = tokens.response_BR.clone()
    vocabulary = inner(policy.model).config.get_text_config(decoder=True).vocab_size
    response_BR[:, CHANGED:] = (response_BR[:, CHANGED:] + vocabulary // 2) % vocabulary
    return replace(tokens, response_BR=response_BR)


def _largest(x_BR: Tensor, mask_BR: Tensor) -> float:
    return float(x_BR.abs()[mask_BR].max()) if mask_BR.any() else 0.0
