"""
From hidden states to log-probabilities without ever holding logits of all tokens.

The logits of a batch, [B, T, V], are by far its largest tensor: at V = 128k a response of 100 tokens takes 50 MB.
Here the model runs up to its output layer, hidden states are picked where a response token is predicted, and
logits exist for a chunk of them at a time, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.devices import is_out_of_memory
from rlaif.policy.parts import inner
from rlaif.policy.token_logprobs import logprobs_and_entropy, token_logprobs

CHUNK_LOGITS = 2**23
"""Logits that exist at a time: 32 MB in float32."""


@contextmanager
def capture_hidden_states(model: Any) -> Iterator[list[Tensor]]:
    """
    Run `model` inside this to get what its output layer is given, and no logits.

    The layer is handed no position at all, so that its product costs nothing; whatever a model does before it
    (T5 scales its hidden states) has been done.
    """
    hidden: list[Tensor] = []

    def take(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden.append(arguments[0])
        return (arguments[0][..., :0, :],)

    handle = model.get_output_embeddings().register_forward_pre_hook(take)
    try:
        yield hidden
    finally:
        handle.remove()


class BlockedEnds(NamedTuple):
    """
    Where a completion may not end yet.

    Args:
        ids: of the tokens that would end it.
        rows_N: whether they are blocked.

    """

    ids: tuple[int, ...]
    rows_N: Tensor


def block_ends(logits_NV: Tensor, blocked: BlockedEnds, temperature: float) -> Tensor:
    """Set logits of blocked ends to -inf, in place, and return what probability they had, float32 [N]."""
    rows_N, ids = blocked.rows_N, list(blocked.ids)
    ends_N = torch.zeros(len(logits_NV), dtype=torch.float32, device=logits_NV.device)
    if not ids or not bool(rows_N.any()):
        return ends_N
    places_M = rows_N.nonzero().squeeze(1)
    p_ME = torch.softmax(logits_NV[places_M].float() / temperature, -1)[:, ids]
    with torch.no_grad():  # their gradient from what follows is 0: they have no probability there
        logits_NV[places_M.unsqueeze(1), torch.tensor(ids, device=logits_NV.device)] = -torch.inf
    return ends_N.index_put((places_M,), p_ME.sum(-1))


class LogitsHead:
    """A model's output layer with what the architecture does to the logits after it."""

    def __init__(self, model: Any) -> None:
        self._layer: Callable[[Tensor], Tensor] = model.get_output_embeddings()
        config = model.config.get_text_config(decoder=True)
        self._bias: Callable[[], Tensor | None] = lambda: getattr(model, "final_logits_bias", None)  # BART
        self._factor = getattr(config, "logit_scale", None) or 1.0  # Cohere
        if config.model_type.startswith("granite"):
            self._factor /= getattr(config, "logits_scaling", 1.0)
        self._softcap = getattr(config, "final_logit_softcapping", None)  # Gemma

    def __call__(self, hidden_Nd: Tensor) -> Tensor:
        """Return logits_NV."""
        logits_NV = self._layer(hidden_Nd)
        if self._factor != 1.0:
            logits_NV = logits_NV * self._factor
        if (bias := self._bias()) is not None:
            logits_NV = logits_NV + bias.to(logits_NV.dtype)
        return logits_NV if self._softcap is None else torch.tanh(logits_NV / self._softcap) * self._softcap

    def logprobs(
        self, hidden_Nd: Tensor, ids_N: Tensor, temperature: float, entropies: bool, blocked: BlockedEnds | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """
        Return log-probabilities of ids [N], entropies [N] if asked, and probabilities of the blocked ends [N].

        All are float32 and at the temperature; the first two are of the distribution without the ends that are blocked,
        the last are of that with them, and 0 where nothing is blocked. Where there is more than a chunk, the backward
        pass makes each chunk's logits again.
        """
        blocked = blocked or BlockedEnds((), torch.zeros_like(ids_N, dtype=torch.bool))

        def chunk_logprobs(hidden_Nd: Tensor, ids_N: Tensor, rows_N: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
            logits_NV = self(hidden_Nd)
            ends_N = block_ends(logits_NV, BlockedEnds(blocked.ids, rows_N), temperature)
            # By the same sums with and without entropies: the KL before training is 0 to the last bit.
            logprobs_N = token_logprobs(logits_NV, ids_N, temperature)
            found = logprobs_and_entropy(logits_NV.float() / temperature, ids_N)[1] if entropies else None
            return logprobs_N, found, ends_N

        rows = max(1, self._chunk(hidden_Nd.device) // self.size)
        if len(ids_N) <= rows:
            return chunk_logprobs(hidden_Nd, ids_N, blocked.rows_N)
        parts = [
            checkpoint(chunk_logprobs, *chunk, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else chunk_logprobs(*chunk)
            for chunk in zip(*(torch.split(x, rows) for x in (hidden_Nd, ids_N, blocked.rows_N)), strict=True)
        ]
        logprobs, found, ends = zip(*parts, strict=True)
        return torch.cat(logprobs), torch.cat(found) if entropies else None, torch.cat(ends)

    @staticmethod
    def _chunk(device: torch.device) -> int:
        """Return how many logits may exist: few where nothing is kept for a backward pass, and the cache is near."""
        return CHUNK_LOGITS // 8 if device.type == "cpu" and not torch.is_grad_enabled() else CHUNK_LOGITS

    @property
    def size(self) -> int:
        """The vocabulary, V."""
        return int(self._layer.weight.shape[0])  # type: ignore[attr-defined]


@torch.no_grad()
def refuse_other_logits(head: LogitsHead, model: Any, eos: int, where: str) -> None:
    """
    Raise `InputError` where `head` does not make the logits that the model itself makes.

    Args:
        head: of the model.
        model: of transformers, with or without peft around it.
        eos: an id that the model knows.
        where: the first words of a message.

    """
    ids = torch.tensor([[eos, *range(3)]], device=inner(model).device)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids
    try:
        own = model(**given, use_cache=False).logits.float()
        with capture_hidden_states(inner(model)) as hidden:
            model(**given, use_cache=False)
        ours = head(hidden[0]).float()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"{where}: {type(inner(model)).__name__} cannot be run here: {reason_of(error)}") from error
    scale = own.abs().max().clamp(min=1.0)
    if ours.shape != own.shape or not bool((ours - own).abs().max() <= 1e-2 * scale):
        raise InputError(
            f"{where}: {type(inner(model)).__name__} makes its logits in a way that is not known here; "
            "Llama, GPT-2, GPT-NeoX, Qwen, Gemma, T5, BART and what is built like them can be trained"
        )
