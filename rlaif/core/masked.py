"""
Means over the masked entries of a tensor and over all processes.

Masks are boolean and true where an entry counts. Entries outside the mask, NaN included, affect neither the result nor
its gradient. `reduce` sums a tensor over all processes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Reduce = Callable[[Tensor], Tensor]


def no_reduce(x: Tensor) -> Tensor:
    """Return the tensor unchanged: the sum over a single process."""
    return x


def masked_mean(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> Tensor:
    """Return the mean of `x` where `mask` is true, over all processes; 0 if the mask is empty."""
    count = reduce(mask.sum().double())
    return (reduce(zero_outside(x, mask).double().sum()) / count.clamp(min=1)).to(x.dtype)


def masked_moments(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> tuple[Tensor, Tensor]:
    """Return the mean and the population variance of `x` where `mask` is true, over all processes, in float64."""
    count = reduce(mask.sum().double()).clamp(min=1)
    mean = reduce(zero_outside(x, mask).double().sum()) / count
    variance = reduce((zero_outside(x.double() - mean, mask) ** 2).sum()) / count
    return mean, variance


def zero_outside(x: Tensor, mask: Tensor) -> Tensor:
    """
    Set entries outside the mask to 0.

    Call it before products and powers: NaN times 0 is NaN, also in the backward pass.
    """
    return x.masked_fill(~mask, 0)
