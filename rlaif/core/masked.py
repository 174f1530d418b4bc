"""
Means over the entries of a tensor that count, and over all processes.

Masks are boolean and true where an entry counts; what stands outside a mask, NaN too, reaches neither the result nor
its gradient. `reduce` sums a tensor over all processes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Reduce = Callable[[Tensor], Tensor]


def no_reduce(x: Tensor) -> Tensor:
    """Sum over the one process that there is."""
    return x


def masked_mean(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> Tensor:
    """Return the mean of `x` where `mask` is true, over all processes; 0 where it never is."""
    count = reduce(mask.sum().double())
    return (reduce(zero_outside(x, mask).double().sum()) / count.clamp(min=1)).to(x.dtype)


def masked_moments(x: Tensor, mask: Tensor, reduce: Reduce = no_reduce) -> tuple[Tensor, Tensor]:
    """Return mean and variance (of the population) of `x` where `mask` is true, over all processes, in float64."""
    count = reduce(mask.sum().double()).clamp(min=1)
    mean = reduce(zero_outside(x, mask).double().sum()) / count
    variance = reduce((zero_outside(x.double() - mean, mask) ** 2).sum()) / count
    return mean, variance


def zero_outside(x: Tensor, mask: Tensor) -> Tensor:
    """Come before products and powers: NaN outlives a product with 0, also that of the backward pass."""
    return x.masked_fill(~mask, 0)
