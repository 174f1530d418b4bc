"""The special tokens of a policy: what ends a completion, pads it, and begins a prompt or a decoder's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.policy.parts import inner


@dataclass(frozen=True)
class SpecialTokens:
    """
    Ids of special tokens.

    Args:
        eos: end a completion; at least one.
        pad: fills what has no token. Masks are explicit, so that it may be an EOS.
        bos: begins a text; None where the tokenizer has none.
        decoder_start: the first input of a seq2seq model's decoder; None for a causal model.

    """

    eos: tuple[int, ...]
    pad: int
    bos: int | None
    decoder_start: int | None

    def is_end(self, ids: Tensor) -> Tensor:
        """Return where ids are an EOS."""
        return torch.isin(ids, torch.tensor(self.eos, device=ids.device))

    def find_blocked(self, response_BR: Tensor, min_new_tokens: int) -> Tensor:
        """Return where a completion cannot end; one that does was not sampled so, and is scored as it is."""
        early_R = torch.arange(response_BR.shape[1], device=response_BR.device) < min_new_tokens
        return early_R & ~self.is_end(response_BR)

    def mask_until_end(self, response_BR: Tensor) -> Tensor:
        """Return the mask of the tokens up to the first EOS, itself counted: it is a choice like any other."""
        ends_BR = self.is_end(response_BR).long()
        return (ends_BR.cumsum(1) - ends_BR) == 0


def special_tokens_of(model: Any, tokenizer: Any, where: str) -> SpecialTokens:
    """
    Return the special tokens of a model of transformers, with or without peft around it.

    Raises:
        InputError: neither the model nor the tokenizer names one that ends a completion.

    """
    eos = end_tokens(model, tokenizer, where)
    pad = eos[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    start: int | None = None
    if model.config.is_encoder_decoder:
        own = inner(model)
        named = (own.generation_config.decoder_start_token_id, own.config.decoder_start_token_id)
        start = next((int(token) for token in named if token is not None), pad)
    return SpecialTokens(eos, pad, tokenizer.bos_token_id, start)


def end_tokens(model: Any, tokenizer: Any, where: str) -> tuple[int, ...]:
    """Return the ids that end a completion: the generation settings' and the tokenizer's own, or refuse."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = [*(named if isinstance(named, list | tuple) else [named]), tokenizer.eos_token_id]
    found = tuple(dict.fromkeys(int(token) for token in ids if token is not None))
    if not found:
        raise InputError(
            f"{where}: neither the tokenizer nor the generation settings name an EOS token, so that no completion "
            f"could end; set eos_token in {short_repr('tokenizer_config.json')}"
        )
    return found
