"""Samples completions for fixed prompts with fixed seeds, so that two models differ only in their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.seeds import seed_of
from rlaif.data.prompts import Prompt
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.likelihood import sums
from rlaif.policy.model import Policy
from rlaif.policy.tokens import TokenBatch, micro_batches


@dataclass(frozen=True, slots=True)
class ScoredCompletion:
    """
    A completion with its log-probabilities.

    Args:
        completion: text of the completion, without special tokens.
        tokens: number of sampled tokens, EOS included.
        ended: whether it ended with EOS; otherwise it was cut at the maximum length.
        kl: log-probability minus that of the reference, summed over tokens, in nats, at the sampling temperature. It is
            the k1 estimate of the KL of a sequence (Schulman 2020).
        reference_logprob: log-probability under the reference, summed over tokens, in nats, at temperature 1.

    """

    completion: str
    tokens: int
    ended: bool
    kl: float
    reference_logprob: float


def answers(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    batch_size: int,
    micro_batch_tokens: int,
    as_reference: bool = False,
    poll: Callable[[], None] = lambda: None,
) -> Iterator[tuple[list[int], list[ScoredCompletion]]]:
    """
    Yield batches of completions with the indices of their prompts. Prompts of similar length are batched together.

    Args:
        policy: the model.
        prompts: the prompts, one completion each; a prompt may be repeated.
        sampling: how to decode.
        seed: seed from which that of each batch is derived; equal weights give equal completions.
        batch_size: number of completions generated at once.
        micro_batch_tokens: largest number of tokens of a scoring pass.
        as_reference: use the policy as it was before training.
        poll: called after each token; an exception that it raises stops the sampling.

    """
    made = sample_batches(
        policy, prompts, sampling, seed=seed, batch_size=batch_size, as_reference=as_reference, poll=poll
    )  # fmt: skip
    for rows, tokens in made:
        yield rows, _read(policy, tokens, sampling, micro_batch_tokens, as_reference)


def sample_batches(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    batch_size: int,
    as_reference: bool = False,
    poll: Callable[[], None] = lambda: None,
) -> Iterator[tuple[list[int], TokenBatch]]:
    """Yield batches of sampled tokens with the indices of their prompts; the arguments are those of `answers`."""

    def watch(_: Tensor) -> bool:
        poll()
        return False

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        torch.manual_seed(seed_of(seed, "answers", start))
        with policy.use_reference() if as_reference else nullcontext():
            tokens = policy.generate([list(prompts[row].ids) for row in rows], sampling, watch=watch)
        yield rows, tokens


@torch.no_grad()
def _read(
    policy: Policy, tokens: TokenBatch, sampling: Sampling, micro_batch_tokens: int, as_reference: bool
) -> list[ScoredCompletion]:
    """Score completions in micro-batches that fit into memory."""
    read: dict[int, ScoredCompletion] = {}
    how = (sampling.temperature, sampling.min_new_tokens)
    for micro_batch in micro_batches(tokens.lengths, micro_batch_tokens):
        rows = tokens.rows(micro_batch)
        with policy.use_reference():
            reference_B = sums(policy, rows, 1.0)
            base_B = sums(policy, rows, *how) if how != (1.0, 0) else reference_B
        own_B = base_B if as_reference else sums(policy, rows, *how)
        lengths_B = rows.mask_BR.sum(1)
        last_B = rows.response_BR.gather(1, lengths_B[:, None] - 1).squeeze(1)
        numbers = zip(
            micro_batch, lengths_B.tolist(), policy.is_end(last_B).tolist(), (own_B - base_B).tolist(),
            reference_B.tolist(), strict=True,
        )  # fmt: skip
        for place, count, ended, kl, logprob in numbers:
            ids = tokens.response_BR[place][tokens.mask_BR[place]]
            text = policy.tokenizer.decode(ids, skip_special_tokens=True)
            read[place] = ScoredCompletion(text, count, ended, kl, logprob)
    return [read[place] for place in range(len(tokens))]
