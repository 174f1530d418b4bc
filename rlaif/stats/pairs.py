"""Paired measurements as arrays, with the prompt of each pair."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlaif.core.errors import InputError

Floats = NDArray[np.float64]
Scores = Sequence[float | None]
"""One number per pair; None where a judge abstained."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """
    Measurements of N pairs on G prompts.

    Args:
        columns_NK: K numbers for each pair.
        cluster_N: index of each pair's prompt, in [0, G).
        clusters: number of prompts, G.

    """

    columns_NK: Floats
    cluster_N: NDArray[np.intp]
    clusters: int

    def sums(self) -> Floats:
        """Return the sum of each number over the pairs of each prompt, [K, G]."""
        columns = [np.bincount(self.cluster_N, weights=x_N, minlength=self.clusters) for x_N in self.columns_NK.T]
        return np.stack(columns)


def check_lengths(*parts: Sequence[object] | None) -> None:
    """Raise `InputError` if the parts that are not None differ in length."""
    lengths = [len(part) for part in parts if part is not None]
    if len(set(lengths)) > 1:
        raise InputError(f"pairs need sequences of equal length, not {' and '.join(map(str, lengths))}")


def pairs_of(*sides: Scores, prompts: Sequence[Hashable] | None = None) -> Pairs:
    """
    Return the pairs that have a number on all sides.

    Args:
        sides: sequences of equal length, with one number or None per pair.
        prompts: the prompt of each pair; pairs of one prompt are not independent. None if each pair has its own.

    Raises:
        InputError: the lengths differ, or a number is not finite.

    """
    check_lengths(*sides, prompts)
    kept = [i for i in range(len(sides[0])) if all(side[i] is not None for side in sides)]
    columns_NK = np.array([[side[i] for side in sides] for i in kept], dtype=np.float64).reshape(len(kept), len(sides))
    wrong = np.flatnonzero(~np.isfinite(columns_NK).all(axis=1))
    if len(wrong):
        numbers = ", ".join(f"{x:g}" for x in columns_NK[wrong[0]])
        raise InputError(f"pair {kept[wrong[0]]} holds {numbers}; all numbers have to be finite")
    codes: dict[Hashable, int] = {}
    keys = kept if prompts is None else [prompts[i] for i in kept]
    cluster_N = np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.intp)
    return Pairs(columns_NK, cluster_N, len(codes))
