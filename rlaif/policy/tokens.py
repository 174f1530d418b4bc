"""Prompts and responses as tensors, and how they are cut into micro-batches that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """
    Prompts and the responses to them, both right-padded, with masks that are true on real tokens.

    Masks are made where lengths are known, never by comparing with the pad token: it may be the EOS.
    Suffixes: B samples, P prompt tokens, R response tokens, T both.
    """

    prompt_BP: Tensor
    prompt_mask_BP: Tensor
    response_BR: Tensor
    mask_BR: Tensor

    def __len__(self) -> int:
        return len(self.response_BR)

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each sample, prompt and response."""
        return (self.prompt_mask_BP.sum(1) + self.mask_BR.sum(1)).tolist()

    def rows(self, index: Sequence[int]) -> TokenBatch:
        """Return some samples, without the columns that are padding in all of them."""
        rows = torch.as_tensor(index, device=self.response_BR.device)
        prompt_mask, mask = self.prompt_mask_BP[rows], self.mask_BR[rows]
        p, r = int(prompt_mask.sum(1).max()), int(mask.sum(1).max())
        return TokenBatch(self.prompt_BP[rows, :p], prompt_mask[:, :p], self.response_BR[rows, :r], mask[:, :r])

    def pack(self) -> tuple[Tensor, Tensor]:
        """
        Join prompt and response of each sample without a gap, as a causal model reads them.

        Returns:
            ids_BT, right-padded, so that causal attention needs no mask and positions count from 0; and the
            length of each prompt, which is where its response begins.

        """
        ids_BT = torch.cat([self.prompt_BP, self.response_BR], 1)
        mask_BT = torch.cat([self.prompt_mask_BP, self.mask_BR], 1)
        order_BT = mask_BT.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # real tokens first, in order
        longest = int(mask_BT.sum(1).max())
        return ids_BT.gather(1, order_BT)[:, :longest], self.prompt_mask_BP.sum(1)


def pad_sequences(
    sequences: Sequence[Sequence[int]], pad: int, device: torch.device, *, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Return ids and mask of sequences of mixed lengths, padded on the right, or on the left for generation."""
    longest = max(1, *(len(sequence) for sequence in sequences))
    ids = torch.full((len(sequences), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(sequences), longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        place = slice(longest - len(sequence), longest) if left else slice(0, len(sequence))
        ids[row, place] = torch.as_tensor(list(sequence), dtype=torch.long)
        mask[row, place] = True
    return ids.to(device), mask.to(device)


def micro_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """
    Cut samples into micro-batches of similar length that hold at most `max_tokens`, padding counted.

    A sample that is longer than that is a micro-batch of its own.

    Args:
        lengths: of each sample, in tokens.
        max_tokens: of a forward pass.

    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a micro-batch is its longest: what comes after is padded to it.
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
