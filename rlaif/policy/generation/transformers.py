"""How completions are sampled by transformers' `generate`, with nothing of the model's own settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Sampling(NamedTuple):
    """How completions are sampled: by default from the full vocabulary."""

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0


@contextmanager
def use_sampling(model: Any, sampling: Sampling, **ids: Any) -> Iterator[Any]:
    """
    Yield the settings that `generate` is to follow, and let the model's own rest meanwhile.

    All that those say (beams, top-k 50, forced tokens) would change what is sampled, and `generate` fills with them
    what its argument leaves open.

    Args:
        model: of transformers, without peft around it.
        sampling: what the settings say.
        ids: special tokens, by their keys in a generation config.

    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=sampling.max_new_tokens,
        min_new_tokens=sampling.min_new_tokens or None, **ids,
    )  # fmt: skip
    own, model.generation_config = model.generation_config, config
    try:
        yield config
    finally:
        model.generation_config = own


def make_draw_processor(sampling: Sampling) -> Any:
    """
    Make the last logits processor, which draws a token and leaves the greedy choice nothing else.

    It inverts the cumulated probabilities at one random number a row. `torch.multinomial` draws one for each token of
    the vocabulary: on a CPU, with 32,000 of them, that takes longer than a small model.
    """
    from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

    nucleus = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None

    class Drawing(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            scores = scores / sampling.temperature
            if nucleus is not None:
                scores = nucleus(input_ids, scores)
            return one_hot(draw_ids(scores), scores)

    return LogitsProcessorList([Drawing()])


def draw_ids(logits_BV: Tensor) -> Tensor:
    """Draw an id of each row, [B, 1]; one of logit -inf is never drawn."""
    cumulated_BV = torch.softmax(logits_BV, dim=-1, dtype=torch.float64).cumsum(-1)
    # The sum of all may be a little less than 1. The first place that is beyond the number has probability.
    number_B1 = torch.rand(len(logits_BV), 1, dtype=torch.float64, device=logits_BV.device) * cumulated_BV[:, -1:]
    return torch.searchsorted(cumulated_BV, number_B1, right=True).clamp(max=logits_BV.shape[-1] - 1)


def one_hot(ids_B1: Tensor, like_BV: Tensor) -> Tensor:
    """Return scores of which only those of the ids can be chosen."""
    return torch.full_like(like_BV, -torch.inf).scatter_(1, ids_B1, 0.0)


def make_watch_criterion(watch: Callable[[Tensor], bool] | None, skip: int) -> Any:
    """Make a stopping criterion of a function that is called after each token."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watching(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            stop = watch is not None and watch(input_ids[:, skip:])
            return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watching()])
