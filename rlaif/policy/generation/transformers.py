"""Completions sampled by transformers' `generate`, with nothing of the model's own settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlaif.policy.generation.protocol import Encoded, Sampling, Watch
from rlaif.policy.parts import autocast, encoder_outputs, inner
from rlaif.policy.special_tokens import SpecialTokens
from rlaif.policy.tokens import TokenBatch, pad_sequences


@dataclass(frozen=True)
class TransformersGenerator:
    """
    Samples all completions in one batch with a cache: see `Generator`.

    Args:
        model: of transformers, with or without peft around it.
        special: its special tokens.
        dtype: that the model computes in.

    """

    model: Any
    special: SpecialTokens
    dtype: torch.dtype

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        encoded: Encoded | None = None,
        watch: Watch | None = None,
    ) -> TokenBatch:
        """Sample one completion of each prompt: see `Generator.generate`."""
        return self._sample(prompts, sampling, encoded, watch)

    @torch.no_grad()
    def generate_with_logits(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, encoded: Encoded | None = None
    ) -> tuple[TokenBatch, Tensor]:
        """Sample as `generate` does, and return the logits [B, R, V] that tokens were drawn by, at the temperature."""
        drawn_by: list[Tensor] = []
        tokens = self._sample(prompts, sampling, encoded, None, drawn_by.append)
        return tokens, torch.stack(drawn_by, 1)

    def _sample(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        encoded: Encoded | None,
        watch: Watch | None,
        report: Callable[[Tensor], None] = lambda logits_BV: None,
    ) -> TokenBatch:
        device = inner(self.model).device
        if inner(self.model).config.is_encoder_decoder:
            assert encoded is not None, "a seq2seq model is given the prompts as its encoder has read them"
            given: dict[str, object] = {**encoder_outputs(encoded.states_BPd), "attention_mask": encoded.mask_BP}
            skip = 1  # the decoder's start token
        else:
            ids_BP, mask_BP = pad_sequences(prompts, self.special.pad, device, left=True)
            given = {"input_ids": ids_BP, "attention_mask": mask_BP}
            skip = ids_BP.shape[1]
        with autocast(device, self.dtype), use_sampling(inner(self.model), sampling, self.special) as settings:
            ids = self.model.generate(
                **given,
                generation_config=settings,
                logits_processor=make_draw_processor(sampling, report),
                stopping_criteria=make_watch_criterion(watch, skip),
            )
        response_BR = ids[:, skip:]
        prompt_BP, prompt_mask_BP = pad_sequences(prompts, self.special.pad, device)
        return TokenBatch(prompt_BP, prompt_mask_BP, response_BR, self.special.mask_until_end(response_BR))


@contextmanager
def use_sampling(model: Any, sampling: Sampling, special: SpecialTokens) -> Iterator[Any]:
    """
    Yield the settings that `generate` is to follow, with the model's own set aside meanwhile.

    All that those say (beams, top-k 50, forced tokens) would change what is sampled, and `generate` fills with them
    what its argument leaves open.

    Args:
        model: of transformers, without peft around it.
        sampling: what the settings say.
        special: ids of the model's special tokens.

    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=sampling.max_new_tokens,
        min_new_tokens=sampling.min_new_tokens or None, eos_token_id=list(special.eos), pad_token_id=special.pad,
        bos_token_id=special.bos, decoder_start_token_id=special.decoder_start,
    )  # fmt: skip
    own, model.generation_config = model.generation_config, config
    try:
        yield config
    finally:
        model.generation_config = own


def make_draw_processor(sampling: Sampling, report: Callable[[Tensor], None] = lambda logits_BV: None) -> Any:
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
            report(scores)
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


def make_watch_criterion(watch: Watch | None, skip: int) -> Any:
    """Make a stopping criterion of a function that is called after each token."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watching(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
            stop = watch is not None and watch(input_ids[:, skip:])
            return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watching()])
