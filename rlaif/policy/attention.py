"""
Attention in float32 where a CPU is slow at it in bfloat16.

torch 2.13's flash attention has a backward pass that, in bfloat16 on a CPU with AMX, takes twice as long as in
float32 for heads of 32 (and as long for heads of 64): of a small model that is a fifth of the update.
"""

from __future__ import annotations

from typing import Any

import torch

NAME = "rlaif_sdpa"
NARROW = 64
"""Heads of fewer dimensions are faster in float32."""


def speed_up(model: Any, dtype: torch.dtype) -> None:
    """Let a model with narrow heads, computed in bfloat16 on a CPU, attend in float32 while it learns."""
    if dtype != torch.bfloat16 or model.device.type != "cpu":
        return
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 0) or 1
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    if not 0 < width < NARROW:
        return
    if model.config.is_encoder_decoder:  # T5 attends with a bias, by a kernel of its own
        return
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    # A model is on the CPU when it is loaded, and need not stay there.
    if query.device.type != "cpu" or not (torch.is_grad_enabled() and query.requires_grad):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    with torch.autocast("cpu", enabled=False):
        states, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **more
        )
    return states.to(query.dtype), weights
