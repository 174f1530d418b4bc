"""Which rows a step takes: one shuffled epoch after another, by the seed alone, so that resuming changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlaif.core.seeds import seed_of


class Batches:
    """
    An endless row of shuffled epochs, cut into batches: the last batch of an epoch runs over into the next.

    Args:
        count: prompts there are.
        size: of a batch, over all processes.
        seed: of the run.

    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self._count, self._size, self._seed = count, size, seed
        self._orders: dict[int, list[int]] = {}

    def rows_of(self, step: int, places: Sequence[int]) -> list[int]:
        """Return the prompts at some places of the batch of a step, which is counted from 1."""
        positions = [(step - 1) * self._size + place for place in places]
        return [self._order(position // self._count)[position % self._count] for position in positions]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(seed_of(self._seed, epoch, "epoch"))
            kept = {number: order for number, order in self._orders.items() if number == epoch - 1}
            self._orders = {**kept, epoch: torch.randperm(self._count, generator=generator).tolist()}
        return self._orders[epoch]
