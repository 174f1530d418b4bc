"""Act: completions of a batch of prompts, judged while they come, and all that learning needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.types import Sample
from rlaif.data.prompts import Prompt
from rlaif.judges.asking import Poll
from rlaif.judges.rewards import Pending, Rewards
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.model import Policy, TokenScores
from rlaif.policy.tokens import TokenBatch, micro_batches


@dataclass(frozen=True)
class Rollout:
    """
    What the policy did with B prompts, as it was before the update.

    Args:
        tokens: prompts and the sampled ids themselves; a completion is never tokenised again.
        old: log-probabilities, values and entropies of the sampled tokens, [B, R].
        reference_BR: log-probabilities of the same tokens by the reference.
        ended_B: whether a completion ended by an EOS; the others were cut.
        completions: the texts, without special tokens.
        reference_ends_BR: `TokenScores.ends` by the reference.

    """

    tokens: TokenBatch
    old: TokenScores
    reference_BR: Tensor
    ended_B: Tensor
    completions: list[str]
    reference_ends_BR: Tensor | None = None


def act(
    policy: Policy,
    prompts: Sequence[Prompt],
    rewards: Rewards,
    sampling: Sampling,
    *,
    micro_batch_tokens: int,
    poll: Poll = lambda: None,
) -> tuple[Rollout, Pending]:
    """
    Complete a batch of prompts, and have the completions judged as they end.

    Args:
        policy: what acts.
        prompts: B of them.
        rewards: who judges: remote judges have begun on most completions when this returns.
        sampling: how completions are sampled.
        micro_batch_tokens: tokens of a forward pass.
        poll: called after each token; what it raises ends the generation.

    """
    ids = [list(prompt.ids) for prompt in prompts]
    pending = rewards.begin(len(prompts))
    reported: set[int] = set()

    def report(row: int, response: Tensor) -> None:
        reported.add(row)
        completion = policy.tokenizer.decode(response, skip_special_tokens=True)
        pending.add(row, Sample(completion, prompts[row].text, prompts[row].columns), response.tolist())

    def watch(response_BR: Tensor) -> bool:
        poll()
        if rewards.any_remote:
            for row in set(policy.is_end(response_BR[:, -1]).nonzero().flatten().tolist()) - reported:
                report(row, response_BR[row])
        return False

    try:
        encoded = policy.encode(ids)
        tokens = policy.generate(ids, sampling, encoded=encoded, watch=watch)
        for row in set(range(len(prompts))) - reported:
            report(row, tokens.response_BR[row][tokens.mask_BR[row]])
        old, reference_BR, reference_ends_BR = _score_tokens(policy, tokens, ids, micro_batch_tokens, encoded, poll)
    except BaseException:
        pending.cancel()
        raise
    last_B = tokens.mask_BR.sum(1, keepdim=True) - 1
    ended_B = policy.is_end(tokens.response_BR.gather(1, last_B).squeeze(1))
    completions = [sample.completion for sample in pending.samples]
    return Rollout(tokens, old, reference_BR, ended_B, completions, reference_ends_BR), pending


@torch.no_grad()
def _score_tokens(
    policy: Policy,
    tokens: TokenBatch,
    prompts: Sequence[Sequence[int]],
    micro_batch_tokens: int,
    encoded: tuple[Tensor, Tensor] | None,
    poll: Poll,
) -> tuple[TokenScores, Tensor, Tensor]:
    """Score all tokens once, before any update, by the policy and by its reference in the same micro-batches."""
    cut = micro_batches(tokens.lengths, micro_batch_tokens)
    old_BR = [torch.zeros(tokens.mask_BR.shape, device=policy.device) for _ in TokenScores._fields]
    reference_BR, reference_ends_BR = torch.zeros_like(old_BR[0]), torch.zeros_like(old_BR[0])
    for micro_batch in cut:
        poll()
        scored = policy(tokens.rows(micro_batch), _rows(encoded, micro_batch), entropies=True)
        for all_BR, scored_BR in zip(old_BR, scored, strict=True):
            all_BR[micro_batch, : scored_BR.shape[1]] = scored_BR
    with policy.use_reference():
        encoded = policy.encode(prompts)  # all at once, as the policy's: before training they agree to the last bit
        for micro_batch in cut:
            poll()
            scored = policy(tokens.rows(micro_batch), _rows(encoded, micro_batch))
            reference_BR[micro_batch, : scored.logprobs.shape[1]] = scored.logprobs
            reference_ends_BR[micro_batch, : scored.logprobs.shape[1]] = scored.ends
    return TokenScores(*old_BR), reference_BR, reference_ends_BR


def _rows(encoded: tuple[Tensor, Tensor] | None, rows: Sequence[int]) -> Tensor | None:
    """Return the encoder states of some prompts, without the columns that are padding in all of them."""
    if encoded is None:
        return None
    states_BPd, mask_BP = encoded
    return states_BPd[rows, : int(mask_BP[rows].sum(1).max())]
