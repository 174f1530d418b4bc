"""Whether a classifier gives a text another score where the batch pads it, in spite of the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rlaif.judges.classifier.text import EncodedText

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = {"float32": 1e-5, "bfloat16": 3e-2, "float16": 4e-3}
"""By how much logits may differ by rounding at least, as a share of the largest one."""


def sees_padding(forward: Callable[[Sequence[EncodedText]], Tensor], texts: Sequence[EncodedText], dtype: str) -> bool:
    """
    Score a text alone, twice in a batch, and beside a longer one that it is padded to.

    Args:
        forward: from texts to logits, [B, labels].
        texts: of different lengths.
        dtype: that the model computes in.

    Returns:
        Whether padding moves a logit by more than four times what a batch of equal lengths does, and by more than
        rounding: mixers without a mask (FNet), recurrent models, and what ignores its mask.

    """
    short, long = min(texts, key=len), max(texts, key=len)
    alone, padded = forward([short])[0], forward([short, long])[0]
    rounding = (forward([short, short])[0] - alone).abs().max()
    least = ROUNDING[dtype] * alone.abs().max().clamp(min=1.0)
    return bool((padded - alone).abs().max() > max(4 * rounding, least))
