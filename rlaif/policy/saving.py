"""Writes a policy as a folder that transformers, or peft for an adapter, loads alone."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from rlaif.policy.loading import hide_progress_bars
from rlaif.policy.parts import inner


def save(model: Any, tokenizer: Any, value_head: nn.Module | None, folder: Path, *, merge: bool) -> None:
    """
    Write a model with its tokenizer and generation settings, and apart from it the value head.

    Args:
        model: of transformers, or of peft: only its adapter is written then.
        tokenizer: the policy's.
        value_head: goes to `value_head.safetensors`; None where there is no critic.
        folder: made if need be.
        merge: write a peft model as the whole model that it amounts to, in float32.

    """
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    if merge and inner(model) is not model:
        model = deepcopy(model).float().merge_and_unload()
    # transformers refuses to write settings that it has read: published ones set a temperature without sampling.
    settings, inner(model).generation_config = inner(model).generation_config, GenerationConfig()
    try:
        with hide_progress_bars():
            model.save_pretrained(folder)
    finally:
        inner(model).generation_config = settings
    settings.to_json_file(folder / "generation_config.json", use_diff=True, keys_to_pop=["compile_config"])
    tokenizer.save_pretrained(folder)
    if value_head is not None:
        head = {name: tensor.contiguous().cpu() for name, tensor in value_head.state_dict().items()}
        save_file(head, folder / "value_head.safetensors")
