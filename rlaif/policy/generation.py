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
def sampled(model: Any, sampling: Sampling, **ids: Any) -> Iterator[Any]:
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
        do_sample=True, num_beams=1, temperature=sampling.temperature, top_k=0, top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens, min_new_tokens=sampling.min_new_tokens or None, **ids,
    )  # fmt: skip
    own, model.generation_config = model.generation_config, config
    try:
        yield config
    finally:
        model.generation_config = own


def watching(watch: Callable[[Tensor], bool] | None, skip: int) -> Any:
    """Make a stopping criterion of a function that is called after each token."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watching(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            stop = watch is not None and watch(input_ids[:, skip:])
            return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watching()])
