"""Texts as a classifier's inputs, and in what batches they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


def token_batches(lengths: Sequence[int], batch_tokens: int, limit: int, *, equal: bool = False) -> Iterator[list[int]]:
    """
    Group indices into batches of similar length whose padded size stays within `batch_tokens`, longest first.

    Longest first shows at once whether the largest batch fits into memory. Texts over `limit` are in no batch. With
    `equal`, a batch holds texts of one length.
    """
    order = sorted((i for i, length in enumerate(lengths) if length <= limit), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        batch = order[start : start + size]
        if equal:
            batch = [i for i in batch if lengths[i] == lengths[batch[0]]]
        yield batch
        start += len(batch)


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as the model's inputs; `full_length` is its length in tokens before it was shortened."""

    inputs: dict[str, list[int]]
    full_length: int

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    @property
    def shortened(self) -> bool:
        """Whether the model sees only a part of the text."""
        return len(self) < self.full_length
