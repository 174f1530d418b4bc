"""What is asked of a model of transformers, with or without peft around it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def inner(model: Any) -> Any:
    """Return the transformers model, without peft around it."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that are trained, with their names."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def copies(module: nn.Module) -> dict[str, Tensor]:
    """Return what the parameters are before training."""
    return {name: parameter.data.clone() for name, parameter in trainable(module)}


def drop_head(model: Any) -> Any:
    """Let a critic's output layer rest: it is never asked."""
    inner(model).get_output_embeddings().weight.requires_grad_(False)
    return model


def width(model: Any) -> int:
    """Return d, the size of what the output layer is given."""
    return int(inner(model).get_output_embeddings().weight.shape[-1])


def drops_out(model: Any) -> bool:
    """Whether LoRA's dropout makes a learning pass random."""
    return any("lora_dropout" in name and getattr(module, "p", 0) > 0 for name, module in model.named_modules())


def recomputes(module: nn.Module) -> bool:
    """Whether this layer's activations are made again in the backward pass, when it is in training mode."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


def recompute(model: Any) -> None:
    """Let activations be recomputed where a layer is in training mode, and nothing else happen there."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for layer in filter(recomputes, model.modules()):
        for name, value in vars(layer).items():
            if "drop" in name and isinstance(value, float):  # BART's layers drop out by themselves
                setattr(layer, name, 0.0)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Make the context in which a model computes in `dtype`; its weights may be float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def encoder_outputs(states_BPd: Tensor) -> dict[str, object]:
    """Return encoder states as the argument by which a seq2seq model takes them."""
    from transformers.modeling_outputs import BaseModelOutput

    return {"encoder_outputs": BaseModelOutput(last_hidden_state=states_BPd)}
