"""What a policy answers to fixed prompts with fixed seeds, so that two models differ in nothing but their weights."""

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
    A completion and what models say of it.

    Args:
        completion: the text, without special tokens.
        tokens: how many were sampled, EOS included.
        ended: whether it ended by an EOS; the others were cut.
        kl: log-probability minus the reference's, summed, in nats, at the temperature of sampling: the k1 estimate
            of the KL of a sequence (Schulman 2020).
        reference_logprob: by the reference, summed, in nats, at temperature 1.

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
    Yield batches of answers with the places of their prompts; prompts of similar length come together.

    Args:
        policy: the model.
        prompts: one answer each; a prompt may come several times.
        sampling: how to decode.
        seed: each batch has one of its own that follows from it: equal weights give equal answers.
        batch_size: answers that are made at once.
        micro_batch_tokens: tokens of a scoring pass.
        as_reference: let the policy be what it was before training.
        poll: called after each token; what it raises ends this.

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
    """Yield batches of completions with the places of their prompts; the arguments are those of `answers`."""

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
    """Score completions in pieces that fit into memory."""
    read: dict[int, ScoredCompletion] = {}
    how = (sampling.temperature, sampling.min_new_tokens)
    for piece in micro_batches(tokens.lengths, micro_batch_tokens):
        rows = tokens.rows(piece)
        with policy.use_reference():
            reference_B = sums(policy, rows, 1.0)
            base_B = sums(policy, rows, *how) if how != (1.0, 0) else reference_B
        own_B = base_B if as_reference else sums(policy, rows, *how)
        lengths_B = rows.mask_BR.sum(1)
        last_B = rows.response_BR.gather(1, lengths_B[:, None] - 1).squeeze(1)
        numbers = zip(
            piece, lengths_B.tolist(), policy.is_end(last_B).tolist(), (own_B - base_B).tolist(), reference_B.tolist(),
            strict=True,
        )  # fmt: skip
        for place, count, ended, kl, logprob in numbers:
            ids = tokens.response_BR[place][tokens.mask_BR[place]]
            text = policy.tokenizer.decode(ids, skip_special_tokens=True)
            read[place] = ScoredCompletion(text, count, ended, kl, logprob)
    return [read[place] for place in range(len(tokens))]
