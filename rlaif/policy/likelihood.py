"""How likely a model finds completions: what perplexity and KL are computed from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rlaif.core.errors import InputError
from rlaif.core.plain_text import spell_out, text_options
from rlaif.policy.model import Policy, TokenScores
from rlaif.policy.tokens import TokenBatch, micro_batches, pad_sequences

Ids = Sequence[int]


def sums(policy: Policy, tokens: TokenBatch, temperature: float, min_new_tokens: int = 0) -> Tensor:
    """Return the log-probability of each completion, sampled in this way, in nats, [B], float64."""
    with _use_sampling(policy, temperature, min_new_tokens):
        scored: TokenScores = policy(tokens)
    return scored.logprobs.double().sum(1)


@torch.no_grad()
def score_ids(
    policy: Policy,
    prompts: Sequence[Ids],
    completions: Sequence[Ids],
    temperature: float,
    micro_batch_tokens: int,
    min_new_tokens: int = 0,
) -> list[float]:
    """
    Return the log-probability of each completion given its prompt, in nats.

    Args:
        policy: the model.
        prompts: ids, special tokens and chat markup included.
        completions: ids, none without a token; EOS included where there is one.
        temperature: divides the logits.
        micro_batch_tokens: tokens of a forward pass.
        min_new_tokens: tokens before a completion could end.

    """
    whole = TokenBatch(
        *pad_sequences(prompts, policy.pad, policy.device), *pad_sequences(completions, policy.pad, policy.device)
    )
    found = [math.nan] * len(prompts)
    for micro_batch in micro_batches(whole.lengths, micro_batch_tokens):
        logprobs = sums(policy, whole.rows(micro_batch), temperature, min_new_tokens).tolist()
        for place, logprob in zip(micro_batch, logprobs, strict=True):
            found[place] = logprob
    return found


def score_texts(
    policy: Policy,
    prompts: Sequence[Ids],
    texts: Sequence[str],
    ended: Sequence[bool | None],
    batch_size: int,
    micro_batch_tokens: int,
) -> list[tuple[float, int] | None]:
    """
    Return log-probability in nats and number of tokens of texts that were written with another tokenizer, or by hand.

    A text is tokenised apart from its prompt; EOS counts where it is known that the text ended by itself.

    Returns:
        None for a text without a token, and for one that does not fit into the model's positions.

    """
    made: list[list[int]] = []
    for start in range(0, len(texts), 1024):
        # JSON can hold lone surrogates, and no tokenizer reads them.
        batch = [
            spell_out(policy.tokenizer, text.encode(errors="replace").decode()) for text in texts[start : start + 1024]
        ]
        plain = text_options(policy.tokenizer)
        made += policy.tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False, **plain)[
            "input_ids"
        ]
    ids = [[*one, policy.eos[0]] if end else one for one, end in zip(made, ended, strict=True)]
    fit = [i for i, one in enumerate(ids) if one and _fits(policy, prompts[i], one)]
    fit.sort(key=lambda i: len(prompts[i]) + len(ids[i]))
    found: list[tuple[float, int] | None] = [None] * len(texts)
    for start in range(0, len(fit), batch_size):
        rows = fit[start : start + batch_size]
        given = [prompts[row] for row in rows], [ids[row] for row in rows]
        for row, logprob in zip(rows, score_ids(policy, *given, 1.0, micro_batch_tokens), strict=True):
            found[row] = (logprob, len(ids[row]))
    return found


def _fits(policy: Policy, prompt: Ids, completion: Ids) -> bool:
    try:
        policy.refuse_unfit([len(prompt)], len(completion))
    except InputError:
        return False
    return True


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same ids to the same tokens: then completions can be compared token by token."""
    return bool(one.get_vocab() == other.get_vocab() and one.eos_token_id == other.eos_token_id)


@contextmanager
def _use_sampling(policy: Policy, temperature: float, min_new_tokens: int) -> Iterator[None]:
    own = policy.temperature, policy.min_new_tokens
    policy.temperature, policy.min_new_tokens = temperature, min_new_tokens
    try:
        yield
    finally:
        policy.temperature, policy.min_new_tokens = own
