"""
The policy: a causal or seq2seq model, a value head on its trunk, and the reference that it started from.

Dropout is off everywhere, or the ratio of the first mini-batch would not be 1. Log-probabilities are float32 and of
the distribution that is sampled from, at its temperature, and without an end before `min_new_tokens` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlaif.policy.attention import speed_up
from rlaif.policy.generation.protocol import Encoded, Generator, Sampling, Watch
from rlaif.policy.generation.transformers import TransformersGenerator
from rlaif.policy.loading import LoadedModel
from rlaif.policy.output_layer import BlockedEnds, LogitsHead, capture_hidden_states, refuse_other_logits
from rlaif.policy.parts import (
    autocast,
    copies,
    drop_head,
    encoder_outputs,
    inner,
    recompute,
    recomputes,
    trainable,
    width,
)
from rlaif.policy.positions import refuse_unfit
from rlaif.policy.saving import save
from rlaif.policy.special_tokens import special_tokens_of
from rlaif.policy.tokens import TokenBatch, pad_sequences


class TokenScores(NamedTuple):
    """What the policy says of response tokens, each [B, R], float32, 0 where there is no token."""

    logprobs: Tensor
    values: Tensor
    entropies: Tensor | None
    ends: Tensor | None = None
    """Probability of an end where `min_new_tokens` blocks it, which the other three know nothing of."""


class Policy(nn.Module):
    """
    A model that is trained, its value head, and its reference.

    Args:
        loaded: the model with its tokenizer.
        temperature: of sampling and of all log-probabilities.
        min_new_tokens: tokens before a completion may end, in sampling and in all log-probabilities.
        critic: `shared`, a value head on the policy's trunk; or `separate`, one on a copy of it.
        gradient_checkpointing: recompute activations in the backward pass.
        where: the first words of a message.

    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        temperature: float = 1.0,
        min_new_tokens: int = 0,
        critic: str = "shared",
        gradient_checkpointing: bool = False,
        where: str = "policy.model",
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = loaded.model.eval(), loaded.tokenizer
        self.temperature, self.min_new_tokens = temperature, min_new_tokens
        self.is_seq2seq: bool = self.model.config.is_encoder_decoder
        self.special = special_tokens_of(self.model, self.tokenizer, where)
        self.eos, self.pad = self.special.eos, self.special.pad
        self.dtype = loaded.dtype
        self.generator: Generator = TransformersGenerator(self.model, self.special, loaded.dtype)
        speed_up(inner(self.model), loaded.dtype)
        self._head = LogitsHead(inner(self.model))
        self.critic = drop_head(deepcopy(self.model)) if critic == "separate" else None
        self.value_head = nn.Linear(width(self.model), 1)  # at zero: the first values are no noise
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        if gradient_checkpointing:
            for model in filter(None, (self.model, self.critic)):
                recompute(inner(model))
        self._reference = None if loaded.base_is_reference else copies(self.model)
        self.rounding: float | None = None
        self._probe(where)

    # --- forward --------------------------------------------------------------------------------------------------

    def forward(self, tokens: TokenBatch, encoded: Tensor | None = None, *, entropies: bool = False) -> TokenScores:
        """
        Return log-probability, value and, if asked, entropy at each response token.

        A value is of the state before its token. Every row needs a token.

        Args:
            tokens: prompts and responses.
            encoded: encoder states [B, P, d] of these prompts by these weights, to save making them again.
            entropies: of the distributions over the vocabulary, in nats.

        """
        mask_BR = tokens.mask_BR
        with autocast(self.device, self.dtype):
            hidden_Nd = self._compute_hidden(self.model, tokens, encoded)
            states_Nd = hidden_Nd if self.critic is None else self._compute_hidden(self.critic, tokens, None)
            ids_N = tokens.response_BR[mask_BR]
            blocked = BlockedEnds(self.eos, self.special.find_blocked(tokens.response_BR, self.min_new_tokens)[mask_BR])
            logprobs_N, entropies_N, ends_N = self._head.logprobs(
                hidden_Nd, ids_N, self.temperature, entropies, blocked
            )
        values_N = self._values(states_Nd)
        entropies_BR = None if entropies_N is None else _scatter(entropies_N, mask_BR)
        return TokenScores(
            _scatter(logprobs_N, mask_BR), _scatter(values_N, mask_BR), entropies_BR, _scatter(ends_N, mask_BR)
        )

    def _compute_hidden(self, model: Any, tokens: TokenBatch, encoded: Tensor | None) -> Tensor:
        """Return the hidden states from which the response tokens are predicted, as rows: [N, d]."""
        mask_BR = tokens.mask_BR
        with capture_hidden_states(inner(model)) as hidden:
            if self.is_seq2seq:
                given: Mapping[str, object] = {"input_ids": tokens.prompt_BP}
                if encoded is not None:
                    given = encoder_outputs(encoded)
                # Teacher forcing: the decoder is given its start token, and each token but the last.
                assert self.special.decoder_start is not None
                start_B1 = torch.full_like(tokens.response_BR[:, :1], self.special.decoder_start)
                decoder_BR = torch.cat([start_B1, tokens.response_BR[:, :-1]], 1)
                model(attention_mask=tokens.prompt_mask_BP, decoder_input_ids=decoder_BR, use_cache=False, **given)
                return hidden[0][mask_BR]
            ids_BT, starts_B = tokens.pack()
            # Causal attention sees no padding on the right, so the mask is of ones, which is the fast path; without
            # one, transformers warns of padding.
            model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False)
        rows, columns = mask_BR.nonzero(as_tuple=True)
        return hidden[0][rows, starts_B[rows] + columns - 1]

    def _values(self, states_Nd: Tensor) -> Tensor:
        """Return the values of states; normalised, because their size differs by orders between architectures."""
        states_Nd = states_Nd.float()
        scaled_Nd = states_Nd * torch.rsqrt(states_Nd.pow(2).mean(-1, keepdim=True) + 1e-12)
        value_N1: Tensor = self.value_head(scaled_Nd)
        return value_N1.squeeze(-1)

    @contextmanager
    def use_reference(self) -> Iterator[None]:
        """Let the model be what it was before training: its adapter off, or the frozen weights in their place."""
        if self._reference is None:
            with self.model.disable_adapter():
                yield
            return
        trained = {name: parameter.data for name, parameter in trainable(self.model)}
        for name, parameter in trainable(self.model):
            parameter.data = self._reference[name] = self._reference[name].to(parameter.device)
        try:
            yield
        finally:
            for name, parameter in trainable(self.model):
                parameter.data = trained[name]

    def learning_mode(self) -> AbstractContextManager[None]:
        """Let activations be recomputed and LoRA's own dropout act, as is right in a learning pass only."""
        return _enable_learning(self)

    # --- generation -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, prompts: Sequence[Sequence[int]]) -> Encoded | None:
        """Let a seq2seq model's encoder read prompts; None for a causal model."""
        if not self.is_seq2seq:
            return None
        ids_BP, mask_BP = pad_sequences(prompts, self.pad, self.device)
        with autocast(self.device, self.dtype):
            states_BPd: Tensor = inner(self.model).get_encoder()(input_ids=ids_BP, attention_mask=mask_BP)[0]
        return Encoded(states_BPd, mask_BP)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        encoded: Encoded | None = None,
        watch: Watch | None = None,
    ) -> TokenBatch:
        """Sample a completion of each prompt: see `Generator.generate`. `encoded` saves reading the prompts again."""
        return self.generator.generate(prompts, sampling, encoded=encoded or self.encode(prompts), watch=watch)

    def is_end(self, ids: Tensor) -> Tensor:
        """Return where ids are an EOS."""
        return self.special.is_end(ids)

    def refuse_unfit(self, prompt_lengths: Sequence[int], max_new_tokens: int) -> None:
        """Raise `InputError` where prompts have no token, or do not fit into the positions with their completions."""
        refuse_unfit(inner(self.model).config, prompt_lengths, max_new_tokens)

    # --- what is kept ---------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Return all trained tensors by name: policy, critic and value head."""
        return {name: parameter.data for name, parameter in trainable(self)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `weights` returned."""
        for name, parameter in trainable(self):
            parameter.data.copy_(weights[name])

    def save(self, folder: Path, *, merge: bool = False) -> None:
        """Write the model, so that transformers, or peft for an adapter, loads it alone, or raise `RlaifError`."""
        head = self.value_head if self.value_head.weight.requires_grad else None
        save(self.model, self.tokenizer, head, folder, merge=merge, dtype=self.dtype)

    # --- where it is ----------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the policy's weights are."""
        return self.value_head.weight.device

    def _probe(self, where: str) -> None:
        """Make sure that our logits are the model's own, before anything is learned from them."""
        refuse_other_logits(self._head, self.model, self.eos[0], where)


@contextmanager
def _enable_learning(policy: nn.Module) -> Iterator[None]:
    modules = [module for name, module in policy.named_modules() if recomputes(module) or "lora_dropout" in name]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module in modules:
            module.training = False


def _scatter(x_N: Tensor, mask_BR: Tensor) -> Tensor:
    return torch.zeros(mask_BR.shape, dtype=torch.float32, device=x_N.device).masked_scatter(mask_BR, x_N.float())
