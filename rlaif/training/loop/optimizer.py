"""What every optimizer of a policy needs: the learning rate of a step, and Adam's moments in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlaif.core.config.sections import TrainingSection


def moments_of(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return Adam's moments, named by the place of their parameter."""
    return {
        f"{i}.{name}": tensor
        for i, parameter in enumerate(parameters)
        for name, tensor in optimizer.state.get(parameter, {}).items()
    }


def load_moments(state: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
    """Put back what `moments_of` returned."""
    optimizer.state.clear()
    for key, tensor in state.items():
        i, name = key.split(".")
        parameter = parameters[int(i)]
        optimizer.state[parameter][name] = tensor.to(parameter.device).clone()


def rate_factor(config: TrainingSection, step: int) -> float:
    """Return what the learning rate is multiplied by in a step, counted from 1."""
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    done = (step - 1 - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.lr_scheduler_type == "linear":
        return max(0.0, 1 - done)
    if config.lr_scheduler_type == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return 1.0
