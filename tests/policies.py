"""Policies of tiny models, and what they are given: prompts of mixed lengths, completions that end early."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif.core.config.sections import LoraSection
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.loading import LoadedModel, load
from rlaif.policy.model import Policy
from rlaif.policy.tokens import TokenBatch, pad_sequences
from tests.tiny import SEED

Folder = Callable[..., Path]
"""Of an architecture, and keys of `tiny.policy`: the fixture `policy_folder`."""

LORA = LoraSection(r=4, alpha=8)

ENDS = [2, *range(20, 70)]
"""Ids that end a completion, so many that completions of random models end at mixed lengths."""


ROUNDING = 2**-32
"""
By how much two ways to compute a number in float64 may differ, as a share of the largest number of its kind.

The eps of float64 is 2**-52, and a sum of n terms is off by no more than n eps of the sum of their sizes. The longest
sums here run over a batch's tokens and the vocabulary, 2**13 terms; 2**7 times as much is left for the layers between
and for terms that cancel out. A wrong formula is off by far more than 2**-32.
"""


def policy_of(
    source: Path | LoadedModel, *, ends: Sequence[int] | None = ENDS, lively: bool = False, **keys: Any
) -> Policy:
    """
    Load a policy from a folder.

    Args:
        source: a folder, or what was loaded from it.
        ends: EOS ids in the model's generation settings; None leaves them alone.
        lively: fill what training starts with at zero: the value head, and LoRA's second factor.
        keys: of `Policy` or of `load`.

    """
    torch.manual_seed(SEED)  # of LoRA's first factor
    policy_keys = {k: v for k, v in keys.items() if k in ("temperature", "critic", "gradient_checkpointing")}
    loaded = (
        source
        if isinstance(source, LoadedModel)
        else load(str(source), **{k: keys[k] for k in keys.keys() - policy_keys})
    )
    if ends is not None:
        loaded.model.generation_config.eos_token_id = list(ends)
    policy = Policy(loaded, **policy_keys)
    if lively:
        moved(policy, lambda name: "value_head" in name or "lora_B" in name)
    return policy


def policy_in_float64(folder: Path, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Policy:
    """
    Load a policy, and let all that asks for float32 get float64 from now on.

    By how much two right ways to compute a gradient differ in float32 hangs on the processor.
    """
    loaded = load(str(folder))
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)
    return policy_of(replace(loaded, model=loaded.model.double(), dtype=torch.float64), **keys).double()


def moved(policy: Policy, which: Any = lambda name: True, by: float = 0.3) -> None:
    """Move trained weights at random, by `by` on average over squares."""
    torch.manual_seed(7 + SEED)
    for name, weight in policy.weights().items():
        if which(name):
            weight.add_((torch.rand_like(weight) * 2 - 1) * by * 3**0.5)  # no randn: see tiny.weights


def prompts_of_mixed_lengths(count: int = 6) -> list[list[int]]:
    """Random ids, the first prompt a single token, the last the longest."""
    draw = random.Random(3)
    return [[draw.randrange(70, 250) for _ in range(1 + 3 * i)] for i in range(count)]


def sampled(policy: Policy, count: int = 6, *, seed: int = 0, most: int = 12, **keys: Any) -> TokenBatch:
    """Completions of mixed lengths, sampled at the policy's temperature."""
    torch.manual_seed(seed)
    sampling = Sampling(max_new_tokens=most, temperature=policy.temperature, **keys)
    return policy.generate(prompts_of_mixed_lengths(count), sampling)


def tokens_of(policy: Policy, lengths: Sequence[tuple[int, int]], *, vocabulary: int = 250) -> TokenBatch:
    """Prompts and responses of given lengths, of random ids."""
    draw = random.Random(5)
    rows = [[[draw.randrange(4, vocabulary) for _ in range(n)] for n in pair] for pair in lengths]
    return TokenBatch(*pad_sequences([p for p, _ in rows], policy.pad, policy.device),
                  *pad_sequences([r for _, r in rows], policy.pad, policy.device))  # fmt: skip


def plain_logits(policy: Policy, tokens: TokenBatch, row: int, **keys: Any) -> tuple[Tensor, Tensor, Any]:
    """Return ids [R] of one completion, full logits [R, V] at them, and the output, by an unbatched plain forward."""
    prompt = tokens.prompt_BP[row][tokens.prompt_mask_BP[row]]
    response = tokens.response_BR[row][tokens.mask_BR[row]]
    if policy.is_seq2seq:
        start = torch.tensor([policy.model.config.decoder_start_token_id])
        out = policy.model(input_ids=prompt[None], decoder_input_ids=torch.cat([start, response[:-1]])[None], **keys)
        return response, out.logits[0], out
    out = policy.model(input_ids=torch.cat([prompt, response])[None], **keys)
    return response, out.logits[0, len(prompt) - 1 : -1], out


def gradients(policy: Policy) -> dict[str, Tensor]:
    """Return the gradients of trained weights, and forget them."""
    found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad(set_to_none=True)
    return found
